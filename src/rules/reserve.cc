#include <algorithm>

#include "rules/example.h"
#include "rules/merge.h"
#include "rules/range.h"
#include "rules/reason.h"
#include "rules/rows.h"

// Residuals over activations, as in RMNet (Meng et al., arXiv 2111.00687): channels are reserved for the block's input,
// which passes through the activations because it is not negative.

namespace reducenet {
namespace {

/// A(x) = x for x ≥ 0, channel by channel.
bool passes_nonnegative(const Op& op) {
  const auto* activation = std::get_if<Activation>(&op);
  return activation && (activation->kind == Activation::Kind::relu ||
                        activation->kind == Activation::Kind::leaky_relu || activation->kind == Activation::Kind::elu);
}

/// conv₁, A, conv₂, A, …, convₙ from `source`, each read by the next alone; n ≥ 2.
struct Stack {
  ValueId source;
  std::vector<View> convs;          ///< in order
  std::vector<NodeId> activations;  ///< between them
};

/// The longest stack that ends in `value` and starts where `starts` holds.
template <class Starts>
std::optional<Stack> read_stack(const Site& site, ValueId value, Starts starts) {
  Stack stack;
  while (true) {
    const auto conv = view_of_producer(site, value);
    if (!conv || !conv->is_conv() || other_readers(site, value)) return std::nullopt;
    stack.convs.insert(stack.convs.begin(), *conv);
    stack.source = conv->source;
    if (stack.convs.size() > 1 && starts(conv->source)) return stack;
    const NodeId activation = site.uses.producer_of(conv->source);
    if (!activation || !passes_nonnegative(site.graph[activation].op) || other_readers(site, conv->source)) {
      return std::nullopt;
    }
    stack.activations.insert(stack.activations.begin(), activation);
    value = site.graph[activation].inputs[0];
  }
}

/// The side path: the block's input itself, or a 1×1 convolution of it.
struct Shortcut {
  ValueId source;
  LinearMap map;
};
std::optional<Shortcut> read_shortcut(const Site& site, ValueId value, ValueId source) {
  if (value == source) return Shortcut{value, identity_map((*site.graph[value].shape)[1])};
  const auto conv = view_of_producer(site, value);
  if (!conv || !conv->is_conv() || conv->source != source || other_readers(site, value)) return std::nullopt;
  for (const Axis& axis : conv->geometry.axes) {
    if (axis.kernel != 1 || axis.begin != 0 || axis.end != 0) return std::nullopt;
  }
  return Shortcut{source, numbers_of(site.graph, *conv)};
}

/// One map with dense groups, out rows from `row` on and in columns from `column` on, written into `whole`.
void place(const LinearMap& map, LinearMap& whole, int64_t row, int64_t column) {
  Geometry alone = whole.geometry;
  alone.in = map.geometry.in;
  alone.out = map.geometry.out;
  const LinearMap dense = embed(map, alone);
  const int64_t taps = alone.taps();
  for (int64_t o = 0; o < alone.out; ++o) {
    std::copy_n(dense.weight.begin() + o * alone.in * taps, alone.in * taps,
                whole.weight.begin() + ((row + o) * whole.geometry.in + column) * taps);
    whole.bias[static_cast<size_t>(row + o)] += dense.bias[static_cast<size_t>(o)];
  }
}

/// From each of `channels` channels to itself, at every stride-th place.
LinearMap carry(int64_t channels, const Geometry& beside) {
  LinearMap map = identity_map(channels);
  for (size_t i = 0; i < 2; ++i) map.geometry.axes[i].stride = beside.axes[i].stride;
  return map;
}

enum class Join { rows, diagonal, columns };  ///< [a; b], [a 0; 0 b], [a b]

std::optional<LinearMap> joined(const LinearMap& a, const LinearMap& b, Join how, const ImageSize& size) {
  Geometry left = a.geometry, right = b.geometry;
  left.in = right.in = 1;  // only how the outputs lie matters
  const auto axes = stack(left, right, size);
  if (!axes) return std::nullopt;
  LinearMap whole{*axes, {}, {}};
  Geometry& g = whole.geometry;
  g.in = how == Join::rows ? a.geometry.in : a.geometry.in + b.geometry.in;
  g.out = how == Join::columns ? a.geometry.out : a.geometry.out + b.geometry.out;
  const bool depthwise = a.geometry.groups == a.geometry.in && a.geometry.in == a.geometry.out;
  if (how == Join::diagonal && depthwise) {  // stays depthwise
    Geometry upper = g, lower = g;
    upper.in = upper.out = upper.groups = a.geometry.in;
    lower.in = lower.out = lower.groups = b.geometry.in;
    g.groups = g.in;
    whole.weight = embed(a, upper).weight;
    const LinearMap rest = embed(b, lower);
    whole.weight.insert(whole.weight.end(), rest.weight.begin(), rest.weight.end());
    whole.bias = a.bias;
    whole.bias.insert(whole.bias.end(), b.bias.begin(), b.bias.end());
    return whole;
  }
  whole.weight.resize(static_cast<size_t>(g.weights()));
  whole.bias.resize(static_cast<size_t>(g.out));
  place(a, whole, 0, 0);
  place(b, whole, how == Join::columns ? 0 : a.geometry.out, how == Join::rows ? 0 : a.geometry.in);
  return whole;
}

// wₙ∗A(… A(w₁∗x)) + s·x = [wₙ s]∗A(… [w 0; 0 δ]∗A([w₁; δ]∗x)) with δ the Dirac kernel.  Exact where x ≥ 0 and the
// strides of both paths agree.
Outcome reserve(const Site& site) {
  const Node& node = site.graph[site.node];
  const auto* op = std::get_if<Binary>(&node.op);
  if (!site.may.reserve || !op || op->kind != Binary::Kind::add) return NoMatch{};
  if (rank_of(site.graph, node.outputs[0]) != 4) return NoMatch{};
  for (size_t i = 0; i < 2; ++i) {
    const ValueId long_path = node.inputs[i], short_path = node.inputs[1 - i];
    if (site.graph.constant(long_path) || site.graph.constant(short_path)) continue;
    const auto side = view_of_producer(site, short_path);
    const auto starts = [&](ValueId v) { return v == short_path || (side && v == side->source); };
    const auto stack = read_stack(site, long_path, starts);
    if (!stack) continue;
    const auto shortcut = read_shortcut(site, short_path, stack->source);
    if (!shortcut) continue;
    if (range_of(site, stack->source).low < 0) {
      return Refused{"'" + site.graph[stack->source].name + "', which is added at " + label(site.graph, site.node) +
                     ", " + std::string(reason::kMayBeNegative)};
    }
    const Refused misaligned{"the branches that meet at " + label(site.graph, site.node) + " " +
                             std::string(reason::kNotAligned)};
    const int64_t channels = (*site.graph[stack->source].shape)[1];
    Size2 stride{1, 1};
    std::vector<LinearMap> maps;
    for (size_t k = 0; k < stack->convs.size(); ++k) {
      const View& conv = stack->convs[k];
      const bool first = k == 0, last = k + 1 == stack->convs.size();
      for (size_t axis = 0; axis < 2; ++axis) stride[axis] *= conv.geometry.axes[axis].stride;
      LinearMap beside = carry(channels, conv.geometry);
      if (last) {
        for (size_t axis = 0; axis < 2; ++axis) {
          if (stride[axis] != shortcut->map.geometry.axes[axis].stride) return misaligned;
        }
        const auto axes = beside.geometry.axes;
        beside = shortcut->map;
        beside.geometry.axes = axes;
      }
      const Join how = first ? Join::rows : last ? Join::columns : Join::diagonal;
      auto map = joined(numbers_of(site.graph, conv), beside, how, image_size(site.graph, conv.source));
      if (!map) return misaligned;
      maps.push_back(std::move(*map));
    }
    Patch patch(site.graph);
    ValueId y = stack->source;
    for (size_t k = 0; k < maps.size(); ++k) {
      y = emit(patch, std::move(maps[k]), 4, y, site.graph[stack->convs[k].node].name);
      if (k + 1 == maps.size()) break;
      const Node& activation = site.graph[stack->activations[k]];
      y = patch.node(activation.name, activation.op, {y});
    }
    patch.replace(node.outputs[0], y);
    return patch;
  }
  return NoMatch{};
}

Graph reserve_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  ValueId x = e.image();
  if (must_fire) x = e.node(Activation{}, {x});
  const int64_t stride = e.integer(1, 2), middle = e.integer(2, 6), out = stride == 2 ? e.integer(1, 6) : e.channels(x);
  const auto act = [&](ValueId v) {
    const Activation kinds[] = {
        {Activation::Kind::relu}, {Activation::Kind::leaky_relu, 0.2}, {Activation::Kind::elu, 1}};
    return e.node(kinds[e.integer(0, 2)], {v});
  };
  const auto conv = [&](ValueId v, int64_t channels, int64_t step, int64_t groups) {
    const int64_t half = e.integer(0, 1);
    return e.conv(v, {.out = channels,
                      .kernel = 2 * half + 1,
                      .stride = step,
                      .dilation = 1,
                      .groups = groups,
                      .padding = Padding{half, half, half, half}});
  };
  ValueId y = act(conv(x, middle, 1, 1));
  if (e.chance(0.5)) y = act(conv(y, middle, 1, e.chance(0.5) ? middle : 1));
  y = conv(y, out, stride, 1);
  const ValueId side =
      stride == 2 || e.chance(0.3) ? e.conv(x, {.out = out, .kernel = 1, .stride = stride, .padding = Padding{}}) : x;
  e.output(e.chance(0.5) ? e.node(Binary{}, {y, side}) : e.node(Binary{}, {side, y}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"reserve-channels", "w₂∗A(w₁∗x) + s·x = [w₂ s]∗A([w₁; δ]∗x) for x ≥ 0", reserve, reserve_example},
};

}  // namespace

std::span<const Rule> reserve_rules() {
  return kRules;
}

}  // namespace reducenet
