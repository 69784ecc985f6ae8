#include "rules/frame.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rules/reason.h"

namespace reducenet {
namespace {

/// Constant padding of height and width, and no crop.
const Pad* read_padding(const Graph& graph, NodeId id) {
  const auto* op = id ? std::get_if<Pad>(&graph[id].op) : nullptr;
  if (!op || op->mode != Pad::Mode::constant || op->begin.size() != 4) return nullptr;
  for (size_t i = 0; i < 4; ++i) {
    if (op->begin[i] < 0 || op->end[i] < 0 || (i < 2 && (op->begin[i] || op->end[i]))) return nullptr;
  }
  return op;
}

/// A ScatterND whose places and numbers are constants, into a tensor of known shape.
bool writes_constants(const Graph& graph, NodeId id) {
  if (!id || !std::holds_alternative<ScatterNd>(graph[id].op)) return false;
  const Node& node = graph[id];
  const auto& shape = graph[node.inputs[0]].shape;
  return !graph.constant(node.inputs[0]) && graph.constant(node.inputs[1]) && graph.constant(node.inputs[2]) && shape &&
         shape->size() == 4 && std::ranges::all_of(*shape, [](int64_t dim) { return dim > 0; });
}

/// The value's nodes between it and the padding, and the padding: what is run on not-a-number shows what is written.
Tensor written(const Site& site, const Frame& frame) {
  Graph part;
  part.values = site.graph.values;
  part.outputs = {frame.result};
  const ValueId inside = site.graph[frame.padding].inputs[0];
  part.inputs = {inside};
  for (ValueId value = frame.result; value != inside; value = part.nodes.front().inputs[0]) {
    part.nodes.insert(part.nodes.begin(), site.graph[site.uses.producer_of(value)]);
  }
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  const Tensor inputs[] = {Tensor::filled(*site.graph[inside].shape, unknown, DType::f64)};
  return evaluate(part, inputs)[0];
}

/// Σ |w| + |b| for each output.
std::vector<double> terms(const LinearMap& map) {
  std::vector<double> sums;
  const size_t row = map.weight.size() / map.bias.size();
  for (size_t o = 0; o < map.bias.size(); ++o) {
    double sum = std::abs(map.bias[o]);
    for (size_t i = 0; i < row; ++i) sum += std::abs(map.weight[o * row + i]);
    sums.push_back(sum);
  }
  return sums;
}

/// Every place is either unknown, inside, or within rounding what the map makes of zeros, in the padding.
bool holds_bias(const Site& site, const Frame& frame) {
  const Pad& pad = std::get<Pad>(site.graph[frame.padding].op);
  const LinearMap first = numbers_of(site.graph, frame.first);
  const std::vector<double> sums = terms(first);
  const double unit = rounding_of(site.graph[frame.first.result].dtype);
  const auto agrees = [&](double value, size_t c) { return std::abs(value - first.bias[c]) <= unit * sums[c]; };
  if (std::holds_alternative<Pad>(site.graph[site.uses.producer_of(frame.result)].op)) {
    for (size_t c = 0; c < sums.size(); ++c) {
      if (!agrees(pad.value, c)) return false;
    }
    return true;
  }
  const Tensor tensor = written(site, frame);
  const Shape& shape = tensor.shape();
  const std::span<const double> values = tensor.as<double>();
  size_t at = 0;
  for (int64_t image = 0; image < shape[0]; ++image) {
    for (size_t c = 0; c < sums.size(); ++c) {
      for (int64_t row = 0; row < shape[2]; ++row) {
        for (int64_t column = 0; column < shape[3]; ++column, ++at) {
          const bool inside = row >= pad.begin[2] && row < shape[2] - pad.end[2] && column >= pad.begin[3] &&
                              column < shape[3] - pad.end[3];
          if (inside ? !std::isnan(values[at]) : !agrees(values[at], c)) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

std::optional<Frame> read_frame(const Site& site, ValueId value) {
  const Graph& graph = site.graph;
  NodeId node = site.uses.producer_of(value);
  bool scattered = false;
  while (writes_constants(graph, node)) {
    node = site.uses.producer_of(graph[node].inputs[0]);
    scattered = true;
  }
  const Pad* padding = read_padding(graph, node);
  if (!padding || (padding->value == 0 && !scattered)) return std::nullopt;
  const auto first = view(graph, site.uses.producer_of(graph[node].inputs[0]));
  if (!first || first->is_pad() || rank_of(graph, first->result) != 4) return std::nullopt;
  Frame frame{.first = *first, .map = *first, .padding = node, .result = value};
  Geometry added = identity_geometry(first->geometry.out);
  for (size_t i = 0; i < 2; ++i) {
    added.axes[i].begin = padding->begin[i + 2];
    added.axes[i].end = padding->end[i + 2];
  }
  frame.map.result = value;
  frame.map.geometry = compose(first->geometry, added);
  return frame;
}

std::optional<std::string> frame_obstacle(const Site& site, const Frame& frame) {
  const Graph& graph = site.graph;
  const Node& pad = graph[frame.padding];
  const ImageSize size = image_size(graph, frame.first.source);
  for (size_t i = 0; i < 2; ++i) {
    const Axis added{.begin = std::get<Pad>(pad.op).begin[i + 2], .end = std::get<Pad>(pad.op).end[i + 2]};
    if (border_between(frame.first.geometry.axes[i], added, size[i]).zeros_agree) continue;
    return "padding at " + label(graph, frame.padding) + ": what " + label(graph, frame.first.node) + " " +
           std::string(reason::kBorder);
  }
  for (ValueId inner = frame.result; inner != frame.first.result;) {
    inner = graph[site.uses.producer_of(inner)].inputs[0];
    if (auto why = other_readers(site, inner)) return why;
  }
  if (holds_bias(site, frame)) return std::nullopt;
  return label(graph, frame.first.node) + " " + std::string(reason::kFill) + " at " + label(graph, frame.padding);
}

}  // namespace reducenet
