#include <algorithm>
#include <unordered_set>

#include "reducenet/graph.h"

namespace reducenet {
namespace {

/// Elements per sample set: unknown dimensions count as 1.
int64_t elements(const std::optional<Shape>& shape) {
  if (!shape) return 0;
  int64_t count = 1;
  for (const int64_t dim : *shape) count *= std::max<int64_t>(dim, dim < 0 ? 1 : 0);
  return count;
}

}  // namespace

int64_t count_macs(const Graph& graph, const Node& node) {
  const auto shape_of = [&](ValueId id) -> const std::optional<Shape>& { return graph[id].shape; };
  if (node.outputs.empty() || !node.outputs[0] || !shape_of(node.outputs[0])) return 0;
  const int64_t made = elements(shape_of(node.outputs[0]));
  if (std::holds_alternative<Conv2d>(node.op)) {
    const auto& w = shape_of(node.inputs[1]);
    return w ? made * (*w)[1] * (*w)[2] * (*w)[3] : 0;
  }
  if (std::holds_alternative<ConvTranspose2d>(node.op)) {
    const auto& w = shape_of(node.inputs[1]);
    return w ? elements(shape_of(node.inputs[0])) * (*w)[1] * (*w)[2] * (*w)[3] : 0;
  }
  if (const auto* gemm = std::get_if<Gemm>(&node.op)) {
    const auto& b = shape_of(node.inputs[1]);
    return b ? made * (*b)[gemm->trans_b ? 1 : 0] : 0;
  }
  if (std::holds_alternative<MatMul>(node.op)) {
    const auto& a = shape_of(node.inputs[0]);
    return a ? made * std::max<int64_t>(a->back(), 1) : 0;
  }
  return 0;
}

int64_t count_macs(const Graph& graph) {
  int64_t total = 0;
  for (const Node& node : graph.nodes) total += count_macs(graph, node);
  return total;
}

int64_t count_parameters(const Graph& graph) {
  std::unordered_set<int32_t> seen;
  int64_t total = 0;
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      const Tensor* constant = graph.constant(id);
      if (constant && is_float(constant->dtype()) && seen.insert(id.index).second) total += constant->size();
    }
  }
  return total;
}

bool is_linear(const Graph& graph, const Node& node) {
  const auto constant = [&](size_t i) { return i < node.inputs.size() && graph.constant(node.inputs[i]); };
  const auto absent_or_constant = [&](size_t i) {
    return i >= node.inputs.size() || !node.inputs[i] || graph.constant(node.inputs[i]);
  };
  const bool all_constant =
      std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) { return !id || graph.constant(id); });
  if (all_constant && !std::holds_alternative<Opaque>(node.op)) return true;
  return std::visit(
      Overloaded{
          [&](const Conv2d&) { return constant(1) && absent_or_constant(2); },
          [&](const ConvTranspose2d&) { return constant(1) && absent_or_constant(2); },
          [&](const BatchNorm&) { return constant(1) && constant(2) && constant(3) && constant(4); },
          [&](const Gemm&) { return constant(0) || constant(1); },
          [&](const MatMul&) { return constant(0) || constant(1); },
          [&](const Binary& o) {
            switch (o.kind) {
              case Binary::Kind::add:
              case Binary::Kind::sub:
                return true;
              case Binary::Kind::mul:
                return constant(0) || constant(1);
              case Binary::Kind::div:
                return constant(1);
              case Binary::Kind::pow:
              case Binary::Kind::min:
              case Binary::Kind::max:
              case Binary::Kind::mod:
              case Binary::Kind::fmod:
                return false;
            }
            return false;
          },
          [](const Unary& o) { return o.kind == Unary::Kind::neg; },
          [](const Activation& o) {
            return o.kind == Activation::Kind::identity || (o.kind == Activation::Kind::leaky_relu && o.alpha == 1);
          },
          [&](const PRelu&) {
            if (!constant(1)) return false;
            const std::vector<double> slope = graph.constant(node.inputs[1])->to_doubles();
            return std::all_of(slope.begin(), slope.end(), [](double s) { return s == 1; });
          },
          [&](const Fade& o) { return o.lambda == 0 || node.inputs.size() > 1; },
          [](const AveragePool&) { return true; },
          [](const MaxPool&) { return false; },
          [](const GlobalAveragePool&) { return true; },
          [](const Flatten&) { return true; },
          [](const Reshape&) { return true; },
          [](const Transpose&) { return true; },
          [](const Pad&) { return true; },
          [](const Concat&) { return true; },
          [](const Softmax&) { return false; },
          [](const Identity&) { return true; },
          [](const Dropout& o) { return !o.training; },
          [&](const Where&) { return constant(0); },
          [](const Variadic& o) { return o.kind == Variadic::Kind::sum || o.kind == Variadic::Kind::mean; },
          [](const Reduce& o) { return o.kind == Reduce::Kind::sum || o.kind == Reduce::Kind::mean; },
          [&](const Gather&) { return constant(1); },
          [&](const ScatterNd&) { return constant(1); },
          [&](const Cast& o) { return is_float(o.to) && is_float(graph[node.inputs[0]].dtype); },
          [](const OneOf<SplitAxis, Slice, Squeeze, Repeat, SpaceDepth, Resize> auto&) { return true; },
          // their outputs do not depend on the elements
          [](const OneOf<ShapeOf, ConstantOfShape, Arange> auto&) { return true; },
          [](const OneOf<Compare, GlobalMaxPool, Lrn, Normalize, ArgReduce, Hardmax, TopK, Opaque> auto&) {
            return false;
          },
      },
      node.op);
}

int64_t count_nonlinear(const Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                       [&](const Node& node) { return !is_linear(graph, node); });
}

std::string print(const Graph& graph) {
  const auto value = [&](ValueId id) {
    if (!id) return std::string("-");
    const Value& v = graph[id];
    return v.name + (v.shape ? "[" + to_string(*v.shape) + "]" : "");
  };
  const auto list = [&](const std::vector<ValueId>& ids) {
    std::string text;
    for (const ValueId id : ids) text += (text.empty() ? "" : ", ") + value(id);
    return text;
  };
  std::string text = "graph " + graph.name + "(" + list(graph.inputs) + ")\n";
  for (const Node& node : graph.nodes) {
    text += "  " + list(node.outputs) + " = " + describe(node.op) + "(" + list(node.inputs) + ")";
    if (node.outputs.empty() || !node.outputs[0] || node.name != graph[node.outputs[0]].name)
      text += "  # " + node.name;
    text += "\n";
  }
  return text + "  return " + list(graph.outputs) + "\n";
}

}  // namespace reducenet
