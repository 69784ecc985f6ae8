#include <algorithm>

#include "rules/example.h"
#include "rules/merge.h"
#include "rules/reason.h"
#include "rules/rows.h"

// Linear maps of the last axis of tensors of rank 3 and more, as in ConvNeXt (arXiv 2201.03545) and transformers:
// products with a matrix, and sums and products with a vector.

namespace reducenet {
namespace {

/// x → x·W + b, or x ∘ w + b where W is diagonal.
struct LastMap {
  int64_t in = 0, out = 0;
  bool diagonal = true;
  std::vector<double> weight;  ///< [in, out], or [in] if diagonal
  std::vector<double> bias;    ///< [out]

  int64_t work() const { return diagonal ? 0 : in * out; }
};

/// A node that is such a map of `source`.
struct Step {
  NodeId node;
  ValueId source;
  int64_t in, out;
  bool diagonal;
  int64_t work() const { return diagonal ? 0 : in * out; }
};

std::optional<int64_t> last_dim(const Graph& graph, ValueId value) {
  const auto& shape = graph[value].shape;
  if (!shape || shape->size() < 3 || shape->back() < 1 || !is_float(graph[value].dtype)) return std::nullopt;
  return shape->back();
}

/// All dimensions but that of `axis` (counted in a tensor of that rank) are 1, and that one is `size` or 1.
bool lies_along(const Tensor& c, size_t rank, size_t axis, int64_t size) {
  const Shape& s = c.shape();
  if (s.size() > rank) return false;
  for (size_t i = 0; i < s.size(); ++i) {
    const size_t at = rank - s.size() + i;
    if (s[i] != 1 && (at != axis || s[i] != size)) return false;
  }
  return true;
}

std::optional<Step> read_step(const Graph& graph, NodeId id) {
  if (!id) return std::nullopt;
  const Node& node = graph[id];
  if (std::holds_alternative<MatMul>(node.op)) {
    const Tensor* w = graph.constant(node.inputs[1]);
    const auto in = last_dim(graph, node.inputs[0]);
    if (!w || !in || graph.constant(node.inputs[0]) || w->shape().size() != 2) return std::nullopt;
    return Step{id, node.inputs[0], *in, w->shape()[1], false};
  }
  if (const auto* unary = std::get_if<Unary>(&node.op); unary && unary->kind == Unary::Kind::neg) {
    const auto in = last_dim(graph, node.inputs[0]);
    return in ? std::optional(Step{id, node.inputs[0], *in, *in, true}) : std::nullopt;
  }
  const auto* op = std::get_if<Binary>(&node.op);
  if (!op) return std::nullopt;
  using enum Binary::Kind;
  for (size_t i = 0; i < 2; ++i) {
    const Tensor* c = graph.constant(node.inputs[i]);
    const ValueId x = node.inputs[1 - i];
    const auto in = c && !graph.constant(x) ? last_dim(graph, x) : std::nullopt;
    if (!in || graph[x].shape != graph[node.outputs[0]].shape) continue;
    const bool linear = op->kind == add || op->kind == sub || op->kind == mul || (op->kind == div && i == 1);
    const size_t rank = graph[x].shape->size();
    if (linear && lies_along(*c, rank, rank - 1, *in)) return Step{id, x, *in, *in, true};
  }
  return std::nullopt;
}

LastMap identity_of(int64_t size) {
  const auto n = static_cast<size_t>(size);
  return {size, size, true, std::vector<double>(n, 1), std::vector<double>(n, 0)};
}

/// x ∘ c or x + c or … as the node says, with the constant's elements repeated to `size`.
LastMap diagonal_of(const Graph& graph, const Node& node, int64_t size) {
  LastMap map = identity_of(size);
  const auto* op = std::get_if<Binary>(&node.op);
  if (!op) {
    map.weight.assign(map.weight.size(), -1);
    return map;
  }
  const bool left = graph.constant(node.inputs[0]);
  std::vector<double> c = graph.constant(node.inputs[left ? 0 : 1])->to_doubles();
  if (c.size() == 1) c.assign(static_cast<size_t>(size), c[0]);
  for (size_t i = 0; i < c.size(); ++i) {
    if (op->kind == Binary::Kind::mul) map.weight[i] = c[i];
    if (op->kind == Binary::Kind::div) map.weight[i] = 1 / c[i];
    if (op->kind == Binary::Kind::add) map.bias[i] = c[i];
    if (op->kind == Binary::Kind::sub) map.bias[i] = left ? c[i] : -c[i];
  }
  if (op->kind == Binary::Kind::sub && left) map.weight.assign(map.weight.size(), -1);
  return map;
}

LastMap numbers_of(const Graph& graph, const Step& step) {
  const Node& node = graph[step.node];
  if (step.diagonal) return diagonal_of(graph, node, step.in);
  return {step.in, step.out, false, graph.constant(node.inputs[1])->to_doubles(),
          std::vector<double>(static_cast<size_t>(step.out), 0)};
}

// (x·A + a)·B + b = x·(A·B) + (a·B + b)
LastMap compose(const LastMap& a, const LastMap& b) {
  LastMap made{a.in, b.out, a.diagonal && b.diagonal, {}, b.bias};
  const auto in = static_cast<size_t>(a.in), middle = static_cast<size_t>(a.out), out = static_cast<size_t>(b.out);
  if (b.diagonal) {
    made.weight = a.weight;
    for (size_t i = 0; i < made.weight.size(); ++i) made.weight[i] *= b.weight[i % out];
    for (size_t o = 0; o < out; ++o) made.bias[o] += a.bias[o] * b.weight[o];
    return made;
  }
  made.weight.resize(in * out);
  for (size_t m = 0; m < middle; ++m) {
    const double* row = b.weight.data() + m * out;
    for (size_t o = 0; o < out; ++o) made.bias[o] += a.bias[m] * row[o];
    for (size_t i = a.diagonal ? m : 0; i < (a.diagonal ? m + 1 : in); ++i) {
      const double scale = a.weight[a.diagonal ? m : i * middle + m];
      for (size_t o = 0; o < out; ++o) made.weight[i * out + o] += scale * row[o];
    }
  }
  return made;
}

bool all_equal(const std::vector<double>& values, double expected) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return v == expected; });
}

bool multiplies(const LastMap& map) {
  return !map.diagonal || !all_equal(map.weight, 1);
}

bool adds(const LastMap& map) {
  return !all_equal(map.bias, 0);
}

ValueId emit(Patch& patch, const LastMap& map, ValueId x, const std::string& name) {
  if (multiplies(map)) {
    const Shape shape = map.diagonal ? Shape{map.in} : Shape{map.in, map.out};
    const ValueId w = patch.constant(name + ".weight", Tensor::from_doubles(shape, map.weight));
    x = map.diagonal ? patch.node(name, Binary{Binary::Kind::mul}, {x, w}) : patch.node(name, MatMul{}, {x, w});
  }
  if (!adds(map)) return x;
  const ValueId b = patch.constant(name + ".bias", Tensor::from_doubles({map.out}, map.bias));
  return patch.node(name, Binary{}, {x, b});
}

/// The maps that lead to `value`, last first, each read by the next alone.
std::vector<Step> steps_to(const Site& site, ValueId value) {
  std::vector<Step> steps;
  for (auto step = read_step(site.graph, site.uses.producer_of(value)); step;
       step = read_step(site.graph, site.uses.producer_of(step->source))) {
    steps.push_back(*step);
    if (other_readers(site, step->source)) break;
  }
  return steps;
}

/// One map for the last `count` steps and `behind`.
LastMap merge(const Graph& graph, const std::vector<Step>& steps, size_t count, LastMap behind) {
  for (size_t i = 0; i < count; ++i) behind = compose(numbers_of(graph, steps[i]), behind);
  return behind;
}

const std::string& name_of_matrix(const Graph& graph, const std::vector<Step>& steps, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!steps[i].diagonal) return graph[steps[i].node].name;
  }
  return graph[steps[0].node].name;
}

// (x·A + a)·B + b = x·(A·B) + (a·B + b), A and B matrices or diagonal.  Always exact; where it saves nodes.
Outcome last_axis(const Site& site) {
  const Node& node = site.graph[site.node];
  const auto own = read_step(site.graph, site.node);
  if (!own) return NoMatch{};
  const std::vector<Step> steps = steps_to(site, node.outputs[0]);
  std::optional<std::string> why;
  for (size_t count = steps.size(); count > 1; --count) {
    int64_t before = 0;
    bool diagonal = true;
    for (size_t i = 0; i < count; ++i) {
      before += steps[i].work();
      diagonal &= steps[i].diagonal;
    }
    if (!diagonal && count == 2 && steps[0].diagonal && !steps[1].diagonal) {  // what a product and a sum already are
      const auto* op = std::get_if<Binary>(&node.op);
      if (op && op->kind != Binary::Kind::mul && op->kind != Binary::Kind::div) continue;
    }
    if (diagonal && view(site.graph, site.node)) continue;  // one constant in all: a scale of channels as well
    const int64_t after = diagonal ? 0 : steps[count - 1].in * own->out;
    if (!site.may.enlarge && after > before) {
      why = too_costly(site, before, after);
      continue;
    }
    const LastMap map = merge(site.graph, steps, count, identity_of(own->out));
    const size_t nodes = static_cast<size_t>(multiplies(map)) + static_cast<size_t>(adds(map));
    if (nodes == 0 || nodes >= count) continue;
    Patch patch(site.graph);
    patch.replace(node.outputs[0], emit(patch, map, steps[count - 1].source, name_of_matrix(site.graph, steps, count)));
    return patch;
  }
  const NodeId producer = site.uses.producer_of(own->source);
  if (!why && steps.size() == 1 && read_step(site.graph, producer)) why = other_readers(site, own->source);
  if (why) return Refused{*why};
  return NoMatch{};
}

ValueId tokens(Example& e, ValueId x) {
  return e.node(Transpose{{0, 2, 3, 1}}, {x});
}

ValueId last_scale(Example& e, ValueId x) {
  const int64_t size = e.shape(x).back();
  const ValueId c = e.constant(e.normal(e.chance(0.8) ? Shape{size} : Shape{1}));
  using Kind = Binary::Kind;
  const Kind kinds[] = {Kind::add, Kind::sub, Kind::mul};
  const bool left = e.chance(0.3);
  return e.node(Binary{kinds[e.integer(0, 2)]}, left ? std::vector{c, x} : std::vector{x, c});
}

ValueId last_matrix(Example& e, ValueId x) {
  return e.node(MatMul{}, {x, e.constant(e.normal({e.shape(x).back(), e.integer(1, 6)}))});
}

Graph last_axis_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.node(Activation{}, {tokens(e, e.image())});
  ValueId y = must_fire && e.chance(0.3) ? last_scale(e, x) : x;
  y = last_matrix(e, y);
  if (!must_fire) e.output(y);
  if (must_fire) y = e.node(Binary{}, {y, e.constant(e.normal({e.shape(y).back()}))});
  if (!must_fire) {
    e.output(e.node(Unary{}, {y}));
    return std::move(e).finish();
  }
  y = e.chance(0.5) ? e.node(Binary{Binary::Kind::mul}, {y, e.constant(e.normal({e.shape(y).back()}))})
                    : last_matrix(e, y);
  while (e.chance(0.3)) y = last_scale(e, y);
  e.output(y);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// s ∘ T(x·A + a) = T(x·(A∘s) + a∘s)  for a layer scale behind a transpose T that moves the last axis to the channels
// (Touvron et al., arXiv 2103.17239; ConvNeXt).
Outcome layer_scale(const Site& site) {
  const auto scale = view(site.graph, site.node);
  if (!scale || !(scale->is_scale() || scale->is_batch_norm())) return NoMatch{};
  const NodeId producer = site.uses.producer_of(scale->source);
  const auto* transpose = producer ? std::get_if<Transpose>(&site.graph[producer].op) : nullptr;
  if (!transpose || transpose->perm.size() < 3) return NoMatch{};
  if (transpose->perm[1] != static_cast<int64_t>(transpose->perm.size()) - 1) return NoMatch{};
  const ValueId inside = site.graph[producer].inputs[0];
  const std::vector<Step> steps = steps_to(site, inside);
  if (steps.empty()) return NoMatch{};
  if (const auto why = other_readers(site, scale->source)) return Refused{*why};
  if (const auto why = other_readers(site, inside)) return Refused{*why};

  const auto size = static_cast<size_t>(scale->geometry.in);
  LastMap behind = identity_of(scale->geometry.in);
  behind.weight = weight_of(site.graph, *scale);
  behind.bias = bias_of(site.graph, *scale);
  behind.weight.resize(size, behind.weight[0]);
  const size_t count = std::min<size_t>(steps.size(), 2);
  const LastMap map = merge(site.graph, steps, count, std::move(behind));
  if (static_cast<size_t>(multiplies(map)) + static_cast<size_t>(adds(map)) > count) return NoMatch{};
  Patch patch(site.graph);
  const ValueId y = emit(patch, map, steps[count - 1].source, name_of_matrix(site.graph, steps, count));
  patch.replace(scale->result, patch.node(site.graph[producer].name, *transpose, {y}));
  return patch;
}

Graph layer_scale_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.node(Activation{}, {tokens(e, e.image())});
  ValueId y = last_matrix(e, x);
  if (e.chance(0.7)) y = e.node(Binary{}, {y, e.constant(e.normal({e.shape(y).back()}))});
  const ValueId image = e.node(Transpose{{0, 3, 1, 2}}, {y});
  const ValueId gamma = e.constant(e.normal({1, e.channels(image), 1, 1}));
  e.output(e.node(Binary{Binary::Kind::mul}, {image, gamma}));
  if (!must_fire) e.output(image);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"last-axis", "(x·A + a)·B + b = x·(A·B) + (a·B + b) along the last axis", last_axis, last_axis_example},
    {"layer-scale", "s ∘ T(x·A + a) = T(x·(A∘s) + a∘s)", layer_scale, layer_scale_example},
};

}  // namespace

std::span<const Rule> last_axis_rules() {
  return kRules;
}

}  // namespace reducenet
