#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "reducenet/collapse.h"
#include "reducenet/graph.h"
#include "rules/example.h"

namespace reducenet::testing {

/// Unit normal inputs; unknown dimensions become 2 samples, or 9 rows and columns.
inline std::vector<Tensor> random_inputs(const Graph& graph, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> draw;
  std::vector<Tensor> inputs;
  for (const ValueId id : graph.inputs) {
    Shape shape = *graph[id].shape;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] < 0) shape[i] = i == 0 ? 2 : 9;
    }
    std::vector<double> values(static_cast<size_t>(element_count(shape)));
    for (double& v : values) v = draw(random);
    inputs.push_back(Tensor::from_doubles(shape, values));
  }
  return inputs;
}

/// Largest difference over all outputs in double, relative to the largest magnitude of each output.
inline double relative_error(const Graph& before, const Graph& after, uint64_t seed) {
  const std::vector<Tensor> inputs = random_inputs(before, seed);
  const auto expected = evaluate(before, inputs), found = evaluate(after, inputs);
  double worst = expected.size() == found.size() ? 0 : HUGE_VAL;
  for (size_t i = 0; i < expected.size() && i < found.size(); ++i) {
    if (expected[i].shape() != found[i].shape()) return HUGE_VAL;
    const auto x = expected[i].to_doubles(), y = found[i].to_doubles();
    double scale = 1e-300, off = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      scale = std::max(scale, std::abs(x[k]));
      const double difference = std::abs(x[k] - y[k]);
      if (!std::isfinite(difference)) return HUGE_VAL;
      off = std::max(off, difference);
    }
    worst = std::max(worst, off / scale);
  }
  return worst;
}

/// The network as training leaves it: statistics, gammas and betas far from their initial values, every λ that moves at
/// 0.
inline Graph as_trained(Graph graph, uint64_t seed = 1) {
  Example draw(seed);
  graph = faded(std::move(graph));
  for (Node& node : graph.nodes) {
    if (!std::holds_alternative<BatchNorm>(node.op)) continue;
    for (size_t i = 1; i < 5; ++i) {
      std::vector<double> values = draw.normal(graph[node.inputs[i]].constant->shape(), 0.2).to_doubles();
      for (double& v : values) v = i == 1 || i == 4 ? std::exp(v) : v;
      graph[node.inputs[i]].constant =
          Tensor::from_doubles(graph[node.inputs[i]].constant->shape(), values, DType::f32);
    }
  }
  return graph;
}

/// Every float constant of the graph in double: nothing is rounded when it collapses.
inline Graph in_double(Graph graph) {
  for (Value& value : graph.values) {
    if (value.constant && is_float(value.constant->dtype())) value.constant = value.constant->cast(DType::f64);
    if (is_float(value.dtype)) value.dtype = DType::f64;
  }
  return graph;
}

}  // namespace reducenet::testing
