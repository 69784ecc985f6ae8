#pragma once

#include <optional>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// y[c] = scale[c]·x[c] + shift[c], c counted along one axis.
struct ScaleShift {
  std::vector<double> scale, shift;
};

/// A constant's values along the axis of x that has the channels, if they differ along it only.
std::optional<std::vector<double>> by_channel(const Tensor& constant, const Shape& x, size_t channels = 1);

/// x ∘ constant (or constant ∘ x) of a Binary, if the constant differs by channel only. Shapes are known.
std::optional<ScaleShift> as_scale_shift(const Graph& graph, const Node& node, size_t channels = 1);

}  // namespace reducenet
