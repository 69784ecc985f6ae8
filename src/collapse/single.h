#pragma once

#include "reducenet/graph.h"

namespace reducenet {

/// y = A·flatten(x) + f(0)  for a graph f of one input and one output in which every node is linear; row k of A is the
/// k-th output pulled back through the transpose of every op, in double. Costs as many network evaluations as there are
/// outputs. New values get names that `original` does not use. Throws Error(unsupported) naming every node that stands
/// in the way.
Graph to_single(const Graph& graph, const Graph& original);

}  // namespace reducenet
