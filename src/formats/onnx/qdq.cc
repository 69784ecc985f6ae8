#include "formats/onnx/qdq.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>

namespace reducenet {
namespace {

template <class T>
Tensor tensor_of(DType dtype, Shape shape, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {dtype, std::move(shape), std::vector<std::byte>(bytes.begin(), bytes.end())};
}

class Writer {
 public:
  explicit Writer(Graph graph) : graph_(std::move(graph)) {}

  ValueId constant(const std::string& name, Tensor tensor) {
    Value value{.name = graph_.unique_name(name), .dtype = tensor.dtype(), .shape = tensor.shape()};
    value.constant = std::move(tensor);
    return graph_.add_value(std::move(value));
  }
  ValueId scalar(const std::string& name, double value) {
    return constant(name, Tensor::filled({}, value, DType::f32));
  }

  /// A node of ONNX's default operator set, to be appended; its output has that dtype and shape.
  ValueId node(const std::string& name, const char* type, std::vector<ValueId> inputs, DType dtype,
               std::optional<Shape> shape, std::vector<Node>& nodes) {
    onnx::NodeProto proto;
    proto.set_name(graph_.unique_name(name));
    proto.set_op_type(type);
    if (graph_[inputs[1]].constant->size() > 1) {
      auto& axis = *proto.add_attribute();
      axis.set_name("axis");
      axis.set_type(onnx::AttributeProto::INT);
      axis.set_i(0);
    }
    const ValueId output = graph_.add_value({.name = proto.name(), .dtype = dtype, .shape = std::move(shape)});
    nodes.push_back({proto.name() + ".node",
                     Opaque{.type = type, .payload = proto.SerializeAsString()},
                     std::move(inputs),
                     {output},
                     ""});
    return output;
  }

  /// value → QuantizeLinear → DequantizeLinear.
  ValueId through_bytes(ValueId value, const TensorScale& as, std::vector<Node>& nodes) {
    const std::string name = graph_[value].name;
    const ValueId scale = scalar(name + ".scale", as.scale);
    const ValueId zero =
        constant(name + ".zero", tensor_of(DType::u8, {}, std::vector<uint8_t>{static_cast<uint8_t>(as.zero)}));
    const auto shape = graph_[value].shape;
    const ValueId q = node(name + ".q", "QuantizeLinear", {value, scale, zero}, DType::u8, shape, nodes);
    return node(name + ".dq", "DequantizeLinear", {q, scale, zero}, DType::f32, shape, nodes);
  }

  /// Weights w[o] = s[o]·q and bias b[o] = s·s[o]·q of a convolution that reads bytes of scale s.
  void quantise_weights(Node& conv, double s, std::vector<Node>& nodes) {
    const Tensor weight = *graph_.constant(conv.inputs[1]);
    const int64_t outputs = weight.shape()[0];
    const std::vector<double> w = weight.to_doubles(), scales = weight_scales(w, outputs);
    const size_t row = w.size() / scales.size();
    std::vector<int8_t> q;
    for (size_t i = 0; i < w.size(); ++i) {
      q.push_back(static_cast<int8_t>(std::clamp(std::nearbyint(w[i] / scales[i / row]), -127.0, 127.0)));
    }
    const std::string name = graph_[conv.inputs[1]].name;
    const ValueId scale = constant(name + ".scale", Tensor::from_doubles({outputs}, scales, DType::f32));
    const ValueId zero =
        constant(name + ".zero", tensor_of(DType::i8, {outputs}, std::vector<int8_t>(scales.size(), 0)));
    const ValueId bytes = constant(name + ".q", tensor_of(DType::i8, weight.shape(), q));
    conv.inputs[1] = node(name + ".dq", "DequantizeLinear", {bytes, scale, zero}, DType::f32, weight.shape(), nodes);
    if (conv.inputs.size() < 3 || !conv.inputs[2]) return;

    const std::vector<double> b = graph_.constant(conv.inputs[2])->to_doubles();
    std::vector<double> steps;
    std::vector<int32_t> whole;
    for (size_t o = 0; o < b.size(); ++o) {
      steps.push_back(static_cast<float>(s * scales[o]));
      constexpr double most = 2147483520;  // the last float below 2³¹
      whole.push_back(static_cast<int32_t>(std::clamp(std::nearbyint(b[o] / steps[o]), -most, most)));
    }
    const std::string bias = graph_[conv.inputs[2]].name;
    const ValueId bias_scale = constant(bias + ".scale", Tensor::from_doubles({outputs}, steps, DType::f32));
    const ValueId bias_zero =
        constant(bias + ".zero", tensor_of(DType::i32, {outputs}, std::vector<int32_t>(whole.size(), 0)));
    const ValueId words = constant(bias + ".q", tensor_of(DType::i32, {outputs}, whole));
    conv.inputs[2] =
        node(bias + ".dq", "DequantizeLinear", {words, bias_scale, bias_zero}, DType::f32, Shape{outputs}, nodes);
  }

  bool takes_bytes(const Node& node) const {
    const auto* op = std::get_if<Conv2d>(&node.op);
    if (!op || op->groups != 1 || !graph_.constant(node.inputs[1])) return false;
    return node.inputs.size() < 3 || !node.inputs[2] || graph_.constant(node.inputs[2]);
  }

  Graph& graph() { return graph_; }

 private:
  Graph graph_;
};

}  // namespace

Graph to_qdq(const Graph& graph, const Quantization& scales) {
  Writer writer(graph);
  Graph& made = writer.graph();
  std::vector<Node> old = std::move(made.nodes), nodes;
  std::map<ValueId, ValueId> rounded;
  const auto round_if_known = [&](ValueId id) {
    const auto found = id ? scales.find(made[id].name) : scales.end();
    if (found != scales.end()) rounded[id] = writer.through_bytes(id, found->second, nodes);
  };
  for (const ValueId input : graph.inputs) round_if_known(input);
  for (Node& node : old) {
    if (!node.inputs.empty() && rounded.contains(node.inputs[0]) && writer.takes_bytes(node)) {
      writer.quantise_weights(node, scales.at(made[node.inputs[0]].name).scale, nodes);
    }
    for (ValueId& input : node.inputs) {
      if (const auto found = rounded.find(input); found != rounded.end()) input = found->second;
    }
    const std::vector<ValueId> outputs = node.outputs;
    nodes.push_back(std::move(node));
    for (const ValueId output : outputs) round_if_known(output);
  }
  made.nodes = std::move(nodes);
  made.opset = std::max<int64_t>(made.opset, 13);
  set_quantization(made, {});
  remove_dead(made);
  return std::move(made);
}

}  // namespace reducenet
