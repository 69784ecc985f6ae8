#include <algorithm>
#include <ranges>

#include "collapse/cost_text.h"
#include "collapse/driver.h"
#include "collapse/planner.h"
#include "collapse/region.h"
#include "collapse/single.h"
#include "fades/fades.h"
#include "reducenet/error.h"
#include "rules/reason.h"
#include "rules/view.h"

namespace reducenet {
namespace {

/// Ops that may follow a backbone that is one convolution.
bool belongs_to_head(const Op& op) {
  return std::holds_alternative<GlobalAveragePool>(op) || std::holds_alternative<AveragePool>(op) ||
         std::holds_alternative<Flatten>(op) || std::holds_alternative<Reshape>(op) ||
         std::holds_alternative<Gemm>(op) || std::holds_alternative<MatMul>(op) || std::holds_alternative<Softmax>(op);
}

/// y = w₀·u + w₁·v as ordinary ops: the node adds, after what scales its inputs.
void settle_sum(Graph& graph, Node& node, const std::array<double, 2>& weights) {
  node.op = Binary{};
  for (size_t i = 0; i < 2; ++i) {
    if (weights[i] == 1) continue;
    const std::string name = graph.unique_name(node.name + ".scaled");
    const DType dtype = graph[node.inputs[i]].dtype;
    const ValueId factor = graph.add_constant(name + ".factor", Tensor::filled({}, weights[i], dtype));
    const ValueId scaled = graph.add_value({.name = name, .dtype = dtype});
    graph.nodes.push_back(
        {.name = name, .op = Binary{Binary::Kind::mul}, .inputs = {node.inputs[i], factor}, .outputs = {scaled}});
    node.inputs[i] = scaled;
  }
}

/// Weights and biases that are computed from constants alone are constants.
Graph with_folded_weights(const Graph& graph) {
  std::vector<bool> fixed(graph.values.size());  // by value index: made, from constants alone
  const Uses uses(graph);
  const auto at = [](ValueId id) { return static_cast<size_t>(id.index); };
  const auto is_fixed = [&](const Node& node) {
    return std::ranges::all_of(node.inputs, [&](ValueId id) { return !id || graph.constant(id) || fixed[at(id)]; });
  };
  std::vector<bool> wanted(graph.values.size());
  for (const Node& node : graph.nodes) {
    const bool plain = !std::holds_alternative<Opaque>(node.op) && node.outputs.size() == 1 && !node.inputs.empty();
    if (plain && !uses.is_output[at(node.outputs[0])] && is_fixed(node)) fixed[at(node.outputs[0])] = true;
    if (!std::holds_alternative<Conv2d>(node.op) || is_fixed(node)) continue;
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      if (node.inputs[i] && fixed[at(node.inputs[i])]) wanted[at(node.inputs[i])] = true;
    }
  }
  Graph part;
  part.values = graph.values;
  for (const Node& node : graph.nodes | std::views::reverse) {
    if (node.outputs.size() != 1 || !wanted[at(node.outputs[0])]) continue;
    part.outputs.push_back(node.outputs[0]);
    part.nodes.push_back(node);
    for (const ValueId id : node.inputs) {
      if (id && fixed[at(id)]) wanted[at(id)] = true;
    }
  }
  if (part.nodes.empty()) return graph;
  std::ranges::reverse(part.nodes);
  std::vector<Tensor> values;
  try {
    values = evaluate(part, {});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    return graph;  // they stay computed
  }
  Graph folded = graph;
  std::erase_if(folded.nodes,
                [&](const Node& node) { return node.outputs.size() == 1 && wanted[at(node.outputs[0])]; });
  for (size_t i = 0; i < values.size(); ++i) {
    Value& value = folded[part.outputs[i]];
    value.constant = is_float(value.dtype) ? values[i].cast(value.dtype) : values[i];
    value.shape = value.constant->shape();
  }
  remove_dead(folded);
  return folded;
}

/// A plan never costs more than its network: where what was weighed by itself adds up to more (an open size that
/// another one stands for, a shape that is not known), everything stays as it is.
void require_no_more(Collapsed& result, const Graph& graph, const Cost& cost) {
  const double before = planned_cost(graph, cost), after = planned_cost(result.graph, cost);
  if (after <= before * (1 + 1e-12) || graph.nodes.empty()) return;
  result.graph = graph;
  result.steps.clear();
  result.refused.push_back(
      {graph.nodes.back().name, "plan",
       "the whole plan " + std::string(reason::kCost) + " " + cost_text(after) + " instead of " + cost_text(before)});
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

Graph settle(const Graph& trained) {
  const Graph graph = with_folded_weights(trained);
  Graph settled = graph;
  settled.nodes.clear();
  std::vector<ValueId> instead(graph.values.size());  // by value index: what takes the place of an ended fade's output
  bool reshaped = false;
  for (Node node : graph.nodes) {
    for (ValueId& id : node.inputs) {
      if (id && instead[static_cast<size_t>(id.index)]) id = instead[static_cast<size_t>(id.index)];
    }
    if (const auto* const fade = std::get_if<Fade>(&node.op)) {
      const FadeKind& kind = find_fade(fade->kind);
      const std::array<double, 2> weights = kind.weights(fade->lambda);
      const ValueId out = node.outputs[0];
      if (kind.inputs == 2) {
        reshaped = true;
        if (weights[0] != 0 && weights[1] != 0) {
          settle_sum(settled, node, weights);
        } else {
          node.inputs = {node.inputs[weights[0] == 0 ? 1 : 0]};
          node.op = Identity{};
          if (std::ranges::find(graph.outputs, out) == graph.outputs.end()) {
            instead[static_cast<size_t>(out.index)] = node.inputs[0];
            continue;
          }
        }
      } else if (fade->lambda == 0) {
        node.op = Identity{};
      }
    }
    settled.nodes.push_back(std::move(node));
  }
  if (!reshaped) return settled;
  remove_dead(settled);
  reinfer_shapes(settled);
  return settled;
}

Collapsed collapse(const Graph& trained, const CollapseOptions& options) {
  CollapseOptions priced = options;
  if (!priced.cost) priced.cost = macs_cost;
  const Graph graph = settle(trained);
  Driver driver(graph, rules(), priced);
  if (options.target == Target::plan) {
    plan(driver, priced.cost, !options.cost);
  } else {
    driver.run({}, options.target == Target::module && !options.reserve && !options.borders);
  }
  if (options.reserve) driver.run({.reserve = true});
  if (options.borders) driver.run({.borders = true});
  if (options.target == Target::conv) driver.run({.enlarge = true});
  Collapsed result = std::move(driver).finish(options.target == Target::single);
  if (options.target == Target::conv && options.stop_after < 0) require_one_conv(result);
  if (options.target == Target::plan && options.stop_after < 0) require_no_more(result, graph, priced.cost);
  if (options.target == Target::single) result.graph = to_single(result.graph, graph);
  result.regions = find_regions(graph, result.graph);
  return result;
}

}  // namespace reducenet
