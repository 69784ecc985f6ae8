#include "train/imported.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "graph/numbers.h"
#include "reducenet/error.h"
#include "train/checkpoint.h"
#include "train/head.h"
#include "train/normalise.h"
#include "train/open_batch.h"

namespace reducenet::train {
namespace {

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
    value = Value::of(value.name, *constant);
  }
  graph.nodes = std::move(nodes);
}

/// A Split is a Slice for each of its parts.
void part_splits(Graph& graph) {
  std::vector<Node> nodes;
  for (Node& node : graph.nodes) {
    const auto* const split = std::get_if<SplitAxis>(&node.op);
    const auto length = [&](ValueId id) {
      const std::optional<Shape> shape = id ? graph[id].shape : std::nullopt;
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

/// A Cast to the type that a value has already, as exporters write where they would keep to float32, does nothing.
void drop_casts(Graph& graph) {
  for (Node& node : graph.nodes) {
    const auto* const cast = std::get_if<Cast>(&node.op);
    if (!cast || graph[node.inputs[0]].dtype != cast->to) continue;
    node.op = Identity{};
    node.inputs.resize(1);
  }
}

/// Normalises the convolutions by what they make of the images.
void normalise(Graph& graph, const ImageSet& images) {
  constexpr int64_t kBatch = 32, kBatches = 32;
  const auto known = Preprocessing::from_metadata(graph.metadata);
  const Preprocessing preprocessing = known ? *known : Preprocessing::of(images);
  const int64_t batch = std::min(kBatch, images.count()), batches = std::min(kBatches, images.count() / batch);
  std::vector<int32_t> all(static_cast<size_t>(images.count()));
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> chosen = evenly_spaced(all, batch * batches);
  auto next = chosen.begin();
  const auto pixels = [&] {
    at::Tensor made = at::empty({batch, images.channels, images.height, images.width});
    for (int64_t i = 0; i < batch; ++i) preprocessing.apply(images.image(*next++), made[i].data_ptr<float>());
    return made;
  };
  normalise_convolutions(graph, pixels, batches, at::kCPU);
}

bool has_parameters(const Op& op) {
  return std::visit([]<class T>(const T&) { return OneOf<T, Conv2d, ConvTranspose2d, Gemm, BatchNorm>; }, op);
}

}  // namespace

void separate_parameters(Graph& graph) {
  copy_constants(graph);
  std::vector<bool> taken(graph.values.size());
  for (Node& node : graph.nodes) {
    for (size_t i = 1; has_parameters(node.op) && i < node.inputs.size(); ++i) {
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

void settle_kernels(Graph& graph) {
  const std::unordered_map<int32_t, Tensor> known = known_numbers(graph, true);
  for (Node& node : graph.nodes) {
    for (size_t i = 1; has_parameters(node.op) && i < node.inputs.size(); ++i) {
      const auto found = known.find(node.inputs[i].index);
      if (found == known.end()) continue;
      node.inputs[i] = graph.add_constant(graph[node.inputs[i]].name + ".value", found->second);
    }
  }
  remove_dead(graph);
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
  const Shape wanted{images.channels, images.height, images.width};
  score_by_logits(graph);
  settle_kernels(graph);
  separate_parameters(graph);
  try {
    open_batch(graph, wanted);
    part_splits(graph);
    drop_casts(graph);
    check_images_apart(graph, wanted);
  } catch (const Error& error) {
    throw Error(error.kind(), from.string() + ": " + error.what());
  }
  const auto& scores = graph[graph.outputs.front()].shape;
  if (!scores || scores->size() != 2 || scores->back() != classes) {
    replace_head(graph, classes, static_cast<uint64_t>(recipe.train.seed));
  } else if (const auto names = class_names(graph.metadata); !names.empty() && names != images.class_names) {
    const auto [theirs, ours] = std::ranges::mismatch(names, images.class_names);
    throw Error(
        ErrorKind::usage,
        fmt::format("{}: its classes are others than the data's, or in another order: '{}' where they have '{}'",
                    from.string(), theirs == names.end() ? "" : *theirs,
                    ours == images.class_names.end() ? "" : *ours));
  }
  if (recipe.model.batch_norm) normalise(graph, images);
  return graph;
}

}  // namespace reducenet::train
