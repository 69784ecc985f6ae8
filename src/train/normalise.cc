#include "train/normalise.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "train/graphs.h"
#include "train/network.h"

namespace reducenet::train {
namespace {

/// Of one value, by channel.
struct Moments {
  at::Tensor mean, variance;  // [C] in double
};

std::vector<Moments> measure_moments(const Graph& graph, const std::vector<ValueId>& values,
                                     const std::function<at::Tensor()>& pixels, int64_t batches, at::Device device) {
  const c10::AutoGradMode no_grad(false);
  Network network(graph, {.fused = false}, device);
  network.watch(values);
  std::vector<Moments> moments(values.size());
  const auto join = [](at::Tensor& sum, const at::Tensor& one) { sum = sum.defined() ? sum + one : one; };
  for (int64_t k = 0; k < batches; ++k) {
    network.forward(pixels(), false);
    for (size_t i = 0; i < values.size(); ++i) {
      const at::Tensor value = network.watched()[i].to(at::kDouble);
      join(moments[i].mean, value.mean({0, 2, 3}));
      join(moments[i].variance, value.square().mean({0, 2, 3}));
    }
  }
  for (Moments& of : moments) {
    of.mean = (of.mean / static_cast<double>(batches)).cpu();
    of.variance = (of.variance.cpu() / static_cast<double>(batches) - of.mean.square()).clamp_min(0);
  }
  return moments;
}

/// conv(x) = w ∗ x + b with these moments becomes γ·(k·w ∗ x − m)/√(v + ε) + β, where m and v are the moments of k·w ∗
/// x:
///   m = k·(mean − b),  v = k²·variance,  γ = √(v + ε)/k,  β = mean
/// Returns the new node, to stand behind the convolution.
Node normalise(Graph& graph, Node& conv, const Moments& moments) {
  const at::Tensor weight = to_torch(*graph.constant(conv.inputs[1]));
  const auto spread = weight.std(/*unbiased=*/false).item<double>();
  const double drawn = std::sqrt(2 / static_cast<double>(weight[0].numel()));
  const double k = spread > 0 ? drawn / spread : 1;
  const BatchNorm norm;
  const at::Tensor variance = moments.variance * (k * k);
  const bool biased = conv.inputs.size() > 2 && conv.inputs[2];
  const at::Tensor mean = biased ? moments.mean - to_torch(*graph.constant(conv.inputs[2])) : moments.mean;

  const std::string name = graph.unique_name(conv.name + ".bn");
  const ValueId out = give_way(graph, conv, ".out");
  conv.inputs = {conv.inputs[0], add_constant(graph, conv.name + ".weight", weight * k)};
  return {.name = name,
          .op = norm,
          .inputs = {conv.outputs[0], add_constant(graph, name + ".weight", (variance + norm.epsilon).sqrt() / k),
                     add_constant(graph, name + ".bias", moments.mean),
                     add_constant(graph, name + ".running_mean", mean * k),
                     add_constant(graph, name + ".running_var", variance)},
          .outputs = {out}};
}

/// Its output has several pixels, and no BatchNorm reads it.
bool lacks_norm(const Graph& graph, const Uses& uses, NodeId id) {
  const ValueId out = graph[id].outputs[0];
  const std::optional<Shape>& shape = graph[out].shape;
  const bool one_pixel = shape && shape->at(2) == 1 && shape->at(3) == 1;
  const auto normalises = [&](NodeId reader) { return std::holds_alternative<BatchNorm>(graph[reader].op); };
  return !one_pixel && std::ranges::none_of(uses.consumers_of(out), normalises);
}

}  // namespace

std::vector<NodeId> own_convolutions(const Graph& graph) {
  const Uses uses(graph);
  const std::vector<bool> in_weight_space = reads_constants_alone(graph);
  std::vector<NodeId> found;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.nodes.size()); ++i) {
    const Node& node = graph.nodes[static_cast<size_t>(i)];
    if (!std::holds_alternative<Conv2d>(node.op) || in_weight_space[static_cast<size_t>(i)]) continue;
    const bool biased = node.inputs.size() > 2 && node.inputs[2];
    if (graph.constant(node.inputs[1]) == nullptr || (biased && graph.constant(node.inputs[2]) == nullptr)) continue;
    if (uses.has_single_use(node.inputs[1])) found.push_back({i});
  }
  return found;
}

ValueId give_way(Graph& graph, Node& conv, const std::string& suffix) {
  const ValueId out = conv.outputs[0];
  conv.outputs = {graph.add_value({.name = graph.unique_name(conv.name + suffix), .dtype = graph[out].dtype})};
  return out;
}

void insert_behind(Graph& graph, const std::vector<NodeId>& ids,
                   const std::function<std::optional<Node>(Node&)>& make) {
  std::vector<Node> nodes;
  size_t next = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.nodes.size()); ++i) {
    Node node = graph.nodes[static_cast<size_t>(i)];
    std::optional<Node> behind;
    if (next < ids.size() && ids[next].index == i) {
      behind = make(node);
      ++next;
    }
    nodes.push_back(std::move(node));
    if (behind) nodes.push_back(*std::move(behind));
  }
  graph.nodes = std::move(nodes);
  remove_dead(graph);
  reinfer_shapes(graph);
}

void normalise_convolutions(Graph& graph, const std::function<at::Tensor()>& pixels, int64_t batches,
                            at::Device device) {
  std::vector<NodeId> convolutions = own_convolutions(graph);
  const Uses uses(graph);
  std::erase_if(convolutions, [&](NodeId id) { return !lacks_norm(graph, uses, id); });
  std::vector<ValueId> outputs;
  for (const NodeId id : convolutions) outputs.push_back(graph[id].outputs[0]);
  const std::vector<Moments> moments = measure_moments(graph, outputs, pixels, batches, device);
  insert_behind(graph, convolutions,
                [&, next = moments.begin()](Node& conv) mutable { return normalise(graph, conv, *next++); });
  check(graph);
}

}  // namespace reducenet::train
