#include "formats/onnx/testing.h"
#include "reducenet/collapse.h"

// Convolutions and pools of lines [N, C, L], which a Graph has as images of one row.

namespace reducenet {
namespace {

int count(const onnx::ModelProto& model, const std::string& type) {
  return static_cast<int>(
      std::ranges::count_if(model.graph().node(), [&](const auto& node) { return node.op_type() == type; }));
}

std::string tensor(const std::string& name, const std::string& dims) {
  return "{ name: '" + name + "' type { tensor_type { elem_type: 1 shape { " + dims + " } } } } ";
}

const std::string kLine = "dim { dim_value: 1 } dim { dim_value: 2 } dim { dim_value: 6 }";
const std::string kMade = "dim { dim_value: 1 } dim { dim_value: 2 } dim { dim_value: 3 }";  // from kLine, by kConv
const std::string kOpenLine = "dim { dim_param: 'n' } dim { dim_value: 2 } dim { dim_param: 'l' }";
constexpr const char* kConv =
    "initializer { dims: [2, 2, 3] data_type: 1 name: 'w' float_data: [1, 2, 3, 0, 0, 1, -1, 0, 2, 5, 0, 0] } "
    "initializer { dims: 2 data_type: 1 name: 'b' float_data: [10, 20] } "
    "node { input: ['x', 'w', 'b'] output: 'c' name: 'conv' op_type: 'Conv' "
    "attribute { name: 'pads' type: INTS ints: [1, 0] } attribute { name: 'strides' type: INTS ints: 2 } } ";
constexpr const char* kNorm =
    "initializer { dims: 2 data_type: 1 name: 'g' float_data: [2, 3] } "
    "initializer { dims: 2 data_type: 1 name: 'o' float_data: [0, 1] } "
    "initializer { dims: 2 data_type: 1 name: 'm' float_data: [1, 2] } "
    "initializer { dims: 2 data_type: 1 name: 'v' float_data: [1, 4] } "
    "node { input: ['c', 'g', 'o', 'm', 'v'] output: 'n' name: 'norm' op_type: 'BatchNormalization' } ";
constexpr const char* kAct = "node { input: 'n' output: 'r' name: 'relu' op_type: 'Relu' } ";
constexpr const char* kPool =
    "node { input: 'r' output: 'p' name: 'pool' op_type: 'MaxPool' "
    "attribute { name: 'kernel_shape' type: INTS ints: 2 } } ";
constexpr const char* kScale =
    "initializer { dims: [2, 1] data_type: 1 name: 's' float_data: [1, -1] } "
    "node { input: ['p', 's'] output: 'y' name: 'scale' op_type: 'Mul' } ";

std::string network(const std::string& line, const std::string& made) {
  return "input " + tensor("x", line) + "output " + tensor("y", made) + kConv + kNorm + kAct + kPool + kScale;
}

Tensor ramp() {
  return Tensor::from_doubles({1, 2, 6}, std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
}

TEST(Lines, ComputeWhatTheyAre) {
  const Graph graph = read(model_of("input " + tensor("x", kLine) + "output " + tensor("c", kOpenLine) + kConv));
  const Tensor x = ramp();
  const Tensor y = evaluate(graph, std::span(&x, 1))[0];
  EXPECT_EQ(y.shape(), (Shape{1, 2, 3}));
  // windows (0, x0, x1), (x1, x2, x3), (x3, x4, x5) of each channel
  EXPECT_EQ(y.to_doubles(), (std::vector<double>{10 + 3 + 7, 10 + 14 + 9, 10 + 26 + 11,  //
                                                 20 + 2 + 0, 20 + 5 + 35, 20 + 7 + 45}));
}

TEST(Lines, AreWrittenBackAsTheyCame) {
  const std::string made = "dim { dim_value: 1 } dim { dim_value: 2 } dim { dim_value: 2 }";
  for (const auto& [from, to] : {std::pair(kLine, made), std::pair(kOpenLine, kOpenLine)}) {
    const onnx::ModelProto model = model_of(network(from, to));
    const Graph graph = read(model);
    EXPECT_EQ(graph.nodes.size(), 7u) << print(graph);  // one Unsqueeze, one Squeeze
    for (const Node& node : graph.nodes) EXPECT_FALSE(std::holds_alternative<Opaque>(node.op)) << node.name;
    expect_same(written(graph), model);
  }
}

TEST(Lines, CollapseAndStayLines) {
  const Graph graph = read(model_of(network(kLine, kOpenLine)));
  const Collapsed collapsed = collapse(graph);
  const onnx::ModelProto model = written(collapsed.graph);
  EXPECT_EQ(count(model, "Conv"), 1);
  EXPECT_EQ(count(model, "BatchNormalization"), 0);
  EXPECT_EQ(count(model, "Unsqueeze") + count(model, "Squeeze"), 0) << model.DebugString();
  const Tensor x = ramp();
  const Graph again = read(model);
  const auto before = evaluate(graph, std::span(&x, 1))[0].to_doubles();
  const auto after = evaluate(again, std::span(&x, 1))[0].to_doubles();
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-4);
}

// A line in the middle that others read as a line, and an output.
TEST(Lines, KeepTheirNamesWhereTheyAreRead) {
  const onnx::ModelProto model = model_of("input " + tensor("x", kLine) + "output " + tensor("c", kOpenLine) +
                                          "output " + tensor("t", "") + kConv + kNorm + kAct +
                                          "node { input: 'r' output: 't' name: 'turn' op_type: 'Transpose' "
                                          "attribute { name: 'perm' type: INTS ints: [0, 2, 1] } } ");
  const Graph graph = read(model);
  EXPECT_TRUE(graph.find_value("c"));
  EXPECT_EQ(*graph[graph.find_value("c")].shape, (Shape{1, 2, 3}));
  EXPECT_EQ(*graph[graph.find_value("t")].shape, (Shape{1, 3, 2}));
  const Tensor x = ramp();
  EXPECT_EQ(evaluate(graph, std::span(&x, 1))[0].shape(), (Shape{1, 2, 3}));
  onnx::ModelProto back = written(graph);
  EXPECT_EQ(count(back, "Unsqueeze") + count(back, "Squeeze"), 0);
  EXPECT_EQ(back.graph().node_size(), model.graph().node_size());
}

TEST(Lines, JoinPadAndShareConstants) {
  const onnx::ModelProto model =
      model_of("input " + tensor("x", kLine) + "output " + tensor("y", "") + "output " + tensor("z", "") + kConv +
               "initializer { dims: [1, 2, 1] data_type: 1 name: 's' float_data: [1, -1] } "
               "initializer { dims: 6 data_type: 7 name: 'pads' int64_data: [0, 0, 2, 0, 0, 1] } "
               "node { input: ['x', 's'] output: 'z' name: 'scale' op_type: 'Mul' } "
               "node { input: ['c', 's'] output: 'd' name: 'scaled' op_type: 'Mul' } "
               "node { input: ['c', 'd'] output: 'j' name: 'join' op_type: 'Concat' attribute { name: 'axis' type: INT "
               "i: -1 } } "
               "node { input: ['j', 'pads'] output: 'y' name: 'pad' op_type: 'Pad' } ");
  const Graph graph = read(model);
  const Tensor x = ramp();
  const auto y = evaluate(graph, std::span(&x, 1));
  EXPECT_EQ(y[0].shape(), (Shape{1, 2, 9}));
  EXPECT_EQ(y[1].shape(), (Shape{1, 2, 6}));
  EXPECT_EQ(y[0].to_doubles(),
            (std::vector<double>{0, 0, 20, 33, 47, 20, 33, 47, 0, 0, 0, 22, 60, 72, -22, -60, -72, 0}));
  const Graph again = read(written(graph));
  EXPECT_EQ(evaluate(again, std::span(&x, 1))[0].to_doubles(), y[0].to_doubles());
  EXPECT_EQ(count(written(graph), "Unsqueeze") + count(written(graph), "Squeeze"), 0);
}

// What someone writes as an image of one row stays one.
TEST(Lines, LeaveImagesOfOneRowAlone) {
  const onnx::ModelProto model =
      model_of("input " + tensor("x", kLine) + "output " +
               tensor("y", "dim { dim_value: 1 } dim { dim_value: 1 } dim { dim_value: 6 }") +
               "initializer { dims: 1 data_type: 7 name: 'row' int64_data: 2 } "
               "initializer { dims: [1, 2, 1, 1] data_type: 1 name: 'w' float_data: [1, 2] } "
               "node { input: ['x', 'row'] output: 'i' name: 'in' op_type: 'Unsqueeze' } "
               "node { input: ['i', 'w'] output: 'c' name: 'conv' op_type: 'Conv' } "
               "node { input: ['c', 'row'] output: 'y' name: 'out' op_type: 'Squeeze' } ");
  expect_same(written(read(model)), model);
}

// Exporters write an Identity for what several layers share.
TEST(Lines, MayHaveKernelsAndVectorsThatAreComputed) {
  std::string convolution = kConv;
  convolution.replace(convolution.find("input: ['x', 'w', 'b']"), 22, "input: ['x', 'k', 'd']");
  const onnx::ModelProto model = model_of("input " + tensor("x", kLine) + "output " + tensor("c", kMade) +
                                          "node { input: 'w' output: 'k' name: 'kernel' op_type: 'Identity' } "
                                          "node { input: 'b' output: 'd' name: 'bias' op_type: 'Identity' } " +
                                          convolution);
  const Graph plain = read(model_of("input " + tensor("x", kLine) + "output " + tensor("c", kMade) + kConv));
  const Graph graph = read(model);
  const Tensor x = ramp();
  EXPECT_EQ(evaluate(graph, std::span(&x, 1))[0].to_doubles(), evaluate(plain, std::span(&x, 1))[0].to_doubles());
  expect_same(written(graph), model);
}

}  // namespace
}  // namespace reducenet
