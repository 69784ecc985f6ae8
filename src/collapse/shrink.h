#pragma once

#include <functional>

#include "reducenet/error.h"
#include "reducenet/graph.h"

namespace reducenet::testing {

/// A smaller graph that still fails: outputs are dropped or moved up, inputs moved down, nodes that keep their input's
/// shape left out, and biases dropped, as long as any of that keeps `fails` true.
class Shrinker {
 public:
  explicit Shrinker(std::function<bool(const Graph&)> fails) : fails_(std::move(fails)) {}

  Graph shrink(Graph graph) const {
    for (bool smaller = true; smaller;) {
      smaller = false;
      for (size_t i = 0; i < graph.nodes.size(); ++i) smaller |= accept(graph, with_output(graph, i));
      for (size_t i = graph.outputs.size(); graph.outputs.size() > 1 && i-- > 0;) {
        smaller |= accept(graph, without_output(graph, i));
      }
      for (size_t i = graph.nodes.size(); i-- > 0;) {
        if (i < graph.nodes.size()) smaller |= accept(graph, with_input(graph, i));
        if (i < graph.nodes.size()) smaller |= accept(graph, without_node(graph, i));
        if (i < graph.nodes.size()) smaller |= accept(graph, without_bias(graph, i));
      }
    }
    return graph;
  }

 private:
  static Graph with_output(Graph graph, size_t node) {
    graph.outputs = {graph.nodes[node].outputs[0]};
    return graph;
  }

  static Graph without_output(Graph graph, size_t i) {
    graph.outputs.erase(graph.outputs.begin() + static_cast<int64_t>(i));
    return graph;
  }

  /// What the node makes becomes an input.
  static Graph with_input(Graph graph, size_t node) {
    graph.inputs.push_back(graph.nodes[node].outputs[0]);
    graph.nodes.erase(graph.nodes.begin() + static_cast<int64_t>(node));
    return graph;
  }

  static Graph without_node(Graph graph, size_t node) {
    const ValueId made = graph.nodes[node].outputs[0];
    for (const ValueId in : graph.nodes[node].inputs) {
      if (!in || graph.constant(in) || graph[in].shape != graph[made].shape) continue;
      for (Node& reader : graph.nodes) std::replace(reader.inputs.begin(), reader.inputs.end(), made, in);
      std::replace(graph.outputs.begin(), graph.outputs.end(), made, in);
      graph.nodes.erase(graph.nodes.begin() + static_cast<int64_t>(node));
      break;
    }
    return graph;
  }

  static Graph without_bias(Graph graph, size_t node) {
    auto& inputs = graph.nodes[node].inputs;
    if (std::holds_alternative<Conv2d>(graph.nodes[node].op) && inputs.size() == 3) inputs.pop_back();
    return graph;
  }

  static size_t size(const Graph& graph) {
    size_t total = graph.outputs.size();
    for (const Node& node : graph.nodes) total += 4 + node.inputs.size();
    return total;
  }

  /// Takes the candidate if it is smaller, well formed, and fails.
  bool accept(Graph& graph, Graph candidate) const {
    for (const ValueId out : candidate.outputs) {
      const bool made = std::any_of(candidate.nodes.begin(), candidate.nodes.end(),
                                    [&](const Node& node) { return node.outputs[0] == out; });
      if (!made) return false;
    }
    remove_dead(candidate);
    drop_unread_inputs(candidate);
    if (candidate.inputs.empty() || size(candidate) >= size(graph)) return false;
    try {
      check(candidate);
    } catch (const Error&) {
      return false;
    }
    if (!fails_(candidate)) return false;
    graph = std::move(candidate);
    return true;
  }

  static void drop_unread_inputs(Graph& graph) {
    const Uses uses(graph);
    std::erase_if(graph.inputs, [&](ValueId in) { return uses.consumers_of(in).empty(); });
  }

  std::function<bool(const Graph&)> fails_;
};

}  // namespace reducenet::testing
