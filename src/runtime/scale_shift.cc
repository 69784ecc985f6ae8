#include "runtime/scale_shift.h"

#include <algorithm>
#include <functional>

namespace reducenet {

std::optional<std::vector<double>> by_channel(const Tensor& constant, const Shape& x, size_t channels) {
  if (x.size() <= channels || constant.shape().size() > x.size()) return std::nullopt;
  Shape padded(x.size() - constant.shape().size(), 1);
  padded.insert(padded.end(), constant.shape().begin(), constant.shape().end());
  for (size_t axis = 0; axis < padded.size(); ++axis) {
    if (padded[axis] != 1 && (axis != channels || padded[axis] != x[axis])) return std::nullopt;
  }
  std::vector<double> value = constant.to_doubles();
  if (padded[channels] == 1) value.assign(static_cast<size_t>(x[channels]), value[0]);
  return value;
}

std::optional<ScaleShift> as_scale_shift(const Graph& graph, const Node& node, size_t channels) {
  const auto& op = std::get<Binary>(node.op);
  const bool reversed = graph.constant(node.inputs[0]) != nullptr;
  const Tensor* constant = graph.constant(node.inputs[reversed ? 0 : 1]);
  if (!constant || graph.constant(node.inputs[reversed ? 1 : 0])) return std::nullopt;
  const Shape& x = *graph[node.inputs[reversed ? 1 : 0]].shape;
  if (x != *graph[node.outputs[0]].shape) return std::nullopt;
  auto found = by_channel(*constant, x, channels);
  if (!found) return std::nullopt;
  std::vector<double>& value = *found;
  const std::vector<double> ones(value.size(), 1), zeros(value.size(), 0);
  const auto each = [&](auto f) {
    std::transform(value.begin(), value.end(), value.begin(), f);
    return value;
  };
  switch (op.kind) {
    case Binary::Kind::add:
      return ScaleShift{ones, value};
    case Binary::Kind::sub:
      if (reversed) return ScaleShift{std::vector<double>(value.size(), -1), value};
      return ScaleShift{ones, each(std::negate<>())};
    case Binary::Kind::mul:
      return ScaleShift{value, zeros};
    case Binary::Kind::div:
      if (reversed) return std::nullopt;
      return ScaleShift{each([](double v) { return 1 / v; }), zeros};
    default:
      return std::nullopt;
  }
}

}  // namespace reducenet
