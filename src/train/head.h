#pragma once

#include "reducenet/graph.h"

namespace reducenet::train {

/// The last layer of a network that others have made. A Softmax at its end goes, so that losses and students get
/// logits, and a matrix product with the constants added to it, as Paddle and Keras export them, becomes one Gemm.
void score_by_logits(Graph& graph);

/// A layer for another number of classes in the place of the one that scores: weights uniform in ±1/√fan_in, bias 0.
/// Error(unsupported) when that is no Gemm and no convolution, pooled or not.
void replace_head(Graph& graph, int64_t classes, uint64_t seed);

}  // namespace reducenet::train
