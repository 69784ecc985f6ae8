#include <algorithm>

#include "reducenet/error.h"
#include "rules/example.h"
#include "rules/rows.h"
#include "rules/view.h"

namespace reducenet {
namespace {

constexpr int64_t kMostElements = 1 << 24;

/// The value of a node whose output does not depend on the graph's inputs.
std::optional<Tensor> value_of(const Graph& graph, const Node& node) {
  const Value& made = graph[node.outputs[0]];
  if (const auto* op = std::get_if<ShapeOf>(&node.op)) {
    const auto& shape = graph[node.inputs[0]].shape;
    if (!shape || std::ranges::any_of(*shape, [](int64_t dim) { return dim < 0; })) return std::nullopt;
    if (op->size) return Tensor::of({}, std::vector<int64_t>{element_count(*shape)});
  } else if (!std::ranges::all_of(node.inputs, [&](ValueId id) { return !id || graph.constant(id); })) {
    return std::nullopt;
  }
  Graph part;
  Node copy = node;
  for (ValueId& id : copy.inputs) {
    if (!id) continue;
    Value value = graph[id];
    if (!value.constant) value.constant = Tensor::filled(*value.shape, 0, DType::u8);  // only its shape is asked for
    id = part.add_value(std::move(value));
  }
  copy.outputs = {part.add_value({.name = made.name + ".value", .dtype = made.dtype})};
  part.outputs = copy.outputs;
  part.nodes.push_back(std::move(copy));
  try {
    const Tensor value = evaluate(part, {})[0];
    return is_float(made.dtype) ? value : value.cast(made.dtype);
  } catch (const Error&) {
    return std::nullopt;  // whatever is wrong with the node will be said where it runs
  }
}

bool is_small(const std::optional<Shape>& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape.value_or(Shape{})) count *= std::clamp<int64_t>(dim, 0, kMostElements);
  return count <= kMostElements;
}

// f(c) for constants c → its value; so too the shape of a value whose shape is fixed.
Outcome fold(const Site& site) {
  const Node& node = site.graph[site.node];
  const auto* dropout = std::get_if<Dropout>(&node.op);
  if (std::holds_alternative<Opaque>(node.op) || (dropout && dropout->training)) return NoMatch{};
  if (node.inputs.empty() || node.outputs.size() != 1 || !node.outputs[0]) return NoMatch{};
  if (is_pinned(site, node.outputs[0]) || site.graph[node.outputs[0]].dtype == DType::string) return NoMatch{};
  const bool small =
      std::ranges::all_of(node.inputs, [&](ValueId id) { return !id || is_small(site.graph[id].shape); });
  if (!small || !is_small(site.graph[node.outputs[0]].shape)) return NoMatch{};
  const std::optional<Tensor> value = value_of(site.graph, node);
  if (!value) return NoMatch{};
  Patch patch(site.graph);
  patch.replace(node.outputs[0], patch.constant(node.name, *value));
  return patch;
}

Graph fold_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.node(Activation{}, {e.image()});
  const auto constant = [&] {
    const ValueId c = e.constant(e.normal({e.channels(x), 1, 1}));
    return must_fire ? c : e.node(Binary{}, {x, c});
  };
  ValueId y;
  switch (e.integer(0, 3)) {
    case 0:
      y = e.node(Binary{Binary::Kind::mul}, {constant(), constant()});
      break;
    case 1:
      y = e.node(Activation{Activation::Kind::tanh}, {constant()});
      break;
    case 2:
      y = e.node(Reduce{.kind = Reduce::Kind::max, .axes = {-3}}, {constant()});
      break;
    case 3:
      y = e.node(Unary{Unary::Kind::exp}, {constant()});
      break;
  }
  e.output(e.node(Activation{Activation::Kind::tanh}, {e.node(Variadic{Variadic::Kind::max}, {x, y, x})}));
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"constant", "f(constants) → a constant", fold, fold_example},
};

}  // namespace

std::span<const Rule> constant_rules() {
  return kRules;
}

}  // namespace reducenet
