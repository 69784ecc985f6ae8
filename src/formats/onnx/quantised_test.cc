#include "formats/onnx/quantised.h"

#include "formats/onnx/testing.h"
#include "reducenet/collapse.h"
#include "reducenet/formats.h"
#include "reducenet/graph.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"

namespace reducenet {
namespace {

using Kind = Activation::Kind;

Graph to_run(const onnx::ModelProto& model) {
  const std::string bytes = model.SerializeAsString();
  return parse_onnx(std::as_bytes(std::span(bytes)), "m.onnx", /*to_run=*/true);
}

/// x → convolution of two channels, ReLU → average → affine, with a scale for every activation. Weights are whole
/// multiples of a power of two, the largest of each output channel 127 of them, so that bytes hold them exactly.
Graph network() {
  GraphBuilder b("bytes", 3);
  const ValueId x = b.input("x", {1, 2, 4, 4});
  std::vector<double> weight, affine;
  for (int i = 0; i < 2 * 2 * 9; ++i) weight.push_back((i % 18 == 5 ? 127 : (i * 37) % 101 - 50) / 64.0);
  for (int i = 0; i < 3 * 2; ++i) affine.push_back((i % 2 == 0 ? -127 : 10 * i) / 128.0);
  ValueId y = b.node("conv", Conv2d{.padding = {1, 1, 1, 1}},
                     {x, b.constant("w", Tensor::from_doubles({2, 2, 3, 3}, weight, DType::f32)),
                      b.constant("b", Tensor::from_doubles({2}, std::vector<double>{0.5, -0.25}, DType::f32))});
  y = b.activation("relu", y, {Kind::relu});
  y = b.node("flat", Flatten{}, {b.node("mean", GlobalAveragePool{}, {y})});
  y = b.node("fc", Gemm{.trans_b = true}, {y, b.constant("v", Tensor::from_doubles({3, 2}, affine, DType::f32))});
  b.output(y);
  Graph graph = std::move(b).finish();
  const auto name = [&](size_t node) { return graph[graph.nodes[node].outputs[0]].name; };
  set_quantization(graph, {{"x", {1.0 / 32, 100}}, {name(1), {1.0 / 16, 0}}, {name(2), {1.0 / 64, 0}}});
  return graph;
}

std::vector<float> run(const Graph& graph, const PlanOptions& options = {}) {
  std::vector<float> x(32), y(3);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 53 + 7) % 97) / 31 - 1.4f;
  Plan plan(graph, options);
  plan.run(x, y);
  return y;
}

TEST(Quantised, AFileOfOurOwnIsTheNetworkThatWasWritten) {
  const TestFolder folder;
  const Graph graph = network();
  save(graph, folder / "q.onnx");
  const Graph back = load_to_run(folder / "q.onnx");
  int roundings = 0;
  for (const Node& node : back.nodes) {
    EXPECT_FALSE(std::holds_alternative<Opaque>(node.op)) << node.name;
    const auto* op = std::get_if<Activation>(&node.op);
    roundings += op && op->kind == Kind::bytes;
    if (const auto* conv = std::get_if<Conv2d>(&node.op)) {
      EXPECT_EQ(back.constant(node.inputs[1])->to_doubles(), graph.constant(graph.nodes[0].inputs[1])->to_doubles());
      EXPECT_EQ(conv->padding, (Padding{1, 1, 1, 1}));
    }
  }
  EXPECT_EQ(roundings, 3);
  EXPECT_EQ(quantization(back)->size(), 3u);
  const PlanOptions bytes{.dtype = DType::i8, .narrow_everywhere = true};
  EXPECT_EQ(run(back, bytes), run(graph, bytes));
  // In float32 the roundings are there, and the mean is rounded too, which a plan in 8 bits leaves to the layer after
  // it.
  EXPECT_NE(run(back), run(graph));
  EXPECT_EQ(run(back), run(back, bytes));

  save(back, folder / "again.onnx");
  const Graph again = load_to_run(folder / "again.onnx");
  EXPECT_EQ(again.nodes.size(), back.nodes.size());
  EXPECT_EQ(run(again), run(back));
}

TEST(Quantised, ForWhoDoesNotRunItEveryNodeStays) {
  const TestFolder folder;
  save(network(), folder / "q.onnx");
  const Graph kept = load(folder / "q.onnx");
  EXPECT_TRUE(std::ranges::any_of(kept.nodes, [](const Node& node) { return name_of(node.op) == "QuantizeLinear"; }));
  save(kept, folder / "again.onnx");
  EXPECT_EQ(load(folder / "again.onnx").nodes.size(), kept.nodes.size());
}

/// x → QuantizeLinear → DequantizeLinear, y = x·W with W through DequantizeLinear along `axis`.
std::string product(const std::string& second_scale, int axis) {
  return "input " + info("x", {"1", "2"}) + "output " + info("y", {"1", "2"}) + R"(
    initializer { name: 's' data_type: 1 float_data: 0.5 }
    initializer { name: 't' data_type: 1 float_data: )" +
         second_scale + R"( }
    initializer { name: 'z' data_type: 3 int32_data: -3 }
    initializer { name: 'w' data_type: 3 dims: 2 dims: 2 int32_data: [1, 2, 3, -4] }
    initializer { name: 'ws' data_type: 1 dims: 2 float_data: [0.5, 2] }
    initializer { name: 'wz' data_type: 3 dims: 2 int32_data: [0, 1] }
    node { name: 'q' op_type: 'QuantizeLinear' input: ['x', 's', 'z'] output: 'xq' }
    node { name: 'd' op_type: 'DequantizeLinear' input: ['xq', 't', 'z'] output: 'xd' }
    node { name: 'wd' op_type: 'DequantizeLinear' input: ['w', 'ws', 'wz'] output: 'W'
           attribute { name: 'axis' type: INT i: )" +
         std::to_string(axis) + R"( } }
    node { name: 'm' op_type: 'MatMul' input: ['xd', 'W'] output: 'y' })";
}

TEST(Quantised, SignedBytesAndScalesAlongAnAxis) {
  for (const int axis : {0, 1, -1}) {
    const Graph graph = to_run(model_of(product("0.5", axis)));
    ASSERT_EQ(graph.nodes.size(), 2u);
    EXPECT_EQ(graph.nodes[0].op, Op(Activation{Kind::bytes, 0.5, 125}));
    const std::vector<double> w = graph.constant(graph.nodes[1].inputs[1])->to_doubles();
    EXPECT_EQ(w, axis == 0 ? (std::vector<double>{0.5, 1, 4, -10}) : (std::vector<double>{0.5, 2, 1.5, -10}));
    // 0.7 → 0.5·round(1.4) = 0.5;  −90 → 0.5·(−128 + 3) = −62.5
    const Tensor x = Tensor::from_doubles({1, 2}, std::vector<double>{0.7, -90});
    const std::vector<double> y = evaluate(graph, std::span(&x, 1))[0].to_doubles();
    EXPECT_EQ(y, (std::vector<double>{0.5 * w[0] - 62.5 * w[2], 0.5 * w[1] - 62.5 * w[3]}));
  }
}

TEST(Quantised, WhatIsNotOneGridStays) {
  const Graph graph = to_run(model_of(product("0.25", 0)));
  EXPECT_EQ(name_of(graph.nodes[0].op), "QuantizeLinear");
  EXPECT_EQ(name_of(graph.nodes[1].op), "DequantizeLinear");
  expect_error(ErrorKind::unsupported, {"'q'", "QuantizeLinear", "one positive scale"}, [&] { Plan{graph}; });
}

TEST(Quantised, ACollapseStandsTypesThatAreGuesses) {
  for (const char* maker : {"op_type: 'DequantizeLinear'", "op_type: 'Unknown' domain: 'com.example'"}) {
    const Graph graph = read(model_of("output " + info("y", {"2"}) + "value_info " + info("b", {"2"}) + R"(
      initializer { name: 'q' data_type: 6 dims: 2 int32_data: [3, -4] }
      initializer { name: 's' data_type: 1 float_data: 0.5 }
      node { name: 'd' )" + maker + R"( input: ['q', 's'] output: 'a' }
      node { name: 'i' op_type: 'Identity' input: 'a' output: 'b' }
      node { name: 'r' op_type: 'Relu' input: 'b' output: 'y' })"));
    EXPECT_GE(collapse(graph).graph.nodes.size(), 2u);
  }
}

TEST(Quantised, ConstantsThroughBothAreFolded) {
  const Graph graph = to_run(model_of("input " + info("x", {"1", "2"}) + "output " + info("y", {"1", "2"}) + R"(
    initializer { name: 'w' data_type: 1 dims: 2 dims: 2 float_data: [0.3, -0.2, 40, 0.25] }
    initializer { name: 's' data_type: 1 dims: 2 float_data: [0.5, 0.25] }
    initializer { name: 'z' data_type: 3 dims: 2 int32_data: [0, 0] }
    node { name: 'q' op_type: 'QuantizeLinear' input: ['w', 's', 'z'] output: 'wq' }
    node { name: 'd' op_type: 'DequantizeLinear' input: ['wq', 's', 'z'] output: 'wd' }
    node { name: 'm' op_type: 'MatMul' input: ['x', 'wd'] output: 'y' })"));
  ASSERT_EQ(graph.nodes.size(), 1u);
  EXPECT_EQ(graph.constant(graph.nodes[0].inputs[1])->to_doubles(), (std::vector<double>{0.5, -0.25, 40, 0.25}));
}

}  // namespace
}  // namespace reducenet
