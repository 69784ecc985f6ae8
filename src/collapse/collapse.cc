#include <algorithm>

#include "collapse/driver.h"
#include "collapse/planner.h"
#include "collapse/region.h"
#include "collapse/single.h"
#include "fades/fades.h"
#include "reducenet/error.h"
#include "rules/view.h"

namespace reducenet {
namespace {

/// Ops that may follow a backbone that is one convolution.
bool belongs_to_head(const Op& op) {
  return std::holds_alternative<GlobalAveragePool>(op) || std::holds_alternative<AveragePool>(op) ||
         std::holds_alternative<Flatten>(op) || std::holds_alternative<Reshape>(op) ||
         std::holds_alternative<Gemm>(op) || std::holds_alternative<MatMul>(op) || std::holds_alternative<Softmax>(op);
}

/// y = w₀·u + w₁·v as ordinary ops: the node adds, after what scales its inputs; or it hands one of them on.
void settle_sum(Graph& graph, Node& node, const std::array<double, 2>& weights) {
  for (size_t i = 0; i < 2; ++i) {
    if (weights[i] != 0) continue;
    node.op = Identity{};
    node.inputs = {node.inputs[1 - i]};
    return;
  }
  node.op = Binary{};
  for (size_t i = 0; i < 2; ++i) {
    if (weights[i] == 1) continue;
    const std::string name = graph.unique_name(node.name + ".scaled");
    const DType dtype = graph[node.inputs[i]].dtype;
    const ValueId factor = graph.add_value({.name = graph.unique_name(name + ".factor"),
                                            .dtype = dtype,
                                            .shape = Shape{},
                                            .constant = Tensor::filled({}, weights[i], dtype)});
    const ValueId scaled = graph.add_value({.name = name, .dtype = dtype});
    graph.nodes.push_back(
        {.name = name, .op = Binary{Binary::Kind::mul}, .inputs = {node.inputs[i], factor}, .outputs = {scaled}});
    node.inputs[i] = scaled;
  }
}

/// Throws when more than one convolution, pool and FC is left, with the reason for each node.
void require_one_conv(const Collapsed& result) {
  std::string why;
  const auto blame = [&](const std::string& reason) { why += "\n  " + reason; };
  int64_t convs = 0;
  for (const Node& node : result.graph.nodes) {
    if (std::holds_alternative<Conv2d>(node.op)) {
      ++convs;
    } else if (!belongs_to_head(node.op)) {
      blame("'" + node.name + "' (" + name_of(node.op) + ") " +
            (is_linear(result.graph, node) ? "cannot join a convolution" : "is not linear"));
    }
  }
  if (why.empty() && convs <= 1) return;
  for (const Refusal& refusal : result.refused) blame("'" + refusal.node + "': " + refusal.why);
  throw Error(ErrorKind::unsupported, "the backbone does not collapse to one convolution:" + why);
}

}  // namespace

void require_inference(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    std::string why;
    if (const auto* dropout = std::get_if<Dropout>(&node.op); dropout && dropout->training) {
      why = "drops at random (training mode): " + std::string(kExportForInference);
    }
    if (const auto* opaque = std::get_if<Opaque>(&node.op); opaque && opaque->why.ends_with(kExportForInference)) {
      why = opaque->why;
    }
    if (!why.empty())
      throw Error(ErrorKind::unsupported, "node '" + node.name + "' (" + name_of(node.op) + "): " + why);
  }
}

Graph faded(Graph graph) {
  for (Node& node : graph.nodes) {
    auto* const fade = std::get_if<Fade>(&node.op);
    if (fade && find_fade(fade->kind).scheduled) fade->lambda = 0;
  }
  return graph;
}

Graph settle(const Graph& graph) {
  Graph settled = graph;
  settled.nodes.clear();
  bool reshaped = false;
  for (Node node : graph.nodes) {
    if (const auto* const fade = std::get_if<Fade>(&node.op)) {
      const FadeKind& kind = find_fade(fade->kind);
      if (kind.inputs == 2) {
        settle_sum(settled, node, kind.weights(fade->lambda));
        reshaped = true;
      } else if (fade->lambda == 0) {
        node.op = Identity{};
      }
    }
    settled.nodes.push_back(std::move(node));
  }
  if (!reshaped) return settled;
  remove_dead(settled);
  for (const Node& node : settled.nodes) {
    if (!std::holds_alternative<Opaque>(node.op)) settled[node.outputs[0]].shape.reset();
  }
  infer_shapes(settled);
  return settled;
}

Collapsed collapse(const Graph& trained, const CollapseOptions& options) {
  const Cost cost = options.cost ? options.cost : macs_cost;
  const Graph graph = settle(trained);
  Driver driver(graph, rules(), options);
  if (options.target == Target::plan) {
    plan(driver, cost);
  } else {
    driver.run({}, options.target == Target::module && !options.reserve && !options.borders);
  }
  if (options.reserve) driver.run({.reserve = true});
  if (options.borders) driver.run({.borders = true});
  if (options.target == Target::conv) driver.run({.enlarge = true});
  Collapsed result = std::move(driver).finish();
  if (options.target == Target::conv && options.stop_after < 0) require_one_conv(result);
  if (options.target == Target::single) result.graph = to_single(result.graph, graph);
  result.regions = find_regions(graph, result.graph);
  return result;
}

}  // namespace reducenet
