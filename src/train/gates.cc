#include "train/gates.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace reducenet::train {
namespace {

/// hard_sigmoid(sign(z)) behind any Reshape.
bool is_gate(const Graph& graph, const Uses& uses, ValueId value) {
  NodeId node = uses.producer_of(value);
  while (node && std::holds_alternative<Reshape>(graph[node].op)) node = uses.producer_of(graph[node].inputs[0]);
  const auto* const step = node ? std::get_if<Activation>(&graph[node].op) : nullptr;
  if (step == nullptr || step->kind != Activation::Kind::hard_sigmoid) return false;
  const NodeId before = uses.producer_of(graph[node].inputs[0]);
  const auto* const sign = before ? std::get_if<Unary>(&graph[before].op) : nullptr;
  return sign != nullptr && sign->kind == Unary::Kind::sign;
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
    for (const ValueId term : sum.inputs) {
      const NodeId product = uses.producer_of(term);
      const auto* const mul = product ? std::get_if<Binary>(&graph[product].op) : nullptr;
      if (mul == nullptr || mul->kind != Binary::Kind::mul) continue;
      for (const ValueId factor : graph[product].inputs) {
        if (is_gate(graph, uses, factor)) found.push_back({{static_cast<int32_t>(i)}, factor});
      }
    }
  }
  return found;
}

at::Tensor gate_cost(const std::vector<at::Tensor>& gates, const Recipe::Gate& recipe) {
  at::Tensor sum;
  for (const at::Tensor& gate : gates) sum = sum.defined() ? sum + gate.mean() : gate.mean();
  return (sum / static_cast<double>(gates.size()) - recipe.budget).square() * recipe.weight;
}

std::vector<double> gate_usage(Network& network, const std::vector<ValueId>& gates, Feed& feed,
                               std::span<const int32_t> order) {
  const c10::AutoGradMode no_grad(false);
  network.watch(gates);
  std::vector<double> usage(gates.size());
  Loader loader = feed.loader(order);
  for (Batch batch = loader.next(); batch.count() > 0; batch = loader.next()) {
    network.forward(feed.tensors(batch).pixels, false);
    for (size_t i = 0; i < gates.size(); ++i) usage[i] += network.watched()[i].sum().item<double>();
  }
  network.watch({});
  for (double& share : usage) share /= static_cast<double>(order.size());
  return usage;
}

}  // namespace reducenet::train
