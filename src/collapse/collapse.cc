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

Graph settle(const Graph& graph) {
  Graph settled = graph;
  for (Node& node : settled.nodes) {
    const auto* fade = std::get_if<Fade>(&node.op);
    if (fade && fade->lambda == 0) node.op = find_fade(fade->kind).settle(*fade);
  }
  return settled;
}

Collapsed collapse(const Graph& graph, const CollapseOptions& options) {
  const Cost cost = options.cost ? options.cost : macs_cost;
  Driver driver(settle(graph), rules(), options);
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
