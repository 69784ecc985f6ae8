#include <algorithm>
#include <set>

#include "reducenet/prune.h"

namespace reducenet {
namespace {

/// Nodes between `value` and `skip`, in order; nothing when a path to `value` passes `skip` by.
std::optional<std::vector<NodeId>> between(const Graph& graph, const Uses& uses, ValueId skip, ValueId value) {
  std::set<NodeId> met;
  std::vector<ValueId> open{value};
  const std::set<ValueId> inputs(graph.inputs.begin(), graph.inputs.end());
  while (!open.empty()) {
    const ValueId next = open.back();
    open.pop_back();
    if (!next || next == skip || graph.constant(next)) continue;
    const NodeId producer = uses.producer_of(next);
    if (!producer || inputs.contains(next)) return std::nullopt;
    if (!met.insert(producer).second) continue;
    for (const ValueId in : graph[producer].inputs) open.push_back(in);
  }
  return std::vector<NodeId>(met.begin(), met.end());
}

bool is_sum(const Op& op) {
  if (const auto* binary = std::get_if<Binary>(&op)) return binary->kind == Binary::Kind::add;
  const auto* variadic = std::get_if<Variadic>(&op);
  return variadic && variadic->kind == Variadic::Kind::sum;
}

}  // namespace

std::vector<Block> find_blocks(const Graph& graph) {
  const Uses uses(graph);
  std::vector<Block> blocks;
  for (const Node& node : graph.nodes) {
    if (!is_sum(node.op) || node.inputs.size() != 2) continue;
    const ValueId out = node.outputs[0];
    if (uses.is_output[static_cast<size_t>(out.index)]) continue;
    for (size_t i = 0; i < 2; ++i) {
      const ValueId skip = node.inputs[i], value = node.inputs[1 - i];
      if (graph.constant(skip) || graph.constant(value) || skip == value) continue;
      if (!graph[skip].shape || graph[skip].shape != graph[out].shape) continue;
      auto body = between(graph, uses, skip, value);
      if (!body || body->empty()) continue;
      blocks.push_back({node.name, skip, out, std::move(*body)});
      break;
    }
  }
  return blocks;
}

Graph drop_blocks(const Graph& graph, std::span<const Block> blocks, const std::vector<bool>& dropped) {
  Graph made = graph;
  std::map<ValueId, ValueId> instead;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (!dropped.at(i)) continue;
    const auto before = instead.find(blocks[i].skip);
    instead[blocks[i].out] = before == instead.end() ? blocks[i].skip : before->second;
  }
  for (Node& node : made.nodes) {
    for (ValueId& in : node.inputs) {
      if (const auto found = instead.find(in); found != instead.end()) in = found->second;
    }
  }
  remove_dead(made);
  check(made);
  return made;
}

}  // namespace reducenet
