#include <algorithm>

#include "rules/example.h"
#include "rules/range.h"
#include "rules/reason.h"
#include "rules/rows.h"
#include "rules/view.h"

// Activations and layers that change nothing where they stand, and clamps in a row.

namespace reducenet {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The weight of a pointwise map from each channel to itself, read no further than the first element that differs.
template <class T>
bool is_unit(std::span<const T> w, int64_t out, int64_t per_group, int64_t out_per_group) {
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < per_group; ++i) {
      const bool self = o / out_per_group * per_group + i == o;
      if (w[static_cast<size_t>(o * per_group + i)] != static_cast<T>(self ? 1 : 0)) return false;
    }
  }
  return true;
}

bool is_unit(const Tensor& w, const Geometry& g) {
  const int64_t per_group = g.in / g.groups, out_per_group = g.out / g.groups;
  if (w.dtype() == DType::f32) return is_unit(w.as<float>(), g.out, per_group, out_per_group);
  if (w.dtype() == DType::f64) return is_unit(w.as<double>(), g.out, per_group, out_per_group);
  return is_unit(std::span<const double>(w.to_doubles()), g.out, per_group, out_per_group);
}

/// w∗x + b = x: pointwise, weight the identity, bias zero.
bool is_identity_map(const Graph& graph, const View& map) {
  const Geometry& g = map.geometry;
  if (g.in != g.out || !(g.axes[0] == Axis{}) || !(g.axes[1] == Axis{})) return false;
  if (map.is_conv()) {
    if (!is_unit(*graph.constant(graph[map.node].inputs[1]), g)) return false;
  } else if (!is_unit(Tensor::from_doubles({g.out, g.in / g.groups}, weight_of(graph, map)), g)) {
    return false;
  }
  const std::vector<double> bias = bias_of(graph, map);
  return std::all_of(bias.begin(), bias.end(), [](double b) { return b == 0; });
}

Outcome forward(const Site& site, ValueId source) {
  const ValueId result = site.graph[site.node].outputs[0];
  if (!can_replace(site, result, source)) {
    return Refused{"'" + site.graph[source].name + "' and '" + site.graph[result].name + "' " +
                   std::string(reason::kNames)};
  }
  Patch patch(site.graph);
  patch.replace(result, source);
  return patch;
}

/// Largest finite value of the value's type: what lies beyond no element reaches.
double largest_finite(DType dtype) {
  if (dtype == DType::f16) return 65504;
  if (dtype == DType::bf16) return 0x1.FEp127;
  return dtype == DType::f64 ? std::numeric_limits<double>::max() : std::numeric_limits<float>::max();
}

// f(x) = x for every finite x: Clip(−∞, ∞), Min(∞), Max(−∞), Pow 1, a batch norm of scale 1 and shift 0, a 1×1
// convolution or matrix that is the identity.
Outcome disguised(const Site& site) {
  const Node& node = site.graph[site.node];
  if (node.outputs.size() != 1) return NoMatch{};
  if (const auto clamp = clamp_of(site.graph, site.node)) {
    const double largest = largest_finite(site.graph[node.outputs[0]].dtype);
    if (clamp->bounds.low > -largest || clamp->bounds.high < largest) return NoMatch{};
    return forward(site, clamp->source);
  }
  const auto* binary = std::get_if<Binary>(&node.op);
  if (binary && binary->kind == Binary::Kind::pow) {
    const Tensor* exponent = site.graph.constant(node.inputs[1]);
    const auto &from = site.graph[node.inputs[0]].shape, &to = site.graph[node.outputs[0]].shape;
    if (!exponent || !from || from != to || site.graph[node.inputs[0]].dtype != site.graph[node.outputs[0]].dtype) {
      return NoMatch{};
    }
    const std::vector<double> values = exponent->to_doubles();
    if (std::any_of(values.begin(), values.end(), [](double v) { return v != 1; })) return NoMatch{};
    return forward(site, node.inputs[0]);
  }
  const auto map = view(site.graph, site.node);
  if (!map || map->is_scale() || map->is_pad() || !is_identity_map(site.graph, *map)) return NoMatch{};
  return forward(site, map->source);
}

/// The identity on `channels` channels as a weight of rank 4 or 2.
Tensor unit(int64_t channels, bool image) {
  std::vector<double> w(static_cast<size_t>(channels * channels));
  for (int64_t c = 0; c < channels; ++c) w[static_cast<size_t>(c * channels + c)] = 1;
  const Shape shape = image ? Shape{channels, channels, 1, 1} : Shape{channels, channels};
  return Tensor::from_doubles(shape, w, DType::f32);
}

Graph disguised_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  if (e.chance(0.2)) {
    const ValueId x = e.vector();
    Tensor w = unit(e.channels(x), false);
    if (!must_fire) w = e.normal(w.shape());
    e.output(e.node(Activation{Activation::Kind::tanh}, {e.node(MatMul{}, {x, e.constant(w)})}));
    return std::move(e).finish();
  }
  const ValueId x = e.image();
  const int64_t c = e.channels(x);
  const auto scalar = [&](double v) { return e.constant(Tensor::filled({}, v)); };
  const auto each = [&](double v) { return e.constant(Tensor::filled({c}, v)); };
  ValueId y;
  switch (e.integer(0, 4)) {
    case 0:
      y = e.node(Activation{Activation::Kind::clip, must_fire ? -kInfinity : -1, kInfinity}, {x});
      break;
    case 1:
      y = e.node(Binary{Binary::Kind::pow}, {x, scalar(must_fire ? 1 : 2)});
      break;
    case 2:
      y = e.chance(0.5) ? e.node(Binary{Binary::Kind::max}, {scalar(must_fire ? -kInfinity : 0), x})
                        : e.node(Binary{Binary::Kind::min}, {x, scalar(must_fire ? kInfinity : 0)});
      break;
    case 3:
      y = e.node(BatchNorm{.epsilon = 0}, {x, each(1), each(must_fire ? 0 : 1), each(0), each(1)});
      break;
    case 4:
      y = e.node(Conv2d{.stride = {must_fire ? 1 : 2, 1}}, {x, e.constant(unit(c, true))});
      break;
  }
  e.output(e.node(Activation{Activation::Kind::tanh}, {y}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// A(x) = x on the range of x: Relu after Relu, Sigmoid, Softmax…; LeakyRelu, PRelu, Abs of what is not negative; a Clip
// within whose bounds x stays.
Outcome within_range(const Site& site) {
  const Node& node = site.graph[site.node];
  if (node.outputs.size() != 1 || node.inputs.empty() || !node.inputs[0]) return NoMatch{};
  ValueId source = node.inputs[0];
  Range needed{0, kInfinity};
  const auto* activation = std::get_if<Activation>(&node.op);
  const auto* unary = std::get_if<Unary>(&node.op);
  if (const auto clamp = clamp_of(site.graph, site.node)) {
    source = clamp->source;
    needed = clamp->bounds;
  } else if (!(activation && activation->kind == Activation::Kind::leaky_relu) &&
             !(unary && unary->kind == Unary::Kind::abs) && !std::holds_alternative<PRelu>(node.op)) {
    return NoMatch{};
  }
  if (site.graph.constant(source)) return NoMatch{};
  const Range known = range_of(site, source);
  if (known.low < needed.low || known.high > needed.high) return NoMatch{};
  if (site.graph[source].shape != site.graph[node.outputs[0]].shape) return NoMatch{};
  return forward(site, source);
}

Graph within_range_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const Activation::Kind kinds[] = {Activation::Kind::relu, Activation::Kind::relu6, Activation::Kind::sigmoid,
                                    Activation::Kind::softplus};
  ValueId y = e.node(Activation{must_fire ? kinds[e.integer(0, 3)] : Activation::Kind::tanh}, {x});
  if (e.chance(0.3)) y = e.node(MaxPool{.kernel = {2, 2}}, {y});
  if (e.chance(0.3)) y = e.node(Pad{.begin = {0, 0, 1, 0}, .end = {0, 0, 0, 1}}, {y});
  switch (e.integer(0, 3)) {
    case 0:
      y = e.node(Activation{Activation::Kind::leaky_relu, 0.1}, {y});
      break;
    case 1:
      y = e.node(PRelu{}, {y, e.constant(e.normal({e.channels(y), 1, 1}))});
      break;
    case 2:
      y = e.node(Unary{Unary::Kind::abs}, {y});
      break;
    case 3:
      y = e.node(Activation{}, {y});
      break;
  }
  e.output(e.node(Activation{Activation::Kind::tanh}, {y}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// clip(clip(x; a, b); c, d) = clip(x; min(max(a, c), d), min(max(b, c), d)).
Outcome clamps(const Site& site) {
  const Node& node = site.graph[site.node];
  const auto second = clamp_of(site.graph, site.node);
  const auto first = second ? clamp_of(site.graph, site.uses.producer_of(second->source)) : std::nullopt;
  if (!first) return NoMatch{};
  if (const auto why = other_readers(site, second->source)) return Refused{*why};
  const auto clamp = [&](double v) { return std::min(std::max(v, second->bounds.low), second->bounds.high); };
  const double low = clamp(first->bounds.low), high = clamp(first->bounds.high);
  Activation op{Activation::Kind::clip, low, high};
  if (low == 0 && high == kInfinity) op = {Activation::Kind::relu};
  if (low == 0 && high == 6) op = {Activation::Kind::relu6};
  Patch patch(site.graph);
  patch.replace(node.outputs[0], patch.node(node.name, op, {first->source}));
  return patch;
}

Graph clamps_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const auto one = [&](ValueId v) {
    switch (e.integer(0, 3)) {
      case 0:
        return e.node(Activation{}, {v});
      case 1:
        return e.node(Activation{Activation::Kind::relu6}, {v});
      case 2:
        return e.node(Binary{Binary::Kind::min}, {v, e.constant(Tensor::filled({}, 0.5))});
      default: {
        const double low = static_cast<double>(e.integer(-4, 2)) / 2;
        return e.node(Activation{Activation::Kind::clip, low, low + 1}, {v});
      }
    }
  };
  const ValueId y = one(x);
  if (!must_fire) e.output(y);
  e.output(one(y));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"disguised-identity", "f(x) = x: Clip(−∞, ∞), Pow 1, a Dirac 1×1 convolution… → x", disguised, disguised_example},
    {"within-range", "A(x) = x on the range of x: Relu after Relu, LeakyRelu of x ≥ 0… → x", within_range,
     within_range_example},
    {"clip-clip", "clip(clip(x; a, b); c, d) = one clip", clamps, clamps_example},
};

}  // namespace

std::span<const Rule> activation_rules() {
  return kRules;
}

}  // namespace reducenet
