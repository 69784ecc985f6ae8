#include "train/imported.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "reducenet/error.h"
#include "train/checkpoint.h"

namespace reducenet::train {
namespace {

/// A Gemm at the end for another number of classes: weights uniform in ±1/√fan_in, bias 0.
void replace_head(Graph& graph, int64_t classes, uint64_t seed) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::unsupported,
                fmt::format("graph '{}' does not score {} classes, and its head cannot be replaced: {}", graph.name,
                            classes, why));
  };
  const Uses uses(graph);
  const NodeId last = uses.producer_of(graph.outputs.front());
  if (!last || !std::holds_alternative<Gemm>(graph[last].op)) refuse("it is no Gemm");
  const Node node = graph[last];
  const auto& op = std::get<Gemm>(node.op);
  const Tensor* const weight = graph.constant(node.inputs.at(1));
  if (weight == nullptr || uses.consumers_of(node.inputs[1]).size() > 1) refuse("its weights are not its own");
  const int64_t features = weight->shape().at(op.trans_b ? 1 : 0);
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<size_t>(classes * features));
  for (float& value : values) value = uniform(random) / std::sqrt(static_cast<float>(features));
  graph[node.inputs[1]].constant =
      Tensor::of(op.trans_b ? Shape{classes, features} : Shape{features, classes}, std::span<const float>(values));
  graph[node.inputs[1]].shape = graph[node.inputs[1]].constant->shape();
  if (node.inputs.size() > 2 && node.inputs[2]) {
    graph[node.inputs[2]].constant = Tensor::filled({classes}, 0);
    graph[node.inputs[2]].shape = Shape{classes};
  }
  graph[graph.outputs.front()].shape.reset();
}

/// Identity of a constant is that constant once more.
void copy_constants(Graph& graph) {
  std::vector<Node> nodes;
  for (Node& node : graph.nodes) {
    const Tensor* const constant =
        std::holds_alternative<Identity>(node.op) ? graph.constant(node.inputs.at(0)) : nullptr;
    const bool output = std::ranges::find(graph.outputs, node.outputs.at(0)) != graph.outputs.end();
    if (constant == nullptr || output) {
      nodes.push_back(std::move(node));
      continue;
    }
    Value& value = graph[node.outputs[0]];
    value.constant = *constant;
    value.dtype = constant->dtype();
    value.shape = constant->shape();
  }
  graph.nodes = std::move(nodes);
}

}  // namespace

void separate_parameters(Graph& graph) {
  copy_constants(graph);
  std::vector<bool> taken(graph.values.size());
  for (Node& node : graph.nodes) {
    const bool learns = std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<ConvTranspose2d>(node.op) ||
                        std::holds_alternative<Gemm>(node.op) || std::holds_alternative<BatchNorm>(node.op);
    for (size_t i = 1; learns && i < node.inputs.size(); ++i) {
      const Tensor* const constant = graph.constant(node.inputs[i]);
      if (constant == nullptr || constant->shape().size() != 1) continue;
      const auto index = static_cast<size_t>(node.inputs[i].index);
      if (!taken[index]) {
        taken[index] = true;
        continue;
      }
      Value copy = graph[node.inputs[i]];
      copy.name = graph.unique_name(copy.name);
      node.inputs[i] = graph.add_value(std::move(copy));
      taken.push_back(true);
    }
  }
}

Graph import_network(const Recipe& recipe, const std::filesystem::path& from, const ImageSet& images, int64_t classes) {
  if (from.empty()) throw Error(ErrorKind::usage, "model.arch = import: name the model with --from");
  Graph graph = load_model(from);
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    throw Error(ErrorKind::unsupported, from.string() + ": a network with one input and one output can be trained");
  }
  Value& input = graph[graph.inputs.front()];
  if (!input.shape || input.shape->size() != 4) {
    throw Error(ErrorKind::unsupported, from.string() + ": input '" + input.name + "' is no image");
  }
  const Shape& shape = *input.shape;
  const auto fits = [](int64_t dimension, int64_t wanted) { return dimension < 0 || dimension == wanted; };
  if (!fits(shape[1], images.channels) || !fits(shape[2], images.height) || !fits(shape[3], images.width)) {
    throw Error(ErrorKind::usage,
                fmt::format("{}: its input is {}, the images are {}x{}x{}: set model.channels, height and width",
                            from.string(), to_string(shape), images.channels, images.height, images.width));
  }
  input.shape = Shape{-1, images.channels, images.height, images.width};
  separate_parameters(graph);
  for (size_t i = 0; i < graph.values.size(); ++i) {
    Value& value = graph.values[i];
    if (!value.constant && static_cast<int32_t>(i) != graph.inputs.front().index) value.shape.reset();
  }
  infer_shapes(graph);
  const auto& scores = graph[graph.outputs.front()].shape;
  if (!scores || scores->size() != 2 || scores->back() != classes) {
    replace_head(graph, classes, static_cast<uint64_t>(recipe.train.seed));
    infer_shapes(graph);
  } else if (const auto names = class_names(graph.metadata); !names.empty() && names != images.class_names) {
    throw Error(ErrorKind::usage, from.string() + ": its classes are others than the data's, or in another order");
  }
  return graph;
}

}  // namespace reducenet::train
