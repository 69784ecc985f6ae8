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

/// "Conv 3x3 s2 → 64": for layers with weights kernel, stride, and the channels they make; otherwise what the op is
/// called.
std::string label(const Graph& graph, const Node& node) {
  std::string text = name_of(node.op);
  if (const auto* fade = std::get_if<Fade>(&node.op)) return fmt::format("{} {}", text, name_of(fade->activation.kind));
  if (kind(graph, node) != "weights") return text;
  if (const auto* conv = std::get_if<Conv2d>(&node.op)) {
    const auto& weight = graph[node.inputs.at(1)].shape;
    if (weight && weight->size() == 4) text += fmt::format(" {}x{}", (*weight)[2], (*weight)[3]);
    if (conv->stride != Size2{1, 1}) text += fmt::format(" s{}", conv->stride[0]);
  }
  const auto& shape = graph[node.outputs.at(0)].shape;
  return shape && shape->size() > 1 ? text + fmt::format(" → {}", (*shape)[1]) : text;
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
