#include "train/graphs.h"

#include <fmt/format.h>

#include <algorithm>

#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "train/checkpoint.h"
#include "train/gates.h"
#include "train/imported.h"
#include "train/merge.h"
#include "train/ops.h"
#include "train/patches.h"

namespace reducenet::train {
namespace {

using Kind = Activation::Kind;

/// Fades of candidates carry it in their doc string, so that a checkpoint knows them.
constexpr const char* kCandidate = "may survive";

bool may_vanish(Kind kind) {
  switch (kind) {
    case Kind::relu:
    case Kind::relu6:
    case Kind::leaky_relu:
    case Kind::elu:
    case Kind::selu:
    case Kind::gelu:
    case Kind::gelu_tanh:
    case Kind::silu:
    case Kind::mish:
    case Kind::hard_swish:
    case Kind::clip:
      return true;
    case Kind::identity:
    case Kind::sigmoid:
    case Kind::tanh:
    case Kind::softplus:
    case Kind::softsign:
    case Kind::hard_sigmoid:
    case Kind::bytes:
      break;
  }
  return false;
}

Graph build_architecture(const Recipe& recipe, const ImageSet& images, int64_t classes) {
  ArchOptions arch = recipe.model.options;
  arch.channels = images.channels;
  arch.height = images.height;
  arch.width = images.width;
  arch.seed = static_cast<uint64_t>(recipe.train.seed);
  arch.classes = classes;
  return build(recipe.model.arch, arch);
}

/// Makes candidates of the fades of gated blocks.
void open_gated_blocks(Graph& graph) {
  const std::vector<GatedBlock> blocks = gated_blocks(graph);
  if (blocks.empty()) throw Error(ErrorKind::usage, "select.by = usage: '" + graph.name + "' has no gated blocks");
  for (const GatedBlock& block : blocks) {
    if (!std::holds_alternative<Fade>(graph[block.sum].op)) {
      throw Error(ErrorKind::usage, "select.by = usage: set model.fades to 'skipped', so that blocks can fade");
    }
    graph[block.sum].doc = kCandidate;
  }
}

}  // namespace

bool imports(const Recipe& recipe) {
  return recipe.model.arch == "import";
}

Graph build_network(const Recipe& recipe, const std::filesystem::path& from, const std::filesystem::path& resumed,
                    const ImageSet& images) {
  const int64_t found =
      std::max<int64_t>(static_cast<int64_t>(images.class_names.size()), *std::ranges::max_element(images.labels) + 1);
  const int64_t classes = std::max(recipe.model.options.classes, found);
  if (recipe.model.options.classes > 0 && recipe.model.options.classes < found) {
    throw Error(ErrorKind::usage,
                fmt::format("model.classes = {}, but the data have {}", recipe.model.options.classes, found));
  }
  if (!resumed.empty() && (imports(recipe) || recipe.finetune.merge)) {
    Graph kept = load_model(resumed);
    if (imports(recipe) || is_merged(kept)) return kept;
  }
  Graph graph =
      imports(recipe) ? import_network(recipe, from, images, classes) : build_architecture(recipe, images, classes);
  graph.metadata.erase(kMerged);
  if (!Preprocessing::from_metadata(graph.metadata)) Preprocessing::of(images).to_metadata(graph.metadata);
  set_class_names(graph.metadata, images.class_names);
  graph.metadata["recipe"] = print(recipe);
  const auto seed = static_cast<uint64_t>(recipe.train.seed);
  if (recipe.model.filters == Recipe::Filters::patches) draw_filters(graph, images, recipe.model.threshold, seed);
  if (recipe.model.whiten) whiten(graph, images, seed);
  open_survivors(graph, recipe.select);
  return graph;
}

void open_survivors(Graph& graph, const Recipe::Select& select) {
  if (select.by == Recipe::SelectBy::none) return;
  if (select.by == Recipe::SelectBy::usage) {
    open_gated_blocks(graph);
  } else {
    open_candidates(graph);
  }
  const auto candidates = static_cast<int64_t>(candidate_fades(graph).size());
  if (select.count > candidates) {
    throw Error(ErrorKind::usage, fmt::format("{} cannot survive: '{}' has {} that may (select.by)", select.count,
                                              graph.name, candidates));
  }
}

void open_candidates(Graph& graph) {
  std::vector<Node> nodes;  // with a fade behind every PRelu
  for (Node& node : graph.nodes) {
    const auto* const activation = std::get_if<Activation>(&node.op);
    if (activation != nullptr && may_vanish(activation->kind)) {
      node.op = Fade{"activation", *activation, 1};
      node.doc = kCandidate;
    }
    if (!std::holds_alternative<PRelu>(node.op)) {
      nodes.push_back(std::move(node));
      continue;
    }
    // Its slopes are an input, so that λ·PRelu(x) + (1−λ)·x is a node of its own.
    const ValueId y = node.outputs[0], x = node.inputs[0];
    Value bent = graph[y];
    bent.name = graph.unique_name(node.name + ".bent");
    const ValueId z = graph.add_value(std::move(bent));
    node.outputs[0] = z;
    Node fade{.name = node.name + ".fade", .op = Fade{"blend", {Kind::identity}, 1}, .inputs = {z, x}, .outputs = {y}};
    fade.doc = kCandidate;
    nodes.push_back(std::move(node));
    nodes.push_back(std::move(fade));
  }
  graph.nodes = std::move(nodes);
}

std::vector<size_t> candidate_fades(const Graph& graph) {
  std::vector<size_t> found;
  size_t index = 0;
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<Fade>(node.op)) continue;
    if (node.doc == kCandidate) found.push_back(index);
    ++index;
  }
  return found;
}

std::vector<std::string> candidate_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) {
    if (std::holds_alternative<Fade>(node.op) && node.doc == kCandidate) names.push_back(node.name);
  }
  return names;
}

Graph conclude(const Graph& graph) {
  Graph done = settle(graph);
  for (Node& node : done.nodes) {
    if (node.doc == kCandidate) node.doc.clear();
    const auto* const fade = std::get_if<Fade>(&node.op);
    if (fade == nullptr) continue;
    if (fade->lambda == 1) {
      node.op = Activation(fade->activation);
    } else if (const auto slope = negative_slope(node.op)) {
      node.op = Activation{Kind::leaky_relu, *slope};
    } else {
      throw Error(ErrorKind::unsupported,
                  fmt::format("node '{}' (Fade): it has not come to an end, λ is {}", node.name, fade->lambda));
    }
  }
  return done;
}

bool has_batch_norm(const Graph& graph) {
  return std::ranges::any_of(graph.nodes, [](const Node& n) { return std::holds_alternative<BatchNorm>(n.op); });
}

std::vector<bool> reads_constants_alone(const Graph& graph) {
  std::vector<bool> made(graph.values.size()), found;
  for (const Node& node : graph.nodes) {
    found.push_back(std::ranges::all_of(
        node.inputs, [&](ValueId id) { return !id || graph.constant(id) || made[static_cast<size_t>(id.index)]; }));
    for (const ValueId id : node.outputs) {
      if (id) made[static_cast<size_t>(id.index)] = found.back();
    }
  }
  return found;
}

}  // namespace reducenet::train
