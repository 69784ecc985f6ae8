#include "formats/onnx/quantised.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "formats/onnx/table.h"
#include "reducenet/quantize.h"

namespace reducenet {
namespace {

/// y = scale·(q − zero), one of each for all elements or for each index along an axis.
struct Grid {
  std::vector<double> scale, zero;
  DType integers = DType::u8, numbers = DType::f32;
  size_t inner = 1;  ///< elements that share the index of the axis, one after the other

  size_t index(size_t element) const { return element / inner % scale.size(); }
  friend bool operator==(const Grid&, const Grid&) = default;
};

class Reader {
 public:
  Reader(Graph& graph, const std::function<const onnx::NodeProto*(const Node&)>& proto_of)
      : graph_(graph), proto_of_(proto_of) {}

  /// In topological order, so that what reads a constant sees it. False: nothing was changed.
  bool run() {
    bool any = false;
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : nodes) {
      const onnx::NodeProto* const proto = proto_of_(node);
      const bool ours = proto && is_quantised(*proto) && node.outputs.size() == 1;
      const bool known =
          ours && (proto->op_type() == "QuantizeLinear" ? quantise(node, *proto) : dequantise(node, *proto));
      if (!known || !graph_.constant(node.outputs[0])) graph_.nodes.push_back(std::move(node));
      any = any || known;
    }
    if (any) remove_dead(graph_);
    return any;
  }

 private:
  struct Quantised {
    ValueId from;
    Grid grid;
  };

  bool quantise(Node& node, const onnx::NodeProto& proto) {
    const std::optional<Grid> grid = grid_of(node, proto);
    if (!grid || grid->integers == DType::i32) return false;
    const ValueId output = node.outputs[0];
    if (const Tensor* x = graph_.constant(node.inputs[0]); x && is_float(x->dtype())) {
      const double low = grid->integers == DType::u8 ? 0 : -128;
      std::vector<double> values = x->to_doubles();
      for (size_t i = 0; i < values.size(); ++i) {
        const size_t k = grid->index(i);
        const float steps = static_cast<float>(values[i]) / static_cast<float>(grid->scale[k]);
        values[i] = std::clamp(static_cast<double>(std::nearbyint(steps)) + grid->zero[k], low, low + 255);
      }
      make_constant(output, Tensor::from_doubles(x->shape(), values, grid->integers));
      return true;
    }
    if (grid->scale.size() == 1) quantised_[output] = {node.inputs[0], *grid};
    return false;
  }

  bool dequantise(Node& node, const onnx::NodeProto& proto) {
    const std::optional<Grid> grid = grid_of(node, proto);
    if (!grid) return false;
    const ValueId input = node.inputs[0], output = node.outputs[0];
    if (const Tensor* q = graph_.constant(input); q && q->dtype() == grid->integers) {
      std::vector<double> values = q->to_doubles();
      for (size_t i = 0; i < values.size(); ++i) {
        const size_t k = grid->index(i);
        values[i] = grid->scale[k] * (values[i] - grid->zero[k]);
      }
      make_constant(output, Tensor::from_doubles(q->shape(), values, grid->numbers));
      return true;
    }
    const auto found = quantised_.find(input);
    if (found == quantised_.end() || !(found->second.grid == *grid)) return false;
    const double unsigned_zero = grid->zero[0] + (grid->integers == DType::u8 ? 0 : 128);
    node.op = Activation{Activation::Kind::bytes, grid->scale[0], unsigned_zero};
    node.inputs = {found->second.from};
    graph_[output].dtype = grid->numbers;
    return true;
  }

  /// Empty where it is not constant, or not one that is understood.
  std::optional<Grid> grid_of(const Node& node, const onnx::NodeProto& proto) const {
    int64_t axis = 1;
    for (const auto& attribute : proto.attribute()) {
      if (attribute.name() == "axis") axis = attribute.i();
      if (attribute.name() == "block_size" && attribute.i() != 0) return std::nullopt;
      if (attribute.name() == "output_dtype" && attribute.i() != 0) return std::nullopt;
    }
    const Tensor* const scale = node.inputs.size() > 1 ? graph_.constant(node.inputs[1]) : nullptr;
    if (!node.inputs[0] || !scale || !is_float(scale->dtype()) || scale->shape().size() > 1) return std::nullopt;
    Grid grid{.scale = scale->to_doubles(), .numbers = scale->dtype()};
    if (grid.scale.empty() || !std::ranges::all_of(grid.scale, [](double s) { return s > 0 && std::isfinite(s); })) {
      return std::nullopt;
    }
    grid.zero.assign(grid.scale.size(), 0);
    if (node.inputs.size() > 2 && node.inputs[2]) {
      const Tensor* const zero = graph_.constant(node.inputs[2]);
      if (!zero || zero->size() != scale->size()) return std::nullopt;
      grid.zero = zero->to_doubles();
      grid.integers = zero->dtype();
    } else if (const Tensor* q = graph_.constant(node.inputs[0]); q && !is_float(q->dtype())) {
      grid.integers = q->dtype();
    }
    if (grid.integers != DType::u8 && grid.integers != DType::i8 && grid.integers != DType::i32) return std::nullopt;
    if (grid.scale.size() == 1) return grid;
    const Tensor* const x = graph_.constant(node.inputs[0]);
    if (!x) return std::nullopt;
    const auto rank = static_cast<int64_t>(x->shape().size());
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || x->shape()[static_cast<size_t>(axis)] != scale->size()) return std::nullopt;
    for (auto i = static_cast<size_t>(axis) + 1; i < x->shape().size(); ++i) {
      grid.inner *= static_cast<size_t>(x->shape()[i]);
    }
    return grid;
  }

  void make_constant(ValueId id, Tensor tensor) { graph_[id] = Value::of(graph_[id].name, std::move(tensor)); }

  Graph& graph_;
  const std::function<const onnx::NodeProto*(const Node&)>& proto_of_;
  std::map<ValueId, Quantised> quantised_;
};

}  // namespace

bool is_quantised(const onnx::NodeProto& proto) {
  return is_default(proto.domain()) && (proto.op_type() == "QuantizeLinear" || proto.op_type() == "DequantizeLinear");
}

bool read_quantised(Graph& graph, const std::function<const onnx::NodeProto*(const Node&)>& proto_of) {
  return Reader(graph, proto_of).run();
}

void note_scales(Graph& graph) {
  Quantization scales = quantization(graph).value_or(Quantization{});
  for (const Node& node : graph.nodes) {
    const auto* op = std::get_if<Activation>(&node.op);
    if (!op || op->kind != Activation::Kind::bytes) continue;
    scales[graph[node.outputs[0]].name] = {op->alpha, static_cast<int64_t>(op->beta)};
  }
  set_quantization(graph, scales);
}

}  // namespace reducenet
