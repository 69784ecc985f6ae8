#include "reducenet/cost.h"

#include <algorithm>
#include <random>

#include "reducenet/error.h"

namespace reducenet {
namespace {

Shape closed(Shape shape) {
  for (int64_t& dim : shape) dim = dim < 0 ? 1 : dim;
  return shape;
}

}  // namespace

std::optional<Workload::Operand> operand_of(const Value& value) {
  if (value.constant) return Workload::Operand{value.constant->shape(), true};
  return value.shape ? std::optional(Workload::Operand{*value.shape, false}) : std::nullopt;
}

namespace {

/// Convolutions and matrix products read their bias third.
bool is_bias(const Op& op, size_t input) {
  return input == 2 && (std::holds_alternative<Conv2d>(op) || std::holds_alternative<ConvTranspose2d>(op) ||
                        std::holds_alternative<Gemm>(op));
}

/// The node in a graph of its own, with `constant(shape)` for its weights.
template <class MakeConstant>
Graph one_node(const Workload& workload, MakeConstant constant) {
  Graph graph{.name = "workload"};
  Node node{.name = "node", .op = workload.op};
  for (size_t i = 0; i < workload.inputs.size(); ++i) {
    const auto& [shape, is_constant] = workload.inputs[i];
    Value value{.name = "x" + std::to_string(i), .shape = shape};
    if (is_constant) value.constant = constant(shape);
    node.inputs.push_back(graph.add_value(std::move(value)));
    if (!is_constant) graph.inputs.push_back(node.inputs.back());
  }
  node.outputs.push_back(graph.add_value({.name = "y", .shape = workload.output}));
  graph.outputs = node.outputs;
  graph.nodes.push_back(std::move(node));
  return graph;
}

}  // namespace

std::optional<Workload> workload_of(const Node& node,
                                    const std::function<std::optional<Workload::Operand>(ValueId)>& operand) {
  const auto made = node.outputs.empty() || !node.outputs[0] ? std::nullopt : operand(node.outputs[0]);
  if (!made) return std::nullopt;
  Workload workload{node.op, {}, closed(made->shape)};
  for (const ValueId id : node.inputs) {
    if (!id) continue;
    const auto read = operand(id);
    if (!read) return std::nullopt;
    workload.inputs.push_back({closed(read->shape), read->constant});
  }
  return workload;
}

std::optional<Workload> workload_of(const Graph& graph, const Node& node) {
  return workload_of(node, [&](ValueId id) { return operand_of(graph[id]); });
}

std::string key_of(const Workload& workload) {
  std::string key = describe(workload.op);
  for (size_t i = 0; i < workload.inputs.size(); ++i) {
    if (is_bias(workload.op, i)) continue;
    key += (workload.inputs[i].constant ? " | w" : " | ") + to_string(workload.inputs[i].shape);
  }
  if (std::holds_alternative<Reshape>(workload.op)) key += " | " + to_string(workload.output);
  return key;
}

int64_t count_macs(const Workload& workload) {
  const Graph graph = one_node(workload, [](const Shape&) { return std::nullopt; });
  return count_macs(graph, graph.nodes[0]);
}

Graph graph_of(const Workload& workload) {
  if (std::holds_alternative<Opaque>(workload.op)) {
    throw Error(ErrorKind::unsupported, "an op that ReduceNet does not know cannot be timed by itself");
  }
  std::mt19937_64 random(0);
  std::uniform_real_distribution<float> draw(0.1f, 1.0f);  // positive: fit to be a variance or a divisor
  if (std::holds_alternative<Reshape>(workload.op)) {
    const Shape& to = workload.output;
    Workload without = workload;
    without.inputs.resize(1);
    Graph graph = one_node(without, [](const Shape&) { return std::nullopt; });
    Value shape{.name = "shape", .dtype = DType::i64, .shape = Shape{static_cast<int64_t>(to.size())}};
    shape.constant = Tensor::of(*shape.shape, std::span<const int64_t>(to));
    graph.nodes[0].inputs.push_back(graph.add_value(std::move(shape)));
    return graph;
  }
  return one_node(workload, [&](const Shape& shape) {
    std::vector<float> values(static_cast<size_t>(element_count(shape)));
    for (float& v : values) v = draw(random);
    return std::optional(Tensor::of(shape, std::span<const float>(values)));
  });
}

double macs_cost(const Workload& workload) {
  return static_cast<double>(count_macs(workload));
}

double total_cost(const Graph& graph, const Cost& cost) {
  double total = 0;
  for (const Node& node : graph.nodes) {
    if (const auto workload = workload_of(graph, node)) total += cost(*workload);
  }
  return total;
}

}  // namespace reducenet
