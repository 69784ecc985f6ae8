#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "reducenet/builder.h"
#include "reducenet/graph.h"

// What the runtime's tests share: random tensors, and the bound that float32 results must meet.

namespace reducenet::testing {

inline Tensor random_tensor(const Shape& shape, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (float& value : values) value = normal(random);
  return Tensor::of(shape, std::span<const float>(values));
}

inline std::vector<Tensor> random_inputs(const Graph& graph, std::mt19937_64& random) {
  std::vector<Tensor> inputs;
  for (const ValueId id : graph.inputs) inputs.push_back(random_tensor(*graph[id].shape, random));
  return inputs;
}

inline std::vector<float> concatenated(const std::vector<Tensor>& tensors) {
  std::vector<float> all;
  for (const Tensor& tensor : tensors) {
    const std::vector<float> floats = tensor.to_floats();
    all.insert(all.end(), floats.begin(), floats.end());
  }
  return all;
}

inline Tensor absolute(const Tensor& tensor, double sign = 1) {
  std::vector<double> values = tensor.to_doubles();
  for (double& value : values) value = sign * std::abs(value);
  return Tensor::from_doubles(tensor.shape(), values);
}

/// M = Σ |w|·|x| + |b| + |r| where the graph has Σ w·x + b + r: every factor by its magnitude, activations left out.
inline std::vector<Tensor> magnitudes(Graph graph, std::vector<Tensor> inputs) {
  for (Value& value : graph.values) {
    if (value.constant && is_float(value.dtype)) value.constant = absolute(*value.constant);
  }
  for (Node& node : graph.nodes) {
    if (std::holds_alternative<BatchNorm>(node.op)) {
      Value& mean = graph[node.inputs[3]];  // x − mean
      mean.constant = absolute(*mean.constant, -1);
    }
    if (auto* binary = std::get_if<Binary>(&node.op); binary && binary->kind == Binary::Kind::sub) {
      binary->kind = Binary::Kind::add;
    }
    if (std::holds_alternative<Activation>(node.op) || std::holds_alternative<Fade>(node.op)) node.op = Identity{};
  }
  for (Tensor& input : inputs) input = absolute(input);
  return evaluate(graph, inputs);
}

/// γ(n) = n·u/(1 − n·u), u = 2⁻²⁴: a sum of n products in float32, in any order, is off by at most γ(n)·Σ|w||x|
/// (Higham, Accuracy and Stability of Numerical Algorithms, §3.1).
inline double gamma(int64_t n) {
  const double nu = static_cast<double>(n) * std::ldexp(1.0, -24);
  return nu / (1 - nu);
}

}  // namespace reducenet::testing
