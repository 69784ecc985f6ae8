#include "collapse/region.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "reducenet/error.h"

namespace reducenet {
namespace {

/// Values and nodes of a graph by name.
struct Index {
  explicit Index(const Graph& g) : graph(g), uses(g) {
    for (size_t i = 0; i < g.values.size(); ++i) values.emplace(g.values[i].name, ValueId{static_cast<int32_t>(i)});
    for (size_t i = 0; i < g.nodes.size(); ++i) nodes.emplace(g.nodes[i].name, NodeId{static_cast<int32_t>(i)});
  }
  ValueId value(const std::string& name) const {
    const auto found = values.find(name);
    return found == values.end() ? ValueId{} : found->second;
  }
  const Graph& graph;
  Uses uses;
  std::unordered_map<std::string_view, ValueId> values;
  std::unordered_map<std::string_view, NodeId> nodes;
};

/// Whether an input or output of a node is the same in both graphs, by its name or its elements.
bool is_same(const Graph& before, ValueId a, const Graph& after, ValueId b) {
  if (!a || !b) return !a && !b;
  const Tensor *x = before.constant(a), *y = after.constant(b);
  return x || y ? x && y && *x == *y : before[a].name == after[b].name;
}

bool are_same(const Graph& before, const std::vector<ValueId>& a, const Graph& after, const std::vector<ValueId>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](ValueId x, ValueId y) { return is_same(before, x, after, y); });
}

/// The original's node of that name, if it is the same op and makes the same values.
const Node* twin_of(const Index& before, const Graph& after, const Node& node) {
  const auto found = before.nodes.find(node.name);
  if (found == before.nodes.end()) return nullptr;
  const Node& old = before.graph[found->second];
  return old.op == node.op && are_same(before.graph, old.outputs, after, node.outputs) ? &old : nullptr;
}

bool is_opaque(const Graph& graph, NodeId node) {
  return node && std::holds_alternative<Opaque>(graph[node].op);
}

/// Nodes from which `output` is made, back to where `is_cut` says and to what is not executed; the values there, in
/// order of discovery.
struct Cut {
  std::vector<NodeId> nodes;
  std::vector<std::string> inputs;
};
template <class IsCut>
Cut walk_back(const Index& index, ValueId output, bool cut_at_once, IsCut is_cut) {
  Cut cut;
  if (index.graph.constant(output)) return cut;
  std::unordered_set<int32_t> seen{output.index};
  std::vector<ValueId> open{output};
  while (!open.empty()) {
    const ValueId value = open.back();
    open.pop_back();
    const NodeId producer = index.uses.producer_of(value);
    const bool may_cut = cut_at_once || value != output;
    if (!producer || is_opaque(index.graph, producer) || (may_cut && is_cut(index.graph[value].name))) {
      cut.inputs.push_back(index.graph[value].name);
      continue;
    }
    cut.nodes.push_back(producer);
    for (const ValueId in : index.graph[producer].inputs) {
      if (in && !index.graph.constant(in) && seen.insert(in.index).second) open.push_back(in);
    }
  }
  std::sort(cut.nodes.begin(), cut.nodes.end());
  cut.nodes.erase(std::unique(cut.nodes.begin(), cut.nodes.end()), cut.nodes.end());
  return cut;
}

std::vector<std::string> names(const Graph& graph, const std::vector<NodeId>& nodes) {
  std::vector<std::string> result;
  for (const NodeId id : nodes) result.push_back(graph[id].name);
  return result;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The smallest region that makes `output`, which the collapsed network calls `name`. A value that bears the same name
/// in both graphs, but from which the original does not make `output` (it has the name of a removed twin), is no cut.
Region find_region(const Index& old, const Index& made, const std::string& output, const std::string& name) {
  std::unordered_set<std::string> twins;
  while (true) {
    const auto is_shared = [&](const std::string& v) { return old.value(v) && !twins.contains(v); };
    const Cut after = walk_back(made, made.value(name), name != output, is_shared);
    const Cut before = walk_back(old, old.value(output), name != output,
                                 [&](const std::string& v) { return contains(after.inputs, v); });
    const size_t known = twins.size();
    for (const std::string& input : after.inputs) {
      if (!contains(before.inputs, input) && made.uses.producer_of(made.value(input))) twins.insert(input);
    }
    if (twins.size() > known) continue;
    Region region{names(old.graph, before.nodes), names(made.graph, after.nodes), after.inputs, output, name};
    for (const std::string& input : before.inputs) {
      if (!contains(after.inputs, input)) region.inputs.push_back(input);
    }
    return region;
  }
}

/// Compares two parts from their outputs back.
class Expressions {
 public:
  Expressions(const Graph& before, const Graph& after)
      : before_(before), after_(after), before_uses_(before), after_uses_(after) {}

  bool same(ValueId a, ValueId b) {
    if (!a || !b) return !a && !b;
    a = handed_on(before_, before_uses_, a);
    b = handed_on(after_, after_uses_, b);
    const auto [known, fresh] = same_.try_emplace({a.index, b.index}, false);  // graphs have no cycles
    if (fresh) known->second = compare(a, b);
    return same_.at({a.index, b.index});
  }

 private:
  static ValueId handed_on(const Graph& graph, const Uses& uses, ValueId id) {
    while (const NodeId producer = uses.producer_of(id)) {
      const Node& node = graph[producer];
      const auto* dropout = std::get_if<Dropout>(&node.op);
      const auto* cast = std::get_if<Cast>(&node.op);
      const bool hands_on = std::holds_alternative<Identity>(node.op) || (dropout && !dropout->training) ||
                            (cast && cast->to == graph[node.inputs[0]].dtype);
      if (!hands_on || node.outputs[0] != id) break;
      id = node.inputs[0];
    }
    return id;
  }

  bool compare(ValueId a, ValueId b) {
    const Tensor* const x = before_.constant(a);
    if (const Tensor* const y = after_.constant(b)) return x ? *x == *y : is_computed(a, *y);
    const NodeId u = before_uses_.producer_of(a), v = after_uses_.producer_of(b);
    if (x || !u || !v) return !x && !u && !v && before_[a].name == after_[b].name;
    const Node &old = before_[u], &made = after_[v];
    const auto place = [](const Node& node, ValueId id) {
      return std::ranges::find(node.outputs, id) - node.outputs.begin();
    };
    return old.op == made.op && place(old, a) == place(made, b) && old.inputs.size() == made.inputs.size() &&
           std::equal(old.inputs.begin(), old.inputs.end(), made.inputs.begin(),
                      [&](ValueId one, ValueId other) { return same(one, other); });
  }

  /// The original makes the constant from constants alone.
  bool is_computed(ValueId a, const Tensor& constant) const {
    Graph part = before_;
    part.outputs = {a};
    remove_dead(part);
    const Uses uses(part);
    const auto is_read = [&](ValueId input) {
      return uses.is_output[static_cast<size_t>(input.index)] || !uses.consumers_of(input).empty();
    };
    if (std::ranges::any_of(part.inputs, is_read)) return false;
    part.inputs.clear();
    const Tensor made = evaluate(part, {})[0];
    const Tensor stored = is_float(constant.dtype()) ? made.cast(constant.dtype()) : made;
    return stored.shape() == constant.shape() && stored.to_doubles() == constant.to_doubles();
  }

  const Graph &before_, &after_;
  Uses before_uses_, after_uses_;
  std::map<std::pair<int32_t, int32_t>, bool> same_;
};

}  // namespace

std::vector<Region> find_regions(const Graph& before, const Graph& after) {
  const Index old(before), made(after);
  std::vector<Region> regions;
  std::unordered_set<std::string> read;  // by what is not executed, under another name or as a constant
  for (const Node& node : after.nodes) {
    const Node* const twin = twin_of(old, after, node);
    if (twin && are_same(before, twin->inputs, after, node.inputs)) continue;
    if (twin && std::holds_alternative<Opaque>(node.op)) {
      for (size_t i = 0; i < std::min(twin->inputs.size(), node.inputs.size()); ++i) {
        if (is_same(before, twin->inputs[i], after, node.inputs[i])) continue;
        const std::string &was = before[twin->inputs[i]].name, &name = after[node.inputs[i]].name;
        if (read.insert(was + '\n' + name).second) regions.push_back(find_region(old, made, was, name));
      }
      continue;
    }
    if (std::holds_alternative<Opaque>(node.op)) {
      throw Error(ErrorKind::check_failed, "node '" + node.name + "' is not executed here, so no rule may change it");
    }
    for (const ValueId output : node.outputs) {
      if (!output || !old.value(after[output].name)) continue;  // inside a region
      regions.push_back(find_region(old, made, after[output].name, after[output].name));
    }
  }
  return regions;
}

Graph cut_out(const Graph& graph, const std::vector<std::string>& nodes, const std::vector<std::string>& inputs,
              const std::string& output) {
  const std::unordered_set<std::string_view> wanted(nodes.begin(), nodes.end());
  const std::unordered_set<std::string_view> entries(inputs.begin(), inputs.end());
  Graph part;
  std::unordered_map<int32_t, ValueId> copied;
  std::unordered_map<std::string_view, ValueId> by_name;
  const auto copy = [&](ValueId id) {
    if (!id) return ValueId{};
    const auto [found, fresh] = copied.try_emplace(id.index);
    if (fresh) {
      Value value = graph[id];
      if (!value.constant) value.shape.reset();
      found->second = part.add_value(std::move(value));
      by_name.emplace(graph[id].name, found->second);
    }
    return found->second;
  };
  for (const Node& node : graph.nodes) {
    if (!wanted.contains(node.name)) continue;
    Node made = node;
    for (ValueId& id : made.inputs) id = copy(id);
    for (ValueId& id : made.outputs) id = copy(id);
    part.nodes.push_back(std::move(made));
  }
  for (const std::string& input : inputs) {
    const auto [found, fresh] = by_name.try_emplace(input);
    if (fresh) found->second = part.add_value({.name = input});
    part.inputs.push_back(found->second);
  }
  const auto found = by_name.find(output);
  part.outputs.push_back(found != by_name.end() ? found->second : copy(graph.find_value(output)));
  return part;
}

bool same_expression(const Graph& before, const Graph& after) {
  try {
    return Expressions(before, after).same(before.outputs[0], after.outputs[0]);
  } catch (const Error&) {  // what is computed from constants could not be computed
    return false;
  }
}

}  // namespace reducenet
