#pragma once

#include <ATen/core/Tensor.h>

#include "reducenet/graph.h"

// The ops of imported networks that move, select and normalise elements, in LibTorch, differentiable. What an op takes
// as further inputs (starts, axes, indices) has to be constant: `check_trainable` sees to that.

namespace reducenet::train {

at::Tensor slice(const Graph& graph, const Node& node, const at::Tensor& x);
at::Tensor squeeze(const Graph& graph, const Node& node, const at::Tensor& x);
at::Tensor gather(const Gather& op, const at::Tensor& x, const Tensor& indices);
at::Tensor repeat(const Graph& graph, const Node& node, const at::Tensor& x);
at::Tensor resize(const Graph& graph, const Node& node, const at::Tensor& x);
at::Tensor move_blocks(const SpaceDepth& op, const at::Tensor& x);
at::Tensor normalize(const Lrn& op, const at::Tensor& x);
/// `bias` may be undefined.
at::Tensor normalize(const Normalize& op, const at::Tensor& x, const at::Tensor& scale, const at::Tensor& bias);

}  // namespace reducenet::train
