#include "rules/range.h"

#include <algorithm>
#include <cmath>

namespace reducenet {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kDepth = 8;  // nodes that are followed back

Range unite(Range a, Range b) {
  return {std::min(a.low, b.low), std::max(a.high, b.high)};
}

Range clamped(Range x, Range bounds) {
  return {std::clamp(x.low, bounds.low, bounds.high), std::clamp(x.high, bounds.low, bounds.high)};
}

Range of_activation(const Activation& op, Range x) {
  using enum Activation::Kind;
  const bool nonnegative = x.low >= 0;
  switch (op.kind) {
    case identity:
      return x;
    case relu:
      return clamped(x, {0, kInfinity});
    case relu6:
      return clamped(x, {0, 6});
    case clip:
      return op.alpha <= op.beta ? clamped(x, {op.alpha, op.beta}) : Range{};
    case bytes:
      return {-op.alpha * op.beta, op.alpha * (255 - op.beta)};
    case sigmoid:
    case hard_sigmoid:
      return {0, 1};
    case tanh:
    case softsign:
      return {nonnegative ? 0.0 : -1.0, 1};
    case softplus:
      return {0, kInfinity};
    case leaky_relu:
    case elu:
    case selu:
    case gelu:
    case gelu_tanh:
    case silu:
    case mish:
    case hard_swish:
      return nonnegative ? Range{0, kInfinity} : Range{};
  }
  return {};
}

Range of_unary(Unary::Kind kind, Range x) {
  using enum Unary::Kind;
  if (kind == abs || kind == exp || kind == sqrt) return {0, kInfinity};
  if (kind == neg) return {-x.high, -x.low};
  return {};
}

Range of_binary(Binary::Kind kind, Range a, Range b) {
  using enum Binary::Kind;
  if (kind == add) return {a.low + b.low, a.high + b.high};
  if (kind == min) return {std::min(a.low, b.low), std::min(a.high, b.high)};
  if (kind == max) return {std::max(a.low, b.low), std::max(a.high, b.high)};
  if ((kind == mul || (kind == div && b.low > 0)) && a.low >= 0 && b.low >= 0) return {0, kInfinity};
  return {};
}

class Search {
 public:
  explicit Search(const Site& site) : site_(site) {}

  Range of(ValueId value, int depth) const {
    if (const Tensor* constant = site_.graph.constant(value)) return of_constant(*constant);
    const NodeId producer = site_.uses.producer_of(value);
    if (!producer || depth == 0) return {};
    const Node& node = site_.graph[producer];
    const auto input = [&](size_t i) { return of(node.inputs[i], depth - 1); };
    if (const auto* op = std::get_if<Activation>(&node.op)) return of_activation(*op, input(0));
    if (const auto* op = std::get_if<Unary>(&node.op)) return of_unary(op->kind, input(0));
    if (const auto* op = std::get_if<Binary>(&node.op)) return of_binary(op->kind, input(0), input(1));
    if (const auto* op = std::get_if<Softmax>(&node.op)) return op->log ? Range{-kInfinity, 0} : Range{0, 1};
    if (const auto* op = std::get_if<Dropout>(&node.op)) return op->training ? Range{} : input(0);
    if (std::holds_alternative<AveragePool>(node.op)) return unite(input(0), {0, 0});
    if (const auto* op = std::get_if<Pad>(&node.op)) {
      return op->mode == Pad::Mode::constant ? unite(input(0), {op->value, op->value}) : input(0);
    }
    if (std::holds_alternative<Concat>(node.op)) {
      Range all{kInfinity, -kInfinity};
      for (size_t i = 0; i < node.inputs.size(); ++i) all = unite(all, input(i));
      return all;
    }
    const bool keeps = std::holds_alternative<MaxPool>(node.op) || std::holds_alternative<GlobalAveragePool>(node.op) ||
                       std::holds_alternative<Flatten>(node.op) || std::holds_alternative<Reshape>(node.op) ||
                       std::holds_alternative<Transpose>(node.op) || std::holds_alternative<Identity>(node.op);
    return keeps ? input(0) : Range{};
  }

 private:
  static Range of_constant(const Tensor& constant) {
    if (constant.size() == 0 || constant.size() > 4096 || !is_float(constant.dtype())) return {};
    const std::vector<double> values = constant.to_doubles();
    if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) return {};
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return {*low, *high};
  }

  const Site& site_;
};

}  // namespace

Range range_of(const Site& site, ValueId value) {
  return Search(site).of(value, kDepth);
}

std::optional<Clamp> clamp_of(const Graph& graph, NodeId id) {
  if (!id) return std::nullopt;
  const Node& node = graph[id];
  if (const auto* op = std::get_if<Activation>(&node.op)) {
    if (op->kind == Activation::Kind::relu) return Clamp{node.inputs[0], {0, kInfinity}};
    if (op->kind == Activation::Kind::relu6) return Clamp{node.inputs[0], {0, 6}};
    if (op->kind == Activation::Kind::clip && op->alpha <= op->beta) {
      return Clamp{node.inputs[0], {op->alpha, op->beta}};
    }
    return std::nullopt;
  }
  const auto* op = std::get_if<Binary>(&node.op);
  if (!op || (op->kind != Binary::Kind::min && op->kind != Binary::Kind::max)) return std::nullopt;
  for (size_t i = 0; i < 2; ++i) {
    const Tensor* c = graph.constant(node.inputs[i]);
    const ValueId x = node.inputs[1 - i];
    if (!c || c->size() != 1 || graph.constant(x) || !is_float(c->dtype())) continue;
    if (!graph[x].shape || graph[x].shape != graph[node.outputs[0]].shape) continue;
    const double bound = c->to_doubles()[0];
    if (std::isnan(bound)) continue;
    return op->kind == Binary::Kind::max ? Clamp{x, {bound, kInfinity}} : Clamp{x, {-kInfinity, bound}};
  }
  return std::nullopt;
}

}  // namespace reducenet
