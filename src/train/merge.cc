#include "train/merge.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/verify.h"
#include "train/graphs.h"
#include "train/network.h"

namespace reducenet::train {
namespace {

/// Of one value, by channel.
struct Moments {
  at::Tensor mean, variance;  // [C] in double
};

/// Convolutions of constant weights, read by no other node, and of a constant bias or none.
std::vector<NodeId> own_convolutions(const Graph& graph) {
  const Uses uses(graph);
  std::vector<NodeId> found;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.nodes.size()); ++i) {
    const Node& node = graph.nodes[static_cast<size_t>(i)];
    if (!std::holds_alternative<Conv2d>(node.op)) continue;
    const bool biased = node.inputs.size() > 2 && node.inputs[2];
    if (graph.constant(node.inputs[1]) == nullptr || (biased && graph.constant(node.inputs[2]) == nullptr)) continue;
    if (uses.has_single_use(node.inputs[1])) found.push_back({i});
  }
  return found;
}

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

  const auto constant = [&](const std::string& value, const at::Tensor& tensor) {
    return graph.add_value({.name = graph.unique_name(value),
                            .shape = tensor.sizes().vec(),
                            .constant = from_torch(tensor.to(at::kFloat))});
  };
  const std::string name = graph.unique_name(conv.name + ".bn");
  const ValueId out = conv.outputs[0];
  conv.inputs = {conv.inputs[0], constant(conv.name + ".weight", weight * k)};
  conv.outputs = {graph.add_value({.name = graph.unique_name(conv.name + ".out"), .dtype = graph[out].dtype})};
  return {.name = name,
          .op = norm,
          .inputs = {conv.outputs[0], constant(name + ".weight", (variance + norm.epsilon).sqrt() / k),
                     constant(name + ".bias", moments.mean), constant(name + ".running_mean", mean * k),
                     constant(name + ".running_var", variance)},
          .outputs = {out}};
}

}  // namespace

bool is_merged(const Graph& graph) {
  return graph.metadata.contains(kMerged);
}

Graph merge(const Graph& graph, const std::function<at::Tensor()>& pixels, int64_t batches, at::Device device) {
  const Graph before = conclude(graph);
  const Collapsed collapsed = collapse(before);
  const Certificate certificate = verify(before, collapsed);
  if (!certificate.verified) {
    throw Error(ErrorKind::check_failed, "the network cannot be merged exactly: " + certificate.why);
  }
  Graph merged = collapsed.graph;
  merged.metadata[kMerged] = fmt::format("{} nodes to {}", before.nodes.size(), merged.nodes.size());
  if (!has_batch_norm(before)) return merged;

  const std::vector<NodeId> convolutions = own_convolutions(merged);
  std::vector<ValueId> outputs;
  for (const NodeId id : convolutions) outputs.push_back(merged[id].outputs[0]);
  const std::vector<Moments> moments = measure_moments(merged, outputs, pixels, batches, device);
  std::vector<Node> nodes;
  size_t next = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(merged.nodes.size()); ++i) {
    Node node = merged.nodes[static_cast<size_t>(i)];
    if (next == convolutions.size() || convolutions[next].index != i) {
      nodes.push_back(std::move(node));
      continue;
    }
    Node norm = normalise(merged, node, moments[next++]);
    nodes.push_back(std::move(node));
    nodes.push_back(std::move(norm));
  }
  merged.nodes = std::move(nodes);
  remove_dead(merged);
  reinfer_shapes(merged);
  check(merged);
  return merged;
}

}  // namespace reducenet::train
