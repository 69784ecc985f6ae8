#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "reducenet/graph.h"

namespace reducenet {

/// A file format for models. Loading never trusts the file: sizes are checked against it before memory is taken.
struct Format {
  std::string_view name, extension;                          ///< "onnx", ".onnx"
  Graph (*load)(const std::filesystem::path&);               ///< nullptr: cannot be read
  void (*save)(const Graph&, const std::filesystem::path&);  ///< nullptr: cannot be written
  Graph (*load_to_run)(const std::filesystem::path&);        ///< nullptr: as load
};

/// The one table.
std::span<const Format> formats();

/// Loads by extension. An ONNX model brings what a Graph has no place for (producer, functions, declared values…) in
/// metadata["onnx.model"], opaque to everyone but the ONNX writer. Errors name the file and, where there is one, the
/// node.
Graph load(const std::filesystem::path& path);
/// The same for who executes the model: a quantised ONNX model (QDQ) as ops that can be, weights as the numbers that
/// their integers mean, activations through roundings to bytes. Other models are as `load` reads them.
Graph load_to_run(const std::filesystem::path& path);
/// Saves by extension, atomically: temporary file beside it, fsync, rename.
void save(const Graph& graph, const std::filesystem::path& path);

/// The native format by itself (library reducenet::native), which needs neither protobuf nor LibTorch: safetensors with
/// the graph in its metadata. Errors name the file and the tensor, node or value.
Graph load_native(const std::filesystem::path& path);
void save_native(const Graph& graph, const std::filesystem::path& path);

/// Writes `bytes` to `path` atomically (temporary file, fsync, rename, fsync of the folder); throws Error(io).
void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace reducenet
