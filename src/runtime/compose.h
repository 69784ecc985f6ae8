#pragma once

#include "reducenet/graph.h"

namespace reducenet {

/// Writes the ops that have no kernel of their own with those that have one: LRN, sums and extrema of any number of
/// inputs, and the reductions that are a sum or a maximum of something. Shapes have to be known; new values have none.
void compose(Graph& graph);

}  // namespace reducenet
