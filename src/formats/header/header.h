#pragma once

#include <filesystem>

#include "reducenet/graph.h"

namespace reducenet {

/// Writes the model as one C++17 header without dependencies: weights, preprocessing, class names, `run`. Its namespace
/// is the file's stem. Batch 1 where the batch is open. Throws Error(unsupported) naming the node that it cannot run.
void save_header(const Graph& graph, const std::filesystem::path& path);
/// The same as text.
std::string to_header(const Graph& graph, std::string_view name);

}  // namespace reducenet
