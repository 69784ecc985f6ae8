#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "reducenet/tensor.h"

namespace reducenet {

/// What a safetensors file holds (https://huggingface.co/docs/safetensors): a JSON header, then dense little-endian
/// tensors.
struct NamedTensors {
  std::map<std::string, std::string> metadata;  ///< header key "__metadata__"
  std::vector<std::pair<std::string, Tensor>> tensors;
};

/// Reads a whole file; the tensors borrow the mapped file, in its order. Throws Error(bad_input) naming the file and
/// the tensor when a header is too long (100 MB), no JSON, has a key twice, an unknown dtype, or sizes and offsets that
/// overlap, leave holes or do not fit the file; Error(io) when it cannot be read.
NamedTensors read_safetensors(const std::filesystem::path& path);
/// The same from memory that `owner` keeps alive; `file` is only for messages.
NamedTensors parse_safetensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                               const std::string& file);

/// Writes atomically. Wider elements come first, so that every tensor is aligned. Throws Error(bad_input) when a name
/// appears twice or text is not UTF-8, Error(io) when the file cannot be written.
void write_safetensors(const NamedTensors& content, const std::filesystem::path& path);

}  // namespace reducenet
