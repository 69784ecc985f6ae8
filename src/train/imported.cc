#include "train/imported.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <unordered_map>
#include <unordered_set>

#include "graph/index_shapes.h"
#include "reducenet/error.h"
#include "train/checkpoint.h"

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

/// A layer for another number of classes in the place of the one that scores: weights uniform in ±1/√fan_in, bias 0.
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

/// A Split is a Slice for each of its parts.
void part_splits(Graph& graph) {
  std::vector<Node> nodes;
  for (Node& node : graph.nodes) {
    const auto* const split = std::get_if<SplitAxis>(&node.op);
    const auto length = [&](ValueId id) {
      const std::optional<Shape>& shape = graph[id].shape;
      return shape ? shape->at(static_cast<size_t>(split->axis + (split->axis < 0 ? std::ssize(*shape) : 0))) : -1;
    };
    if (!split || std::ranges::any_of(node.outputs, [&](ValueId id) { return length(id) < 0; })) {
      nodes.push_back(std::move(node));
      continue;
    }
    int64_t start = 0;
    for (const ValueId out : node.outputs) {
      const int64_t end = start + length(out);
      nodes.push_back({.name = fmt::format("{}.{}", node.name, start),
                       .op = Slice{.starts = {start}, .ends = {end}, .axes = {split->axis}, .steps = {1}},
                       .inputs = {node.inputs[0]},
                       .outputs = {out}});
      start = end;
    }
  }
  graph.nodes = std::move(nodes);
}

/// A Reshape's target whose first number, the batch, is what the others leave, or that of the input.
Tensor with_open_batch(const Tensor& target) {
  std::vector<int64_t> sizes = target.to_ints();
  sizes[0] = std::ranges::find(sizes, -1) == sizes.end() ? -1 : 0;
  return Tensor::of(target.shape(), std::span<const int64_t>(sizes));
}

/// The exporter wrote its batch into targets of Reshape; here it is open.
void open_batch(Graph& graph, int64_t exported) {
  if (exported < 0) return;
  std::unordered_set<int32_t> of_images{graph.inputs.front().index}, done;
  for (const Node& node : graph.nodes) {
    const auto is_of_images = [&](ValueId id) { return id && of_images.contains(id.index); };
    if (std::ranges::none_of(node.inputs, is_of_images)) continue;
    for (const ValueId made : node.outputs) of_images.insert(made.index);
    const auto* const reshape = std::get_if<Reshape>(&node.op);
    const Tensor* const target = reshape != nullptr ? graph.constant(node.inputs.at(1)) : nullptr;
    if (target == nullptr || reshape->allow_zero || !done.insert(node.inputs[1].index).second) continue;
    if (target->size() == 0 || target->to_ints()[0] != exported) continue;
    graph[node.inputs[1]].constant = with_open_batch(*target);
  }
}

/// What the graph computes from shapes when `batch` images come, by value index.
std::unordered_map<int32_t, Tensor> numbers_at(Graph graph, int64_t batch) {
  graph[graph.inputs.front()].shape->front() = batch;
  reinfer_shapes(graph);
  Graph part;
  part.values = graph.values;
  std::unordered_map<int32_t, Tensor> numbers;
  std::unordered_set<int32_t> computed;
  const auto is_known = [&](ValueId id) { return !id || part.constant(id) || computed.contains(id.index); };
  for (const Node& node : graph.nodes) {
    const ValueId made = node.outputs.at(0);
    const auto* const shape_of = std::get_if<ShapeOf>(&node.op);
    if (shape_of != nullptr && !shape_of->size && graph[node.inputs.at(0)].shape) {
      const Shape& shape = *graph[node.inputs[0]].shape;
      const auto [first, last] = shape_range(*shape_of, shape.size());
      const std::vector<int64_t> sizes(shape.begin() + first, shape.begin() + last);
      numbers[made.index] = Tensor::of({std::ssize(sizes)}, std::span<const int64_t>(sizes));
      part[made].constant = numbers[made.index];
    } else if (node.outputs.size() == 1 && !is_float(graph[made].dtype) && std::ranges::all_of(node.inputs, is_known)) {
      part.nodes.push_back(node);
      part.outputs.push_back(made);
      computed.insert(made.index);
    }
  }
  const std::vector<Tensor> values = evaluate(part, {});
  for (size_t i = 0; i < values.size(); ++i) {
    numbers[part.outputs[i].index] = values[i].cast(graph[part.outputs[i]].dtype);
  }
  return numbers;
}

/// Sizes of which the first, the batch, is open, as scales; nothing where a float32 does not hold one exactly.
std::optional<Tensor> scales_of(const Tensor& sizes, const std::optional<Shape>& input) {
  const std::vector<int64_t> wanted = sizes.to_ints();
  if (!input || input->size() != wanted.size()) return std::nullopt;
  std::vector<float> scales{1};
  for (size_t axis = 1; axis < wanted.size(); ++axis) {
    const auto from = static_cast<double>((*input)[axis]), to = static_cast<double>(wanted[axis]);
    scales.push_back(static_cast<float>(to / from));
    if (from <= 0 || static_cast<double>(scales.back()) * from != to) return std::nullopt;
  }
  return Tensor::of({std::ssize(scales)}, std::span<const float>(scales));
}

/// Numbers that the graph computes from shapes are constants where they do not change with the batch; so is a Reshape's
/// target in which one does; a Resize to sizes in which one does is one by scales.
void settle_numbers(Graph& graph) {
  const auto from_shape = [](const Node& node) { return std::holds_alternative<ShapeOf>(node.op); };
  if (std::ranges::none_of(graph.nodes, from_shape)) return;
  const auto two = numbers_at(graph, 2), three = numbers_at(graph, 3);
  std::unordered_map<int32_t, Tensor> settled;
  for (const auto& [index, value] : two) {
    const Tensor& other = three.at(index);
    if (value == other) {
      settled[index] = value;
    } else if (value.shape() == other.shape() && value.shape().size() == 1) {
      const std::vector<int64_t> sizes = value.to_ints(), others = other.to_ints();
      const bool batch_alone =
          sizes[0] == 2 && others[0] == 3 && std::equal(sizes.begin() + 1, sizes.end(), others.begin() + 1);
      if (batch_alone) settled[index] = with_open_batch(value);
    }
  }
  for (Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const auto found = settled.find(node.inputs[i].index);
      if (found == settled.end()) continue;
      const bool open = found->second != two.at(found->first);
      const auto put = [&](const std::string& what, const Tensor& value) {
        return graph.add_value({.name = graph.unique_name(graph[node.inputs[i]].name + what),
                                .dtype = value.dtype(),
                                .shape = value.shape(),
                                .constant = value});
      };
      if (open && std::holds_alternative<Resize>(node.op) && i == 3) {
        const std::optional<Tensor> scales = scales_of(found->second, graph[node.inputs[0]].shape);
        if (!scales) continue;
        node.inputs[2] = put(".scales", *scales);
        node.inputs.pop_back();
        break;
      }
      if (open && !(std::holds_alternative<Reshape>(node.op) && i == 1)) continue;
      node.inputs[i] = put(".value", found->second);
    }
  }
  remove_dead(graph);
  reinfer_shapes(graph);
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
  const int64_t exported_batch = shape[0];
  input.shape = Shape{-1, images.channels, images.height, images.width};
  separate_parameters(graph);
  open_batch(graph, exported_batch);
  reinfer_shapes(graph);
  settle_numbers(graph);
  part_splits(graph);
  const auto& scores = graph[graph.outputs.front()].shape;
  if (!scores || scores->size() != 2 || scores->back() != classes) {
    replace_head(graph, classes, static_cast<uint64_t>(recipe.train.seed));
  } else if (const auto names = class_names(graph.metadata); !names.empty() && names != images.class_names) {
    throw Error(ErrorKind::usage, from.string() + ": its classes are others than the data's, or in another order");
  }
  return graph;
}

}  // namespace reducenet::train
