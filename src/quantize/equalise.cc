#include <algorithm>
#include <cmath>

#include "reducenet/error.h"
#include "reducenet/quantize.h"

namespace reducenet {
namespace {

/// A·(s·x) = s·A(x) for s > 0.
bool is_homogeneous(const Op& op) {
  if (std::holds_alternative<Identity>(op) || std::holds_alternative<MaxPool>(op)) return true;
  const auto* activation = std::get_if<Activation>(&op);
  return activation &&
         (activation->kind == Activation::Kind::relu || activation->kind == Activation::Kind::leaky_relu ||
          activation->kind == Activation::Kind::identity);
}

struct Layer {
  ValueId weight, bias;
  int64_t outputs, inputs, groups;  // inputs: of one group
  std::vector<double> w, b;

  int64_t taps() const { return static_cast<int64_t>(w.size()) / std::max<int64_t>(outputs * inputs, 1); }
  /// f(each weight of output channel c).
  template <class F>
  void each_of_output(int64_t c, F f) {
    for (int64_t i = 0; i < inputs * taps(); ++i) f(w[static_cast<size_t>(c * inputs * taps() + i)]);
  }
  /// f(each weight that input channel c meets).
  template <class F>
  void each_of_input(int64_t c, F f) {
    const int64_t per_group = outputs / groups;
    for (int64_t o = c / inputs * per_group; o < (c / inputs + 1) * per_group; ++o) {
      for (int64_t tap = 0; tap < taps(); ++tap) f(w[static_cast<size_t>((o * inputs + c % inputs) * taps() + tap)]);
    }
  }
};

}  // namespace

Graph equalise(const Graph& graph) {
  const Uses uses(graph);
  std::vector<Layer> layers;
  std::vector<int> layer_of(graph.nodes.size(), -1);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const auto* op = std::get_if<Conv2d>(&node.op);
    if (!op || !graph.constant(node.inputs[1])) continue;
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2];
    if (has_bias && !graph.constant(node.inputs[2])) continue;
    const auto shared = [&](ValueId id) { return !uses.has_single_use(id); };
    if (shared(node.inputs[1]) || (has_bias && shared(node.inputs[2]))) continue;
    const Shape& shape = graph.constant(node.inputs[1])->shape();
    layer_of[i] = static_cast<int>(layers.size());
    layers.push_back({node.inputs[1], has_bias ? node.inputs[2] : ValueId{}, shape[0], shape[1], op->groups,
                      graph.constant(node.inputs[1])->to_doubles(),
                      has_bias ? graph.constant(node.inputs[2])->to_doubles() : std::vector<double>{}});
  }

  struct Pair {
    size_t first, second;
  };
  std::vector<Pair> pairs;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (layer_of[i] < 0) continue;
    ValueId value = graph.nodes[i].outputs[0];
    while (uses.has_single_use(value)) {
      const NodeId next = uses.consumers_of(value)[0];
      if (is_homogeneous(graph[next].op)) {
        value = graph[next].outputs[0];
        continue;
      }
      if (layer_of[static_cast<size_t>(next.index)] >= 0 && graph[next].inputs[0] == value) {
        pairs.push_back(
            {static_cast<size_t>(layer_of[i]), static_cast<size_t>(layer_of[static_cast<size_t>(next.index)])});
      }
      break;
    }
  }

  constexpr int kMostRounds = 100;
  double change = 1;
  for (int round = 0; round < kMostRounds && change > 0.01; ++round) {
    change = 0;
    for (const Pair& pair : pairs) {
      Layer &a = layers[pair.first], &b = layers[pair.second];
      for (int64_t c = 0; c < a.outputs; ++c) {
        double of_a = 0, of_b = 0;
        a.each_of_output(c, [&](double w) { of_a = std::max(of_a, std::abs(w)); });
        b.each_of_input(c, [&](double w) { of_b = std::max(of_b, std::abs(w)); });
        if (!(of_a > 0) || !(of_b > 0)) continue;
        const double s = std::sqrt(of_a / of_b);
        a.each_of_output(c, [&](double& w) { w /= s; });
        b.each_of_input(c, [&](double& w) { w *= s; });
        if (!a.b.empty()) a.b[static_cast<size_t>(c)] /= s;
        change = std::max(change, std::abs(std::log(s)));
      }
    }
  }

  Graph result = graph;
  for (const Layer& layer : layers) {
    const auto put = [&](ValueId id, const std::vector<double>& values) {
      if (!id) return;
      const Tensor& was = *graph.constant(id);
      result[id].constant = Tensor::from_doubles(was.shape(), values, was.dtype());
    };
    put(layer.weight, layer.w);
    put(layer.bias, layer.b);
  }
  return result;
}

}  // namespace reducenet
