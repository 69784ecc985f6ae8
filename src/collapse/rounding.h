#pragma once

#include "reducenet/graph.h"

namespace reducenet {

/// A matrix made in double as the type `dtype`, where the terms of each sum lie along `axis` (0 or 1): each element
/// takes over what those before it in its sum have lost to rounding, at most one rounding of its own; zeros nothing. A
/// merged map of an image has the same weight at hundreds of places, which the nearest number would all miss on the
/// same side, so that the errors would add up over an even input; so, the sum of any run of neighbours is off by about
/// one rounding of the largest.
Tensor rounded_sums(const Tensor& matrix, DType dtype, int axis);

/// A constant that `node` reads, made in double, as the type `dtype`: the matrix of a Gemm or MatMul by `rounded_sums`,
/// everything else to the nearest.
Tensor rounded(const Node& node, ValueId id, const Tensor& constant, DType dtype);

/// By how many roundings of itself an element of the node's constants may be off: two in a matrix, which takes over
/// one, one elsewhere; 0 when the node has no numbers of its own.
int roundings_in(const Graph& graph, const Node& node);

}  // namespace reducenet
