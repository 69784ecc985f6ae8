#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "reducenet/graph.h"

namespace reducenet {

/// Reads an ONNX model of operator set 7 to 28 (https://github.com/onnx/onnx/blob/main/docs/IR.md). Nodes that the
/// table does not understand, and all nodes of other operator sets, become Opaque and say why. What a Graph has no
/// place for (producer, functions, value_info, other operator sets, defaults of inputs, how each node was written…)
/// travels in metadata["onnx.model"], a ModelProto in base64; what nobody changed is written back field for field.
/// Throws Error(bad_input) naming file and node when the model is malformed.
Graph load_onnx(const std::filesystem::path& path);
/// The same for who executes it: QuantizeLinear and DequantizeLinear as ops that can be (see quantised.h). Written
/// again, such a model has lost its integer weights and its remainder.
Graph load_onnx_to_run(const std::filesystem::path& path);
/// The same from memory; external data lie beside `path`.
Graph parse_onnx(std::span<const std::byte> bytes, const std::filesystem::path& path, bool to_run = false);

/// Weights beyond this many bytes are written beside the model, to `path` + ".data": protobuf ends at 2 GiB.
inline constexpr int64_t kLargestInline = (int64_t{1} << 31) - (int64_t{64} << 20);
/// Writes atomically, for the graph's operator set. Throws Error(unsupported) naming the node that it cannot express.
void save_onnx(const Graph& graph, const std::filesystem::path& path, int64_t largest_inline = kLargestInline);

/// The model as bytes, all weights inside; Error(unsupported) when that is over 2 GiB.
std::string to_onnx(const Graph& graph);

/// The metadata key of what a Graph has no place for.
inline constexpr const char* kRemainderKey = "onnx.model";

}  // namespace reducenet
