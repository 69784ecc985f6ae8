#include "train/merge.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

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

/// Its output has the shape of its input, pixel by pixel the same place, and that is not the image: x can be added to
/// it.
bool takes_identity(const Graph& graph, const Node& node) {
  if (std::ranges::find(graph.inputs, node.inputs[0]) != graph.inputs.end()) return false;
  const auto& conv = std::get<Conv2d>(node.op);
  const Shape& weight = graph.constant(node.inputs[1])->shape();
  const int64_t down = weight[2] / 2, across = weight[3] / 2;
  const Padding all_around{.top = down, .left = across, .bottom = down, .right = across};
  return weight[0] == weight[1] * conv.groups && (conv.groups == 1 || weight[1] == 1) && weight[2] % 2 == 1 &&
         weight[3] % 2 == 1 && conv == Conv2d{.padding = all_around, .groups = conv.groups};
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

/// What the convolution gives from now on: a value of its own, in front of the one it gave.
ValueId give_way(Graph& graph, Node& conv, const std::string& suffix) {
  const ValueId out = conv.outputs[0];
  conv.outputs = {graph.add_value({.name = graph.unique_name(conv.name + suffix), .dtype = graph[out].dtype})};
  return out;
}

/// w ∗ x + b becomes x + ((w − δ) ∗ x + b). Returns the sum, to stand behind the convolution.
std::optional<Node> shortcut(Graph& graph, Node& conv) {
  if (!takes_identity(graph, conv)) return std::nullopt;
  const at::Tensor weight = to_torch(*graph.constant(conv.inputs[1])).clone();
  const at::Tensor centre = weight.select(3, weight.size(3) / 2).select(2, weight.size(2) / 2);  // [O, C/groups]
  (centre.size(1) == 1 ? centre.select(1, 0) : centre.diagonal()).sub_(1);
  conv.inputs[1] = add_constant(graph, conv.name + ".weight", weight);
  const ValueId out = give_way(graph, conv, ".residual");
  return Node{.name = graph.unique_name(conv.name + ".add"),
              .op = Binary{Binary::Kind::add},
              .inputs = {conv.outputs[0], conv.inputs[0]},
              .outputs = {out}};
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

/// make(node, i) of the i-th of these nodes may change it; what it returns, where it returns something, stands behind.
template <class Make>
void insert_behind(Graph& graph, const std::vector<NodeId>& ids, const Make& make) {
  std::vector<Node> nodes;
  size_t next = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.nodes.size()); ++i) {
    Node node = graph.nodes[static_cast<size_t>(i)];
    std::optional<Node> behind;
    if (next < ids.size() && ids[next].index == i) behind = make(node, next++);
    nodes.push_back(std::move(node));
    if (behind) nodes.push_back(*std::move(behind));
  }
  graph.nodes = std::move(nodes);
  remove_dead(graph);
  reinfer_shapes(graph);
}

}  // namespace

bool is_merged(const Graph& graph) {
  return graph.metadata.contains(kMerged);
}

Graph merge(const Graph& graph, const std::function<at::Tensor()>& pixels, int64_t batches, bool identity,
            at::Device device) {
  const Graph before = conclude(graph);
  const Collapsed collapsed = collapse(before);
  const Certificate certificate = verify(before, collapsed);
  if (!certificate.verified) {
    throw Error(ErrorKind::check_failed, "the network cannot be merged exactly: " + certificate.why);
  }
  Graph merged = collapsed.graph;
  merged.metadata[kMerged] = fmt::format("{} nodes to {}", before.nodes.size(), merged.nodes.size());
  if (!has_batch_norm(before)) return merged;

  if (identity) {
    insert_behind(merged, own_convolutions(merged), [&](Node& conv, size_t) { return shortcut(merged, conv); });
  }
  const std::vector<NodeId> convolutions = own_convolutions(merged);
  std::vector<ValueId> outputs;
  for (const NodeId id : convolutions) outputs.push_back(merged[id].outputs[0]);
  const std::vector<Moments> moments = measure_moments(merged, outputs, pixels, batches, device);
  insert_behind(merged, convolutions, [&](Node& conv, size_t i) { return normalise(merged, conv, moments[i]); });
  check(merged);
  return merged;
}

}  // namespace reducenet::train
