#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>

#include "reducenet/graph.h"

namespace reducenet::train {

/// Throws Error(unsupported) naming the node when its op, with these attributes and constants, cannot be trained.
void check_trainable(const Graph& graph, const Node& node);

/// The op of the node in LibTorch, differentiable. `inputs` are the node's; an absent one is an undefined tensor.
/// BatchNorm uses and updates by `training`; `momentum`, when set, replaces the op's own; `noise` seeds what fades
/// draw.
at::Tensor apply_node(const Graph& graph, const Node& node, std::span<const at::Tensor> inputs, bool training,
                      std::optional<double> momentum, std::optional<uint64_t> noise = {});

/// A(x), never in place.
at::Tensor activate(const Activation& activation, const at::Tensor& x);

/// s when the op is x → x > 0 ? x : s·x with 0 ≤ s ≤ 1: relu 0, leaky_relu alpha, the fade of those 1 − λ·(1 − s).
std::optional<double> negative_slope(const Op& op);

}  // namespace reducenet::train
