#include "graph/gates.h"

#include <algorithm>

namespace reducenet {
namespace {

/// The sign in hard_sigmoid(sign(z)), which may stand behind any Reshape.
NodeId sign_of_gate(const Graph& graph, const Uses& uses, ValueId value) {
  NodeId node = uses.producer_of(value);
  while (node && std::holds_alternative<Reshape>(graph[node].op)) node = uses.producer_of(graph[node].inputs[0]);
  const auto* const step = node ? std::get_if<Activation>(&graph[node].op) : nullptr;
  if (step == nullptr || step->kind != Activation::Kind::hard_sigmoid) return {};
  const NodeId before = uses.producer_of(graph[node].inputs[0]);
  const auto* const sign = before ? std::get_if<Unary>(&graph[before].op) : nullptr;
  return sign != nullptr && sign->kind == Unary::Kind::sign ? before : NodeId{};
}

}  // namespace

std::vector<GatedBlock> gated_blocks(const Graph& graph) {
  const Uses uses(graph);
  std::vector<GatedBlock> found;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& sum = graph.nodes[i];
    const auto* const binary = std::get_if<Binary>(&sum.op);
    const auto* const fade = std::get_if<Fade>(&sum.op);
    if (!(binary && binary->kind == Binary::Kind::add) && !(fade && fade->kind == "branch")) continue;
    for (size_t term = 0; term < 2; ++term) {
      const NodeId product = uses.producer_of(sum.inputs[term]);
      const auto* const mul = product ? std::get_if<Binary>(&graph[product].op) : nullptr;
      if (mul == nullptr || mul->kind != Binary::Kind::mul) continue;
      for (const ValueId factor : graph[product].inputs) {
        const NodeId sign = sign_of_gate(graph, uses, factor);
        if (sign) found.push_back({{static_cast<int32_t>(i)}, product, sum.inputs[1 - term], factor, sign});
      }
    }
  }
  return found;
}

std::vector<NodeId> nodes_behind(const Graph& graph, const Uses& uses, const GatedBlock& block) {
  std::vector<bool> members(graph.nodes.size());
  const auto serves_only = [&](const Node& node) {
    return std::ranges::all_of(node.outputs, [&](ValueId id) {
      if (!id) return true;
      if (id == block.gate || id == block.shortcut || uses.is_output[static_cast<size_t>(id.index)]) return false;
      return std::ranges::all_of(uses.consumers_of(id),
                                 [&](NodeId reader) { return members[static_cast<size_t>(reader.index)]; });
    });
  };
  std::vector<NodeId> found;
  for (int32_t i = block.product.index; i >= 0; --i) {
    const bool product = i == block.product.index;
    if (!product && !serves_only(graph.nodes[static_cast<size_t>(i)])) continue;
    members[static_cast<size_t>(i)] = true;
    found.push_back({i});
  }
  std::ranges::reverse(found);
  return found;
}

}  // namespace reducenet
