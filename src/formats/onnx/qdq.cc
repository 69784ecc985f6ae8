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

  ValueId constant(const std::string& name, Tensor tensor) { return graph_.add_constant(name, std::move(tensor)); }
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

  /// Weights w[o] = s[o]·q and bias b[o] = x·s[o]·k of a layer that reads bytes of scale x.
  void quantise_weights(Node& conv, double x, std::vector<Node>& nodes) {
    normalise(conv);
    const Tensor weight = *graph_.constant(conv.inputs[1]);
    const int64_t outputs = weight.shape()[0];
    const ByteLayer layer =
        in_bytes(weight.to_doubles(),
                 has_bias(conv) ? graph_.constant(conv.inputs[2])->to_doubles() : std::vector<double>{}, outputs, x);
    const std::string name = graph_[conv.inputs[1]].name;
    conv.inputs[1] = integers(name, tensor_of(DType::i8, weight.shape(), layer.weight),
                              tensor_of(DType::f32, {outputs}, layer.scales), nodes);
    if (!has_bias(conv)) return;
    std::vector<float> steps;
    for (const float s : layer.scales) steps.push_back(static_cast<float>(x) * s);
    const std::string bias = graph_[conv.inputs[2]].name;
    conv.inputs[2] =
        integers(bias, tensor_of(DType::i32, {outputs}, layer.bias), tensor_of(DType::f32, {outputs}, steps), nodes);
  }

  /// scale·q through DequantizeLinear, one scale for each index of the first dimension.
  ValueId integers(const std::string& name, const Tensor& q, const Tensor& scale, std::vector<Node>& nodes) {
    const std::vector<std::byte> zeros(static_cast<size_t>(scale.size()) * (q.dtype() == DType::i8 ? 1 : 4));
    const ValueId whole = constant(name + ".q", q), step = constant(name + ".scale", scale);
    const ValueId zero = constant(name + ".zero", Tensor(q.dtype(), scale.shape(), zeros));
    return node(name + ".dq", "DequantizeLinear", {whole, step, zero}, DType::f32, q.shape(), nodes);
  }

  /// Whether the node is a layer with constant weights (and bias) that can read bytes.
  bool takes_bytes(const Node& node) const {
    if (const auto* op = std::get_if<Conv2d>(&node.op); op) {
      return graph_.constant(node.inputs[1]) && (!has_bias(node) || graph_.constant(node.inputs[2]));
    }
    const auto* gemm = std::get_if<Gemm>(&node.op);
    if ((!gemm && !std::holds_alternative<MatMul>(node.op)) || (gemm && gemm->trans_a)) return false;
    const Tensor* weight = graph_.constant(node.inputs[1]);
    if (!weight || weight->shape().size() != 2 || !graph_[node.outputs[0]].shape) return false;
    const Tensor* bias = has_bias(node) ? graph_.constant(node.inputs[2]) : nullptr;
    const int64_t outputs = graph_[node.outputs[0]].shape->back();
    return graph_[node.outputs[0]].shape->size() == 2 &&
           (!has_bias(node) || (bias && (bias->size() == 1 || bias->size() == outputs)));
  }

  /// y = α·x·B + β·c as the same with α = β = 1, weights [outputs][inputs] and one bias an output.
  void normalise(Node& node) {
    if (std::holds_alternative<Conv2d>(node.op)) return;
    const Gemm op = std::holds_alternative<Gemm>(node.op) ? std::get<Gemm>(node.op) : Gemm{};
    const Tensor& stored = *graph_.constant(node.inputs[1]);
    const std::vector<double> b = stored.to_doubles();
    const int64_t in = stored.shape()[op.trans_b ? 1 : 0], out = stored.shape()[op.trans_b ? 0 : 1];
    std::vector<double> weight(b.size());
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        weight[static_cast<size_t>(o * in + i)] =
            op.alpha * b[static_cast<size_t>(op.trans_b ? o * in + i : i * out + o)];
      }
    }
    node.op = Gemm{.trans_b = true};
    node.inputs[1] = constant(graph_[node.inputs[1]].name, Tensor::from_doubles({out, in}, weight, DType::f64));
    if (!has_bias(node)) return;
    const std::vector<double> c = graph_.constant(node.inputs[2])->to_doubles();
    std::vector<double> bias(static_cast<size_t>(out));
    for (size_t o = 0; o < bias.size(); ++o) bias[o] = op.beta * c[c.size() == 1 ? 0 : o];
    node.inputs[2] = constant(graph_[node.inputs[2]].name, Tensor::from_doubles({out}, bias, DType::f64));
  }

  static bool has_bias(const Node& node) { return node.inputs.size() > 2 && node.inputs[2]; }

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
  // A product reads the image that is flattened for it alone.
  const Uses uses(graph);
  std::map<ValueId, ValueId> flattened;
  for (const Node& node : old) {
    const bool view = std::holds_alternative<Flatten>(node.op) || std::holds_alternative<Reshape>(node.op);
    if (view && uses.has_single_use(node.outputs[0])) flattened[node.outputs[0]] = node.inputs[0];
  }
  for (const ValueId input : graph.inputs) round_if_known(input);
  for (Node& node : old) {
    if (const auto* op = std::get_if<Activation>(&node.op); op && op->kind == Activation::Kind::bytes) {
      // It is a pair of these nodes already, whose output is no other scale's.
      const auto found = scales.find(made[node.outputs[0]].name);
      if (found != scales.end() && found->second == TensorScale{op->alpha, static_cast<int64_t>(op->beta)} &&
          std::ranges::find(graph.outputs, node.outputs[0]) == graph.outputs.end()) {
        rounded[node.outputs[0]] = writer.through_bytes(node.inputs[0], found->second, nodes);
        continue;
      }
    }
    if (!node.inputs.empty() && writer.takes_bytes(node)) {
      const auto view = std::holds_alternative<Conv2d>(node.op) ? flattened.end() : flattened.find(node.inputs[0]);
      const ValueId source = view == flattened.end() ? node.inputs[0] : view->second;
      if (rounded.contains(source)) writer.quantise_weights(node, scales.at(made[source].name).scale, nodes);
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
