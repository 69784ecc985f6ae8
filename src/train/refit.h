#pragma once

#include <span>

#include "reducenet/data.h"
#include "reducenet/graph.h"
#include "reducenet/prune.h"

namespace reducenet::train {

/// Batches of training images in an order of their own, without augmentation.
struct Sample {
  const ImageSet& images;
  std::span<const int32_t> training;  ///< indices of images
  int64_t batches = 10, batch = 128;
  uint64_t seed = 0;
  int threads = 1;
};

/// The graph with mean and variance of every BatchNorm averaged over the sample's batches; without BatchNorm the same
/// graph. Throws Error(unsupported) naming the node that cannot be trained.
Graph estimate_statistics(const Graph& graph, const Sample& sample);

/// ∂ mean cross-entropy/∂ constant of each batch, for the constants that training would change; BatchNorm by the
/// batch's own statistics. `sample` must outlive the result.
Gradients loss_gradients(const Graph& graph, const Sample& sample);

}  // namespace reducenet::train
