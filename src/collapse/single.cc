#include "collapse/single.h"

#include <algorithm>

#include "collapse/adjoint.h"
#include "collapse/rounding.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int64_t kMostWeights = int64_t{1} << 28;

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorKind::unsupported, "the network is not one affine map: " + why);
}

/// The graph with its input at `batch` samples, every shape known and every value's first dimension being the samples.
Graph at_batch(const Graph& graph, int64_t batch) {
  Graph fixed = graph;
  set_batch(fixed, batch);
  for (const Node& node : fixed.nodes) {
    const auto& shape = fixed[node.outputs[0]].shape;
    if (!shape || std::any_of(shape->begin(), shape->end(), [](int64_t dim) { return dim < 0; })) {
      refuse("the size of '" + fixed[node.outputs[0]].name + "' is not fixed");
    }
    if (shape->empty() || shape->front() != batch) refuse("'" + node.name + "' mixes the samples of a batch");
  }
  return fixed;
}

void require_linear(const Graph& graph) {
  std::string why;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const std::string obstacle = adjoint_obstacle(graph, {static_cast<int32_t>(i)});
    if (!obstacle.empty()) why += "\n  " + obstacle;
  }
  if (!why.empty()) refuse("these nodes stand in the way:" + why);
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) refuse("it has several inputs or outputs");
}

/// Row k: the gradient of output k with respect to the input.
std::vector<double> jacobian(const Graph& graph, int64_t outputs) {
  std::vector<Cotangents> cotangents(graph.values.size());
  Cotangents& start = cotangents[static_cast<size_t>(graph.outputs[0].index)];
  start.resize(static_cast<size_t>(outputs * outputs));
  for (int64_t k = 0; k < outputs; ++k) start[static_cast<size_t>(k * outputs + k)] = 1;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    Cotangents dy = std::move(cotangents[static_cast<size_t>(node.outputs[0].index)]);
    if (dy.empty()) continue;
    std::vector<Cotangents> made = adjoint(graph, {static_cast<int32_t>(i)}, dy, outputs);
    for (size_t k = 0; k < made.size(); ++k) {
      if (made[k].empty() || graph.constant(node.inputs[k])) continue;
      Cotangents& sum = cotangents[static_cast<size_t>(node.inputs[k].index)];
      if (sum.empty()) {
        sum = std::move(made[k]);
      } else {
        std::transform(sum.begin(), sum.end(), made[k].begin(), sum.begin(), std::plus<>());
      }
    }
  }
  return std::move(cotangents[static_cast<size_t>(graph.inputs[0].index)]);
}

}  // namespace

Graph to_single(const Graph& graph, const Graph& original) {
  require_linear(graph);
  const Value &input = graph[graph.inputs[0]], &output = graph[graph.outputs[0]];
  const Shape& signature = *input.shape;
  const int64_t batch = signature.empty() ? -1 : signature.front();
  at_batch(graph, batch > 0 ? batch : 2);
  const Graph one = at_batch(graph, 1);
  const Shape x = *one[one.inputs[0]].shape, y = *one[one.outputs[0]].shape;
  const int64_t inputs = element_count(x), outputs = element_count(y);
  if (outputs > kMostWeights / std::max<int64_t>(inputs, 1)) {
    refuse("it would take " + std::to_string(outputs) + " x " + std::to_string(inputs) + " weights");
  }
  std::vector<double> weight = jacobian(one, outputs);
  weight.resize(static_cast<size_t>(inputs * outputs));  // all zero when nothing reaches the output
  const std::vector<Tensor> at_zero = evaluate(one, std::vector{Tensor::filled(x, 0)});

  Graph single{.name = graph.name, .metadata = graph.metadata, .opset = graph.opset};
  const auto made = [&](const std::string& stem, Op op, std::vector<ValueId> from) {
    const std::string name = original.unique_name(stem);
    const ValueId id = single.add_value({.name = name, .dtype = output.dtype});
    single.nodes.push_back({.name = name, .op = std::move(op), .inputs = std::move(from), .outputs = {id}});
    return id;
  };
  const auto constant = [&](const std::string& stem, Tensor tensor) {
    return single.add_value(Value::of(original.unique_name(stem), std::move(tensor)));
  };
  single.inputs.push_back(single.add_value(input));
  const ValueId result = single.add_value(output);
  single.outputs.push_back(result);
  ValueId last = made("flatten", Flatten{}, {single.inputs[0]});
  last = made(
      "affine", Gemm{.trans_b = true},
      {last,
       constant("affine.weight", rounded_sums(Tensor::adopt({outputs, inputs}, std::move(weight)), output.dtype, 1)),
       constant("affine.bias", Tensor::from_doubles({outputs}, at_zero[0].to_doubles(), output.dtype))});
  if (y.size() != 2) {
    Shape shape = y;
    shape[0] = batch > 0 ? batch : -1;
    const auto rank = static_cast<int64_t>(shape.size());
    last = made("reshape", Reshape{}, {last, constant("shape", Tensor::of({rank}, std::span<const int64_t>(shape)))});
  }
  single.nodes.back().outputs[0] = result;
  remove_dead(single);
  infer_shapes(single);
  check(single);
  return single;
}

}  // namespace reducenet
