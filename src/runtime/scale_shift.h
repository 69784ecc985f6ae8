#pragma once

#include <optional>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// y[c] = scale[c]·x[c] + shift[c]
struct ScaleShift {
  std::vector<double> scale, shift;
};

/// A constant's values by channel of an x [N,C,…] that it meets, if they differ by channel only.
std::optional<std::vector<double>> by_channel(const Tensor& constant, const Shape& x);

/// x ∘ constant (or constant ∘ x) of a Binary, if the constant differs by channel only. Shapes are known.
std::optional<ScaleShift> as_scale_shift(const Graph& graph, const Node& node);

}  // namespace reducenet
