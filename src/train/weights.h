#pragma once

#include <random>

#include "reducenet/graph.h"

namespace reducenet::train {

/// Initial weights: one tensor after the other from one stream of numbers.
class WeightDraw {
 public:
  explicit WeightDraw(uint64_t seed) : random_(seed) {}
  /// float32, normal with deviation √(2/fan_in) (He et al., arXiv 1502.01852).
  Tensor operator()(const Shape& shape, double fan_in);

 private:
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
};

/// The same network with new weights: convolutions and matrices from a WeightDraw, BatchNorm 1, 0, 0, 1, other
/// parameters 0; nodes marked kFixed stay as they are.
Graph with_new_weights(Graph graph, uint64_t seed);

}  // namespace reducenet::train
