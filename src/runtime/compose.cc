#include "runtime/compose.h"

#include <algorithm>
#include <string>
#include <utility>

namespace reducenet {
namespace {

/// Puts nodes in the place of one: named after it, the last with its output.
class Composition {
 public:
  Composition(Graph& graph, std::vector<Node>& nodes, const Node& node) : graph_(graph), nodes_(nodes), node_(node) {}

  ValueId constant(const std::string& what, Tensor numbers) {
    return graph_.add_constant(node_.name + "." + what, std::move(numbers));
  }
  ValueId scalar(const std::string& what, double number) { return constant(what, Tensor::filled({}, number)); }

  ValueId step(const std::string& what, Op op, std::vector<ValueId> inputs) {
    const std::string name = graph_.unique_name(node_.name + "." + what);
    const ValueId made = graph_.add_value({.name = name, .dtype = graph_[node_.outputs[0]].dtype});
    nodes_.push_back({.name = name, .op = std::move(op), .inputs = std::move(inputs), .outputs = {made}});
    return made;
  }
  ValueId square(ValueId x) { return step("squares", Binary{Binary::Kind::mul}, {x, x}); }
  void last(Op op, std::vector<ValueId> inputs) {
    nodes_.push_back(
        {.name = node_.name, .op = std::move(op), .inputs = std::move(inputs), .outputs = {node_.outputs[0]}});
  }

 private:
  Graph& graph_;
  std::vector<Node>& nodes_;
  const Node& node_;
};

/// ((a ∘ b) ∘ c) ∘ …, for a mean divided by their number.
bool write(const Variadic& op, const Graph&, const Node& node, Composition& made) {
  using Kind = Variadic::Kind;
  const bool mean = op.kind == Kind::mean;
  const Binary pair{op.kind == Kind::min   ? Binary::Kind::min
                    : op.kind == Kind::max ? Binary::Kind::max
                                           : Binary::Kind::add};
  const size_t count = node.inputs.size();
  ValueId sum = node.inputs[0];
  for (size_t i = 1; i + 1 < count; ++i) sum = made.step("to." + std::to_string(i), pair, {sum, node.inputs[i]});
  if (count == 1) {
    made.last(Identity{}, {sum});
  } else if (mean) {
    const ValueId all = made.step("sum", pair, {sum, node.inputs[count - 1]});
    made.last(Binary{Binary::Kind::mul}, {all, made.scalar("of.each", 1.0 / static_cast<double>(count))});
  } else {
    made.last(pair, {sum, node.inputs[count - 1]});
  }
  return true;
}

/// x·(bias + alpha/size·Σ x²)^−beta, the sum as a convolution over the channels.
bool write(const Lrn& op, const Graph& graph, const Node& node, Composition& made) {
  const std::optional<Shape>& shape = graph[node.inputs[0]].shape;
  if (!shape || shape->size() != 4 || (*shape)[1] < 0) return false;
  const int64_t channels = (*shape)[1], before = (op.size - 1) / 2, after = op.size - 1 - before;
  std::vector<double> band(static_cast<size_t>(channels * channels));
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t first = std::max<int64_t>(c - before, 0), end = std::min(c + after, channels - 1) + 1;
    for (int64_t k = first; k < end; ++k) {
      band[static_cast<size_t>(c * channels + k)] = op.alpha / static_cast<double>(op.size);
    }
  }
  const ValueId x = node.inputs[0];
  const ValueId weight = made.constant("weight", Tensor::from_doubles({channels, channels, 1, 1}, band));
  const ValueId bias = made.constant("bias", Tensor::filled({channels}, op.bias));
  const ValueId sums = made.step("sums", Conv2d{}, {made.square(x), weight, bias});
  const ValueId factor = made.step("factor", Binary{Binary::Kind::pow}, {sums, made.scalar("exponent", -op.beta)});
  made.last(Binary{Binary::Kind::mul}, {x, factor});
  return true;
}

/// f(reduce(g(x))) with a reduction that has a kernel.
bool write(const Reduce& op, const Graph&, const Node& node, Composition& made) {
  using Kind = Reduce::Kind;
  const ValueId x = node.inputs[0];
  const auto reduced = [&](Kind kind, ValueId of) {
    Reduce inner = op;
    inner.kind = kind;
    std::vector<ValueId> inputs = node.inputs;
    inputs[0] = of;
    return std::pair<Op, std::vector<ValueId>>(inner, std::move(inputs));
  };
  const auto then = [&](Unary::Kind f, std::pair<Op, std::vector<ValueId>> reduction) {
    made.last(Unary{f}, {made.step("reduced", std::move(reduction.first), std::move(reduction.second))});
  };
  const auto as_last = [&](std::pair<Op, std::vector<ValueId>> reduction) {
    made.last(std::move(reduction.first), std::move(reduction.second));
  };
  switch (op.kind) {
    case Kind::min:
      then(Unary::Kind::neg, reduced(Kind::max, made.step("negative", Unary{Unary::Kind::neg}, {x})));
      return true;
    case Kind::l1:
      as_last(reduced(Kind::sum, made.step("sizes", Unary{Unary::Kind::abs}, {x})));
      return true;
    case Kind::l2:
      then(Unary::Kind::sqrt, reduced(Kind::sum, made.square(x)));
      return true;
    case Kind::sum_square:
      as_last(reduced(Kind::sum, made.square(x)));
      return true;
    case Kind::log_sum:
      then(Unary::Kind::log, reduced(Kind::sum, x));
      return true;
    case Kind::sum:
    case Kind::mean:
    case Kind::max:
    case Kind::prod:
    case Kind::log_sum_exp:
      return false;
  }
  return false;
}

}  // namespace

void compose(Graph& graph) {
  std::vector<Node> nodes;
  for (Node& node : graph.nodes) {
    Composition made(graph, nodes, node);
    const bool written = std::visit(Overloaded{
                                        [&](const OneOf<Variadic, Lrn, Reduce> auto& op) {
                                          return is_float(graph[node.outputs[0]].dtype) && write(op, graph, node, made);
                                        },
                                        [](const auto&) { return false; },
                                    },
                                    node.op);
    if (!written) nodes.push_back(std::move(node));
  }
  graph.nodes = std::move(nodes);
}

}  // namespace reducenet
