#include "train/head.h"

#include <fmt/format.h>

#include <cmath>
#include <random>

#include "reducenet/error.h"

namespace reducenet::train {
namespace {

/// The layer that scores, if it is a Gemm or a convolution: the last one before nodes that treat every channel alike.
NodeId scoring_layer(const Graph& graph, const Uses& uses) {
  const auto treats_channels_alike = [](const Op& op) {
    return std::holds_alternative<Flatten>(op) || std::holds_alternative<GlobalAveragePool>(op) ||
           std::holds_alternative<AveragePool>(op) || std::holds_alternative<Activation>(op) ||
           std::holds_alternative<Identity>(op);
  };
  NodeId id = uses.producer_of(graph.outputs.front());
  while (id && treats_channels_alike(graph[id].op) && graph[id].inputs.size() == 1) {
    const ValueId in = graph[id].inputs[0];
    if (!uses.has_single_use(in)) return {};
    id = uses.producer_of(in);
  }
  if (!id) return id;
  const auto* const conv = std::get_if<Conv2d>(&graph[id].op);
  return std::holds_alternative<Gemm>(graph[id].op) || (conv && conv->groups == 1) ? id : NodeId{};
}

/// Scores = x·W + b of constants W and b: one Gemm in the place of two nodes.
void join_product_and_sum(Graph& graph) {
  const Uses uses(graph);
  const NodeId last = uses.producer_of(graph.outputs.front());
  if (!last) return;
  NodeId product = last;
  ValueId bias;
  const auto* const sum = std::get_if<Binary>(&graph[last].op);
  if (sum != nullptr && sum->kind == Binary::Kind::add) {
    const auto& [a, b] = std::pair(graph[last].inputs[0], graph[last].inputs[1]);
    bias = graph.constant(b) ? b : a;
    const ValueId other = bias == b ? a : b;
    if (!uses.has_single_use(other)) return;
    product = uses.producer_of(other);
  }
  if (!product || !std::holds_alternative<MatMul>(graph[product].op)) return;
  const auto& x = graph[graph[product].inputs[0]].shape;
  const Tensor* const weight = graph.constant(graph[product].inputs[1]);
  if (!x || x->size() != 2 || weight == nullptr || weight->shape().size() != 2) return;
  Node gemm{.name = graph[product].name, .op = Gemm{}, .inputs = graph[product].inputs, .outputs = graph[last].outputs};
  if (bias) {
    const Tensor* const constant = graph.constant(bias);
    const int64_t classes = weight->shape()[1];
    if (constant == nullptr || constant->size() != classes) return;
    Value row{.name = graph.unique_name(graph[bias].name), .dtype = constant->dtype(), .shape = Shape{classes}};
    row.constant = constant->reshaped({classes});
    gemm.inputs.push_back(graph.add_value(std::move(row)));
  }
  graph[last] = std::move(gemm);
  if (product != last) graph.nodes.erase(graph.nodes.begin() + product.index);
}

}  // namespace

void score_by_logits(Graph& graph) {
  for (;;) {
    const NodeId last = Uses(graph).producer_of(graph.outputs.front());
    if (!last) return;
    const auto* const softmax = std::get_if<Softmax>(&graph[last].op);
    const bool over_classes = softmax != nullptr && (softmax->axis == 1 || softmax->axis == -1);
    if (!over_classes && !std::holds_alternative<Identity>(graph[last].op)) break;
    graph.outputs.front() = graph[last].inputs[0];
    graph.nodes.erase(graph.nodes.begin() + last.index);
  }
  join_product_and_sum(graph);
}

void replace_head(Graph& graph, int64_t classes, uint64_t seed) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::unsupported,
                fmt::format("graph '{}' does not score {} classes, and its head cannot be replaced: {}", graph.name,
                            classes, why));
  };
  const Uses uses(graph);
  const NodeId last = scoring_layer(graph, uses);
  if (!last) refuse("it is no Gemm and no convolution, pooled or not");
  const Node& node = graph[last];
  const Tensor* const weight = graph.constant(node.inputs.at(1));
  if (weight == nullptr || uses.consumers_of(node.inputs[1]).size() > 1) refuse("its weights are not its own");
  const auto* const gemm = std::get_if<Gemm>(&node.op);
  Shape shape = weight->shape();
  int64_t& rows = shape.at(gemm && !gemm->trans_b ? 1 : 0);
  const double fan_in = static_cast<double>(weight->size()) / static_cast<double>(rows);
  rows = classes;
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (float& value : values) value = uniform(random) / static_cast<float>(std::sqrt(fan_in));
  const auto put = [&](ValueId id, Tensor tensor) {
    graph[id].shape = tensor.shape();
    graph[id].constant = std::move(tensor);
  };
  put(node.inputs[1], Tensor::of(shape, std::span<const float>(values)));
  if (node.inputs.size() > 2 && node.inputs[2]) put(node.inputs[2], Tensor::filled({classes}, 0));
  reinfer_shapes(graph);
  const auto& scores = graph[graph.outputs.front()].shape;
  if (!scores || scores->size() != 2 || scores->back() != classes) refuse("what follows it makes no scores of it");
}

}  // namespace reducenet::train
