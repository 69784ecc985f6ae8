#include "train/index_ops.h"

#include <ATen/ATen.h>

#include "graph/index_shapes.h"
#include "graph/resize.h"

namespace reducenet::train {
namespace {

/// What shape inference sees of a node whose first input is x and whose others are constant.
class Seen {
 public:
  Seen(const Graph& graph, const Node& node, const at::Tensor& x)
      : shapes_(node.inputs.size()), values_(shapes_.size()) {
    shapes_[0] = x.sizes().vec();
    for (size_t i = 1; i < values_.size(); ++i) {
      values_[i] = graph.constant(node.inputs[i]);
      if (values_[i]) shapes_[i] = values_[i]->shape();
    }
  }
  OpInputs inputs() const { return {shapes_, values_}; }

 private:
  std::vector<MaybeShape> shapes_;
  std::vector<const Tensor*> values_;
};

at::Tensor by_channel(const at::Tensor& vector, const at::Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = x.size(1);
  return vector.reshape(shape);
}

}  // namespace

at::Tensor slice(const Graph& graph, const Node& node, const at::Tensor& x) {
  const std::vector<SliceAxis> axes = slices(std::get<Slice>(node.op), Seen(graph, node, x).inputs()).value();
  at::Tensor y = x;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto& [start, step, count] = axes[i];
    const auto axis = static_cast<int64_t>(i);
    if (start == 0 && step == 1 && count == y.size(axis)) continue;
    if (step > 0) {
      y = y.slice(axis, start, count > 0 ? start + (count - 1) * step + 1 : start, step);
    } else {
      y = at::index_select(y, axis, at::arange(count, at::TensorOptions(at::kLong).device(x.device())) * step + start);
    }
  }
  return y;
}

at::Tensor squeeze(const Graph& graph, const Node& node, const at::Tensor& x) {
  return at::reshape(x, shape_of(std::get<Squeeze>(node.op), Seen(graph, node, x).inputs()).value());
}

at::Tensor gather(const Gather& op, const at::Tensor& x, const Tensor& indices) {
  const int64_t axis = op.axis < 0 ? op.axis + x.dim() : op.axis;
  std::vector<int64_t> wanted = indices.to_ints(), shape = x.sizes().vec();
  for (int64_t& index : wanted) index += index < 0 ? x.size(axis) : 0;
  const at::Tensor chosen = at::index_select(x, axis, at::tensor(wanted, at::kLong).to(x.device()));
  const auto at_axis = shape.begin() + axis;
  shape.insert(shape.erase(at_axis), indices.shape().begin(), indices.shape().end());
  return chosen.reshape(shape);
}

at::Tensor repeat(const Graph& graph, const Node& node, const at::Tensor& x) {
  const std::vector<int64_t> list = graph.constant(node.inputs.at(1))->to_ints();
  if (std::get<Repeat>(node.op).kind == Repeat::Kind::tile) return x.repeat(list);
  return x.expand(shape_of(std::get<Repeat>(node.op), Seen(graph, node, x).inputs()).value());
}

at::Tensor resize(const Graph& graph, const Node& node, const at::Tensor& x) {
  const auto& op = std::get<Resize>(node.op);
  const Seen seen(graph, node, x);
  const Shape shape = shape_of(op, seen.inputs()).value();
  at::Tensor y = x;
  for (size_t axis = 1; axis < shape.size(); ++axis) {  // sizes name the samples as exported: they stay as they are
    const int64_t input = x.size(static_cast<int64_t>(axis)), output = shape[axis];
    const double scale = resize_scale(graph.constant(node.inputs[2]), axis, input, output);
    if (scale == 1 && input == output) continue;
    at::Tensor weights = at::zeros({input, output});
    auto weight = weights.accessor<float, 2>();
    for (int64_t i = 0; i < output; ++i) {
      for (const Tap& tap : resize_taps(op, i, input, scale)) weight[tap.index][i] += static_cast<float>(tap.weight);
    }
    const auto last = static_cast<int64_t>(shape.size()) - 1, here = static_cast<int64_t>(axis);
    y = y.transpose(here, last).matmul(weights.to(y.options())).transpose(here, last);
  }
  return y;
}

at::Tensor move_blocks(const SpaceDepth& op, const at::Tensor& x) {
  const int64_t b = op.block, n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
  switch (op.kind) {
    case SpaceDepth::Kind::depth_to_space:
      return x.reshape({n, b, b, c / (b * b), h, w})
          .permute({0, 3, 4, 1, 5, 2})
          .reshape({n, c / (b * b), h * b, w * b});
    case SpaceDepth::Kind::depth_to_space_crd:
      return x.reshape({n, c / (b * b), b, b, h, w})
          .permute({0, 1, 4, 2, 5, 3})
          .reshape({n, c / (b * b), h * b, w * b});
    case SpaceDepth::Kind::space_to_depth:
      return x.reshape({n, c, h / b, b, w / b, b}).permute({0, 3, 5, 1, 2, 4}).reshape({n, c * b * b, h / b, w / b});
  }
  throw std::logic_error("SpaceDepth::Kind");
}

at::Tensor normalize(const Lrn& op, const at::Tensor& x) {
  std::vector<int64_t> channels(static_cast<size_t>(2 * x.dim() - 4), 0);
  channels.insert(channels.end(), {(op.size - 1) / 2, op.size / 2});
  const at::Tensor sums = at::constant_pad_nd(at::square(x), channels).unfold(1, op.size, 1).sum(-1);
  return x / at::pow(sums * (op.alpha / static_cast<double>(op.size)) + op.bias, op.beta);
}

at::Tensor normalize(const Normalize& op, const at::Tensor& x, const at::Tensor& scale, const at::Tensor& bias) {
  if (op.kind == Normalize::Kind::layer) {
    const int64_t axis = op.axis < 0 ? op.axis + x.dim() : op.axis;
    const at::Tensor y = at::layer_norm(x, x.sizes().slice(static_cast<size_t>(axis)), {}, {}, op.epsilon) * scale;
    return bias.defined() ? y + bias : y;
  }
  const int64_t groups = op.kind == Normalize::Kind::instance ? x.size(1) : op.groups;
  const at::Tensor y = at::group_norm(x.contiguous(), groups, {}, {}, op.epsilon);
  const auto each = [&](const at::Tensor& vector) {
    return by_channel(op.per_group ? at::repeat_interleave(vector, x.size(1) / groups) : vector, x);
  };
  return y * each(scale) + each(bias);
}

}  // namespace reducenet::train
