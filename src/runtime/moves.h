#pragma once

#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// Of an op that only moves the elements of its first input, the others being constant (Slice, SplitAxis, Gather,
/// Repeat, SpaceDepth): output k is y[i] = x[sources[i]], counted in row-major order. Shapes are known. Throws
/// Error(unsupported) naming the node when another input is computed.
std::vector<int64_t> sources(const Graph& graph, const Node& node, size_t k);

}  // namespace reducenet
