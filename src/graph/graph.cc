#include "reducenet/graph.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "reducenet/error.h"

namespace reducenet {
namespace {

[[noreturn]] void broken(const std::string& what) {
  throw Error(ErrorKind::bad_input, what);
}

std::string label(const Node& node) {
  return "node '" + node.name + "' (" + name_of(node.op) + ")";
}

}  // namespace

Value Value::of(std::string name, Tensor constant) {
  const DType dtype = constant.dtype();
  Shape shape = constant.shape();
  return {.name = std::move(name), .dtype = dtype, .shape = std::move(shape), .constant = std::move(constant)};
}

const Tensor* Graph::constant(ValueId id) const {
  if (!id) return nullptr;
  const auto& constant = (*this)[id].constant;
  return constant ? &*constant : nullptr;
}

ValueId Graph::find_value(std::string_view value_name) const {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].name == value_name) return {static_cast<int32_t>(i)};
  }
  return {};
}

NodeId Graph::find_node(std::string_view node_name) const {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].name == node_name) return {static_cast<int32_t>(i)};
  }
  return {};
}

ValueId Graph::add_value(Value value) {
  values.push_back(std::move(value));
  return {static_cast<int32_t>(values.size() - 1)};
}

ValueId Graph::add_constant(std::string_view stem, Tensor constant) {
  return add_value(Value::of(unique_name(stem), std::move(constant)));
}

std::string Graph::unique_name(std::string_view stem) const {
  const auto taken = [&](std::string_view candidate) { return find_value(candidate) || find_node(candidate); };
  std::string name(stem);
  for (int i = 2; taken(name); ++i) name = std::string(stem) + "." + std::to_string(i);
  return name;
}

Uses::Uses(const Graph& graph)
    : producer(graph.values.size()), consumers(graph.values.size()), is_output(graph.values.size()) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const NodeId id{static_cast<int32_t>(i)};
    for (const ValueId value : graph.nodes[i].outputs) {
      if (value) producer[static_cast<size_t>(value.index)] = id;
    }
    for (const ValueId value : graph.nodes[i].inputs) {
      if (value) consumers[static_cast<size_t>(value.index)].push_back(id);
    }
  }
  for (const ValueId value : graph.outputs) is_output[static_cast<size_t>(value.index)] = true;
}

void check(const Graph& graph) {
  const auto count = static_cast<int32_t>(graph.values.size());
  std::unordered_set<std::string_view> names;
  for (const Value& value : graph.values) {
    if (!names.insert(value.name).second) broken("two values are named '" + value.name + "'");
  }
  std::unordered_set<std::string_view> node_names;
  std::vector<bool> ready(graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i) ready[i] = graph.values[i].constant.has_value();
  for (const ValueId id : graph.inputs) {
    if (id.index < 0 || id.index >= count) broken("a graph input refers to no value");
    if (graph[id].constant) broken("graph input '" + graph[id].name + "' is a constant too");
    if (ready[static_cast<size_t>(id.index)]) broken("graph input '" + graph[id].name + "' stands twice");
    ready[static_cast<size_t>(id.index)] = true;
  }
  for (const Node& node : graph.nodes) {
    if (!node_names.insert(node.name).second) broken("two nodes are named '" + node.name + "'");
    for (const ValueId id : node.inputs) {
      if (id.index >= count) broken(label(node) + " reads a value that does not exist");
      if (id && !ready[static_cast<size_t>(id.index)]) {
        broken(label(node) + " reads '" + graph[id].name + "', which nothing before it makes");
      }
    }
    for (const ValueId id : node.outputs) {
      if (id.index >= count) broken(label(node) + " makes a value that does not exist");
      if (!id) continue;
      if (ready[static_cast<size_t>(id.index)]) {
        broken(label(node) + " makes '" + graph[id].name + "', which is already made");
      }
      ready[static_cast<size_t>(id.index)] = true;
    }
  }
  for (const ValueId id : graph.outputs) {
    if (id.index < 0 || id.index >= count) broken("a graph output refers to no value");
    if (!ready[static_cast<size_t>(id.index)]) broken("graph output '" + graph[id].name + "' is made by no node");
  }
}

void sort_topologically(Graph& graph) {
  const Uses uses(graph);
  std::vector<int> missing(graph.nodes.size());
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;  // smallest index first: stable
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId id : graph.nodes[i].inputs) missing[i] += id && uses.producer_of(id);
    if (missing[i] == 0) ready.push(static_cast<int>(i));
  }
  std::vector<Node> sorted;
  sorted.reserve(graph.nodes.size());
  while (!ready.empty()) {
    const int next = ready.top();
    ready.pop();
    missing[static_cast<size_t>(next)] = -1;
    for (const ValueId made : graph.nodes[static_cast<size_t>(next)].outputs) {
      if (!made) continue;
      for (const NodeId reader : uses.consumers_of(made)) {
        if (--missing[static_cast<size_t>(reader.index)] == 0) ready.push(reader.index);
      }
    }
    sorted.push_back(graph.nodes[static_cast<size_t>(next)]);
  }
  if (sorted.size() != graph.nodes.size()) {
    for (size_t i = 0; i < missing.size(); ++i) {
      if (missing[i] > 0) broken(label(graph.nodes[i]) + " is on a cycle");
    }
  }
  graph.nodes = std::move(sorted);
}

void remove_dead(Graph& graph) {
  std::vector<bool> needed(graph.values.size());
  for (const ValueId id : graph.outputs) needed[static_cast<size_t>(id.index)] = true;
  std::vector<Node> kept;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool live = std::any_of(node->outputs.begin(), node->outputs.end(),
                                  [&](ValueId id) { return id && needed[static_cast<size_t>(id.index)]; });
    if (!live) continue;
    for (const ValueId id : node->inputs) {
      if (id) needed[static_cast<size_t>(id.index)] = true;
    }
    for (const ValueId id : node->outputs) {
      if (id) needed[static_cast<size_t>(id.index)] = true;
    }
    kept.push_back(std::move(*node));
  }
  std::reverse(kept.begin(), kept.end());
  graph.nodes = std::move(kept);

  for (const ValueId id : graph.inputs) needed[static_cast<size_t>(id.index)] = true;
  std::vector<ValueId> renumbered(graph.values.size());
  std::vector<Value> values;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (!needed[i]) continue;
    renumbered[i] = {static_cast<int32_t>(values.size())};
    values.push_back(std::move(graph.values[i]));
  }
  graph.values = std::move(values);
  const auto renumber = [&](std::vector<ValueId>& ids) {
    for (ValueId& id : ids) {
      if (id) id = renumbered[static_cast<size_t>(id.index)];
    }
  };
  for (Node& node : graph.nodes) {
    renumber(node.inputs);
    renumber(node.outputs);
  }
  renumber(graph.inputs);
  renumber(graph.outputs);
}

void reinfer_shapes(Graph& graph) {
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.outputs) {
      if (id && !std::holds_alternative<Opaque>(node.op)) graph[id].shape.reset();
    }
  }
  infer_shapes(graph);
}

void set_batch(Graph& graph, int64_t batch) {
  for (const ValueId id : graph.inputs) {
    auto& shape = graph[id].shape;
    if (shape && !shape->empty()) shape->front() = batch;
  }
  reinfer_shapes(graph);
}

}  // namespace reducenet
