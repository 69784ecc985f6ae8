#include "train/weights.h"

#include <cmath>
#include <vector>

#include "train/network.h"

namespace reducenet::train {

Tensor WeightDraw::operator()(const Shape& shape, double fan_in) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (float& value : values) value = static_cast<float>(normal_(random_) * std::sqrt(2 / fan_in));
  return Tensor::of(shape, std::span<const float>(values));
}

Graph with_new_weights(Graph graph, uint64_t seed) {
  WeightDraw weights(seed);
  const auto fill = [&](ValueId id, double value) {
    if (!id || !graph.constant(id)) return;
    graph[id].constant = Tensor::filled(graph.constant(id)->shape(), value);
  };
  const auto draw = [&](ValueId id, double fan_in) {
    if (graph.constant(id)) graph[id].constant = weights(graph.constant(id)->shape(), fan_in);
  };
  const auto fan_in = [&](ValueId id, bool rows) {
    const Tensor* const weight = graph.constant(id);
    if (weight == nullptr || weight->shape().size() < 2) return 1.0;
    const auto size = static_cast<double>(weight->size());
    return size / static_cast<double>(rows ? weight->shape()[0] : weight->shape()[1]);
  };
  for (const Node& node : graph.nodes) {
    if (node.doc == kFixed) continue;
    const auto input = [&](size_t i) { return i < node.inputs.size() ? node.inputs[i] : ValueId{}; };
    if (std::holds_alternative<Conv2d>(node.op)) {
      draw(input(1), fan_in(input(1), true));
      fill(input(2), 0);
    } else if (const auto* gemm = std::get_if<Gemm>(&node.op)) {
      draw(input(1), fan_in(input(1), gemm->trans_b));
      fill(input(2), 0);
    } else if (std::holds_alternative<BatchNorm>(node.op)) {
      for (const auto& [i, value] : {std::pair{1, 1.0}, {2, 0.0}, {3, 0.0}, {4, 1.0}}) {
        fill(input(static_cast<size_t>(i)), value);
      }
    }
  }
  return graph;
}

}  // namespace reducenet::train
