#include <algorithm>

#include "rules/example.h"
#include "rules/reason.h"
#include "rules/rows.h"
#include "rules/view.h"

namespace reducenet {
namespace {

bool all_equal(const std::vector<double>& values, double expected) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return v == expected; });
}

/// The node's output is its first input, element for element.
bool changes_nothing(const Site& site) {
  const Node& node = site.graph[site.node];
  const bool reads = !node.inputs.empty() && node.inputs[0] && node.outputs[0];
  // The type of what an unknown op makes is a guess.
  if (reads && site.graph[node.inputs[0]].dtype != site.graph[node.outputs[0]].dtype) return false;
  const auto shape_kept = [&] {  // with at most one unknown dimension, equal shapes mean equal sizes
    const auto &from = site.graph[node.inputs[0]].shape, &to = site.graph[node.outputs[0]].shape;
    return from && from == to && std::count_if(to->begin(), to->end(), [](int64_t dim) { return dim < 0; }) <= 1;
  };
  const auto all_kept = [&] {  // for what changes no size only by changing nothing
    const auto& from = site.graph[node.inputs[0]].shape;
    return from && std::ranges::none_of(*from, [](int64_t dim) { return dim < 0; }) && shape_kept();
  };
  const auto forward = [&](const Slice& op) {
    const Tensor* given = node.inputs.size() > 4 ? site.graph.constant(node.inputs[4]) : nullptr;
    const std::vector<int64_t> steps = given ? given->to_ints() : op.steps;
    const bool known = given || node.inputs.size() <= 4 || !node.inputs[4];
    return known && std::ranges::all_of(steps, [](int64_t step) { return step > 0; });
  };
  const auto scale_of_one = [&] {
    const auto map = view(site.graph, site.node);
    return map && map->is_scale() && map->source == node.inputs[0] && all_equal(weight_of(site.graph, *map), 1) &&
           all_equal(bias_of(site.graph, *map), 0);
  };
  return std::visit(
      Overloaded{
          [](const Identity&) { return true; },
          [](const Dropout& op) { return !op.training; },
          [&](const Fade& op) { return op.lambda == 0 && node.inputs.size() == 1; },
          [](const Activation& op) {
            return op.kind == Activation::Kind::identity || (op.kind == Activation::Kind::leaky_relu && op.alpha == 1);
          },
          [&](const PRelu&) {
            const Tensor* slope = site.graph.constant(node.inputs[1]);
            return slope && all_equal(slope->to_doubles(), 1);
          },
          [](const Pad& op) {
            const auto none = [](int64_t n) { return n == 0; };
            return std::all_of(op.begin.begin(), op.begin.end(), none) &&
                   std::all_of(op.end.begin(), op.end.end(), none);
          },
          [](const Transpose& op) { return std::is_sorted(op.perm.begin(), op.perm.end()) && !op.perm.empty(); },
          [](const Concat&) { return false; },
          [&](const Binary&) { return scale_of_one(); },
          [&](const Flatten&) { return shape_kept(); },
          [&](const Reshape&) { return shape_kept(); },
          [](const AveragePool& op) {
            return op.kernel == Size2{1, 1} && op.stride == Size2{1, 1} && is_zero(op.padding);
          },
          [](const MaxPool& op) {
            return op.kernel == Size2{1, 1} && op.stride == Size2{1, 1} && is_zero(op.padding);
          },
          [&](const GlobalAveragePool&) { return shape_kept(); },
          [](const Conv2d&) { return false; },
          [](const ConvTranspose2d&) { return false; },
          [](const BatchNorm&) { return false; },
          [](const Gemm&) { return false; },
          [](const MatMul&) { return false; },
          [](const Unary&) { return false; },
          [](const Softmax&) { return false; },
          [](const Variadic&) { return false; },
          [&](const Cast& op) { return site.graph[node.inputs[0]].dtype == op.to; },
          [&](const Squeeze&) { return shape_kept(); },
          [&](const Slice& op) { return all_kept() && forward(op); },
          [&](const Repeat&) { return all_kept(); },
          [](const SpaceDepth& op) { return op.block == 1; },
          [](const OneOf<Opaque, Compare, Where, GlobalMaxPool, Lrn, Normalize, Reduce, ArgReduce, Hardmax, TopK,
                         SplitAxis, Gather, ScatterNd, Resize, ShapeOf, ConstantOfShape, Arange> auto&) {
            return false;
          },
      },
      node.op);
}

// f(x) = x for every x: Identity, Dropout at inference, a fade at its end, LeakyRelu and PRelu of slope 1, Pad by
// nothing, Mul by 1, Add of 0, a Reshape or Flatten to the same shape, pooling of single elements.
Outcome vanish(const Site& site) {
  const Node& node = site.graph[site.node];
  const auto* dropout = std::get_if<Dropout>(&node.op);
  if (dropout && dropout->training) return Refused{std::string(reason::kRandom)};
  if (node.inputs.empty() || !node.inputs[0] || !changes_nothing(site)) return NoMatch{};
  if (site.graph.constant(node.inputs[0])) return NoMatch{};  // another rule's: it becomes a constant
  for (size_t i = 1; i < node.outputs.size(); ++i) {
    const ValueId mask = node.outputs[i];
    const bool used =
        mask && (!site.uses.consumers_of(mask).empty() || site.uses.is_output[static_cast<size_t>(mask.index)]);
    if (used) return Refused{std::string(reason::kMask)};
  }
  if (!can_replace(site, node.outputs[0], node.inputs[0])) {
    return Refused{"'" + site.graph[node.inputs[0]].name + "' and '" + site.graph[node.outputs[0]].name + "' " +
                   std::string(reason::kNames)};
  }
  Patch patch(site.graph);
  patch.replace(node.outputs[0], node.inputs[0]);
  return patch;
}

Graph vanish_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.node(Activation{}, {e.image()});
  const Tensor ones = Tensor::filled({e.channels(x), 1, 1}, 1), zero = Tensor::filled({}, 0);
  const double slope = must_fire ? 1 : 0.5;
  ValueId y;
  switch (e.integer(0, 7)) {
    case 0:
      y = must_fire ? e.node(Identity{}, {x}) : e.node(Unary{Unary::Kind::neg}, {x});
      break;
    case 1:
      y = e.node(Dropout{.training = !must_fire}, {x});
      break;
    case 2:
      y = e.node(Activation{Activation::Kind::leaky_relu, slope}, {x});
      break;
    case 3:
      y = e.node(PRelu{}, {x, e.constant(Tensor::filled({e.channels(x), 1, 1}, slope))});
      break;
    case 4:
      y = e.node(Pad{.begin = {0, 0, 0, 0}, .end = {0, 0, must_fire ? 0 : 1, 0}}, {x});
      break;
    case 5:
      y = e.node(Binary{Binary::Kind::mul}, {x, e.constant(must_fire ? ones : e.normal({e.channels(x), 1, 1}))});
      break;
    case 6:
      y = e.node(Binary{}, {x, e.constant(must_fire ? zero : ones)});
      break;
    case 7:
      y = e.node(AveragePool{.kernel = {1, must_fire ? 1 : 2}}, {x});
      break;
  }
  e.output(e.node(Activation{Activation::Kind::tanh}, {y}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"identity", "f(x) = x → x", vanish, vanish_example},
};

}  // namespace

std::span<const Rule> identity_rules() {
  return kRules;
}

}  // namespace reducenet
