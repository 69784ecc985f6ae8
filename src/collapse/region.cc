#include "collapse/region.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

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

bool is_kept(const Index& before, const Graph& after, const Node& node) {
  const auto found = before.nodes.find(node.name);
  if (found == before.nodes.end()) return false;
  const Node& old = before.graph[found->second];
  const auto same = [&](ValueId a, ValueId b) {
    if (!a || !b) return !a && !b;
    const Tensor *x = before.graph.constant(a), *y = after.constant(b);
    return x || y ? x && y && *x == *y : before.graph[a].name == after[b].name;
  };
  const auto all_same = [&](const std::vector<ValueId>& a, const std::vector<ValueId>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
  };
  return old.op == node.op && all_same(old.inputs, node.inputs) && all_same(old.outputs, node.outputs);
}

/// Nodes from which `output` is made, back to where `is_cut` says; the values there, in order of discovery.
struct Cut {
  std::vector<NodeId> nodes;
  std::vector<std::string> inputs;
};
template <class IsCut>
Cut walk_back(const Index& index, ValueId output, IsCut is_cut) {
  Cut cut;
  std::unordered_set<int32_t> seen{output.index};
  std::vector<ValueId> open{output};
  while (!open.empty()) {
    const ValueId value = open.back();
    open.pop_back();
    const NodeId producer = index.uses.producer_of(value);
    if (!producer || (value != output && is_cut(index.graph[value].name))) {
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

/// The smallest region that makes `output`. A value that bears the same name in both graphs, but from which the
/// original does not make `output` (it has the name of a removed twin), is no cut.
Region find_region(const Index& old, const Index& made, const std::string& output) {
  std::unordered_set<std::string> twins;
  while (true) {
    const auto is_shared = [&](const std::string& v) { return old.value(v) && !twins.contains(v); };
    const Cut after = walk_back(made, made.value(output), is_shared);
    const Cut before =
        walk_back(old, old.value(output), [&](const std::string& v) { return contains(after.inputs, v); });
    const size_t known = twins.size();
    for (const std::string& input : after.inputs) {
      if (!contains(before.inputs, input) && made.uses.producer_of(made.value(input))) twins.insert(input);
    }
    if (twins.size() > known) continue;
    Region region{names(old.graph, before.nodes), names(made.graph, after.nodes), after.inputs, output};
    for (const std::string& input : before.inputs) {
      if (!contains(after.inputs, input)) region.inputs.push_back(input);
    }
    return region;
  }
}

}  // namespace

std::vector<Region> find_regions(const Graph& before, const Graph& after) {
  const Index old(before), made(after);
  std::vector<Region> regions;
  for (const Node& node : after.nodes) {
    const ValueId output = node.outputs.empty() ? ValueId{} : node.outputs[0];
    if (!output || is_kept(old, after, node)) continue;
    const std::string& name = after[output].name;
    if (!old.value(name)) continue;  // inside a region
    regions.push_back(find_region(old, made, name));
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
    const auto found = by_name.find(input);
    part.inputs.push_back(found != by_name.end() ? found->second : part.add_value({.name = input}));
  }
  part.outputs.push_back(by_name.at(output));
  return part;
}

}  // namespace reducenet
