#include "train/merge.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/verify.h"
#include "train/graphs.h"
#include "train/network.h"
#include "train/normalise.h"

namespace reducenet::train {
namespace {

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
    insert_behind(merged, own_convolutions(merged), [&](Node& conv) { return shortcut(merged, conv); });
  }
  normalise_convolutions(merged, pixels, batches, device);
  return merged;
}

}  // namespace reducenet::train
