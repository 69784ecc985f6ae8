#pragma once

#include "train/select/select.h"

namespace reducenet::train {

/// What a selection in the middle of a run stands on.
struct SelectionSource {
  Network& network;  ///< its fades are at λ = 1, and are again when the choice is made
  Feed &training_feed, &validation_feed;
  std::span<const int32_t> training, validation;
  at::Device device;
  const Options& options;  ///< whose on_step hears of it, and whose stop ends it
};

/// Thrown when it is asked to stop.
struct Stopped {};

/// Survivors among the network's candidates, as the recipe asks. After Stopped the fades are as they happened to be.
Selection choose_survivors(const Recipe& recipe, const SelectionSource& source);

/// The network settled and collapsed as it is deployed.
Graph deployable(const Graph& graph);
/// Median milliseconds of one image on one thread, timed for about `seconds`.
double deployed_milliseconds(const Graph& deployed, double seconds);

}  // namespace reducenet::train
