#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "reducenet/graph.h"
#include "reducenet/quantize.h"

// What a program for a network of 8-bit integers has to compute, layer by layer.

namespace reducenet::testing {

/// As it travels in the metadata, a float32 holds it.
inline double float_scale(const TensorScale& as) {
  return static_cast<float>(as.scale);
}

/// The nearest number that 8 bits hold, in units of the scale from its zero on.
inline double nearest_byte(const TensorScale& as, double steps) {
  const auto zero = static_cast<double>(as.zero);
  return std::clamp(std::nearbyint(steps) + zero, 0.0, 255.0) - zero;
}

/// Every number the nearest one that 8 bits hold.
inline Tensor in_bytes(const TensorScale& as, const Tensor& tensor) {
  std::vector<double> values = tensor.to_doubles();
  for (double& v : values) v = float_scale(as) * nearest_byte(as, v / float_scale(as));
  return Tensor::from_doubles(tensor.shape(), values, DType::f32);
}

/// The graph with every value that has a scale and is made by a node among its outputs.
inline Graph with_bytes_as_outputs(Graph graph) {
  const Quantization scales = *quantization(graph);
  for (const auto& [name, scale] : scales) {
    const ValueId id = graph.find_value(name);
    if (std::ranges::find(graph.inputs, id) == graph.inputs.end()) graph.outputs.push_back(id);
  }
  return graph;
}

/// Checks what a program made of `image`, whose numbers 8 bits hold. Each layer for itself: in double, from the integer
/// weights and the bytes that the program itself had before it. A byte must be the nearest to that; it may be the
/// next one where a tie is nearer than float32 tells, which is 4 times what rounding every operation to float does,
/// plus 1e-5 relative. Floats agree within that. `output`: as with_bytes_as_outputs(graph) has them.
inline void expect_bytes(const Graph& graph, const Tensor& image, const std::vector<float>& output,
                         const std::string& name) {
  const Quantization scales = *quantization(graph);
  Graph layers = graph;
  std::vector<Tensor> inputs{image}, parts;
  size_t at = 0;
  for (const ValueId id : graph.outputs) {
    const Shape shape = *graph[id].shape;
    const auto count = static_cast<size_t>(element_count(shape));
    ASSERT_LE(at + count, output.size()) << name;
    parts.push_back(Tensor::of(shape, std::span<const float>(output).subspan(at, count)));
    at += count;
  }
  ASSERT_EQ(at, output.size()) << name;
  const Uses uses(graph);
  for (Node& node : layers.nodes) {
    ValueId x_id = node.inputs[0];
    while (uses.producer_of(x_id) && (std::holds_alternative<Flatten>(graph[uses.producer_of(x_id)].op) ||
                                      std::holds_alternative<Reshape>(graph[uses.producer_of(x_id)].op))) {
      x_id = graph[uses.producer_of(x_id)].inputs[0];
    }
    const auto scale = scales.find(graph[x_id].name);
    const bool layer = std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<Gemm>(node.op);
    if (!layer || scale == scales.end()) continue;
    const Tensor weight = *layers.constant(node.inputs[1]);
    std::vector<double> bias;
    if (node.inputs.size() > 2) bias = layers.constant(node.inputs[2])->to_doubles();
    const double x = float_scale(scale->second);
    const int64_t outputs = weight.shape()[0], row = weight.size() / outputs;
    const ByteLayer whole = reducenet::in_bytes(weight.to_doubles(), bias, outputs, x);
    std::vector<double> values(static_cast<size_t>(weight.size()));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<double>(whole.scales[i / static_cast<size_t>(row)]) * whole.weight[i];
    }
    node.inputs[1] = layers.add_value({.name = node.name + ".whole weight",
                                       .dtype = DType::f64,
                                       .shape = weight.shape(),
                                       .constant = Tensor::from_doubles(weight.shape(), values)});
    if (bias.empty()) continue;
    for (size_t o = 0; o < bias.size(); ++o) bias[o] = x * static_cast<double>(whole.scales[o]) * whole.bias[o];
    node.inputs[2] = layers.add_value({.name = node.name + ".whole bias",
                                       .dtype = DType::f64,
                                       .shape = Shape{outputs},
                                       .constant = Tensor::from_doubles({outputs}, bias)});
  }
  // Who reads bytes reads what the program had.
  for (size_t k = 0; k < graph.outputs.size(); ++k) {
    const ValueId made = graph.outputs[k];
    if (!scales.contains(graph[made].name)) continue;
    const ValueId had =
        layers.add_value({.name = graph[made].name + ".had", .dtype = DType::f32, .shape = graph[made].shape});
    for (Node& node : layers.nodes) std::ranges::replace(node.inputs, made, had);
    layers.inputs.push_back(had);
    inputs.push_back(in_bytes(scales.at(graph[made].name), parts[k]));
  }
  const std::vector<Tensor> exact = evaluate(layers, inputs),
                            rounded = evaluate(layers, inputs, {.round_to_f32 = true});
  for (size_t k = 0; k < exact.size(); ++k) {
    const std::string value = name + " " + graph[graph.outputs[k]].name + " ";
    const std::vector<double> want = exact[k].to_doubles(), floats = rounded[k].to_doubles(),
                              got = parts[k].to_doubles();
    double off = 0, largest = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      off = std::max(off, std::abs(floats[i] - want[i]));
      largest = std::max(largest, std::abs(want[i]));
    }
    const double bound = 4 * off + 1e-5 * largest;
    const auto as = scales.find(graph[graph.outputs[k]].name);
    // Pools and what bends by slopes stay in floats; who reads them rounds them.
    const Op& maker = graph[uses.producer_of(graph.outputs[k])].op;
    const bool floats_here =
        as == scales.end() || std::holds_alternative<GlobalAveragePool>(maker) || std::holds_alternative<PRelu>(maker);
    for (size_t i = 0; i < want.size(); ++i) {
      if (floats_here) {
        ASSERT_NEAR(got[i], want[i], bound) << value << i;
        continue;
      }
      const double scale = float_scale(as->second), steps = want[i] / scale, had = got[i] / scale;
      ASSERT_NEAR(had, std::nearbyint(had), 1e-4) << value << i << " is no byte";
      const double apart = std::abs(std::nearbyint(had) - nearest_byte(as->second, steps));
      if (apart == 0) continue;
      ASSERT_EQ(apart, 1) << value << i;
      ASSERT_LE(std::abs(steps - std::floor(steps) - 0.5) * scale, bound) << value << i << " is no tie";
    }
  }
}

}  // namespace reducenet::testing
