#include "report/network.h"

#include <fmt/format.h>

#include "report/html.h"

namespace reducenet::report {
namespace {

template <class T>
bool is(const Op& op) {
  return std::holds_alternative<T>(op);
}

/// CSS class of a block.
std::string_view kind(const Graph& graph, const Node& node) {
  const Op& op = node.op;
  if (is<Conv2d>(op) || is<ConvTranspose2d>(op) || is<Gemm>(op) || is<MatMul>(op)) return "weights";
  if (const auto* fade = std::get_if<Fade>(&op)) return fade->lambda == 0 ? "faded" : "nonlinear";
  return is_linear(graph, node) ? "plain" : "nonlinear";
}

/// "Conv 3x3 s2 p1 → 64": the op, and the channels that a layer with weights makes.
std::string label(const Graph& graph, const Node& node) {
  const auto& shape = graph[node.outputs.at(0)].shape;
  std::string text = describe(node.op);
  if (kind(graph, node) == "weights" && shape && shape->size() > 1) text += fmt::format(" → {}", (*shape)[1]);
  return text;
}

}  // namespace

std::string to_html(const Graph& graph, const std::string& title) {
  std::string blocks;
  for (const Node& node : graph.nodes) {
    const auto& shape = graph[node.outputs.at(0)].shape;
    blocks +=
        fmt::format(R"(<span class="block {}" title="{}: {}, {} MACs">{}</span>)", kind(graph, node), escape(node.name),
                    shape ? to_string(*shape) : "?", count_macs(graph, node), escape(label(graph, node)));
  }
  return fmt::format(
      R"(<div class="network"><h3>{} <small>{} nodes, {} of them not linear, {} M MACs, {} k parameters</small></h3><div class="blocks">{}</div></div>)",
      escape(title), graph.nodes.size(), count_nonlinear(graph), number(static_cast<double>(count_macs(graph)) / 1e6),
      number(static_cast<double>(count_parameters(graph)) / 1e3), blocks);
}

}  // namespace reducenet::report
