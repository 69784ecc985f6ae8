#pragma once

#include <cstdint>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet::cli {

/// By node: the number of its linear region (linear nodes joined by edges), counted from 0; −1 for non-linear nodes.
std::vector<int64_t> linear_regions(const Graph& graph);

}  // namespace reducenet::cli
