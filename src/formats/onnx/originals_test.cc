#include "formats/onnx/originals.h"

#include "formats/native.h"
#include "formats/onnx/testing.h"

namespace reducenet {
namespace {

/// From x [3] to y.
onnx::ModelProto network_of(const std::string& graph, const std::string& rest) {
  return model_of(
      "input { name: 'x' type { tensor_type { elem_type: 1 shape { dim { dim_value: 3 } } } } }"
      "output { name: 'y' type { tensor_type { elem_type: 1 } } } " +
          graph,
      rest);
}

// Bounds as initialiser and Constant node, read twice; SiLU as a sequence around another node; typed numbers; defaults
// that are not written; attributes in an unusual order; an unread constant.
const std::string kNodes = R"(
  initializer { dims: 3 data_type: 1 name: 'w' float_data: [1, 2, 3] doc_string: 'weights' }
  initializer { data_type: 1 name: 'low' raw_data: '\000\000\000\000' }
  initializer { dims: 2 data_type: 7 name: 'unread' int64_data: [4, 5] }
  node { output: 'high' name: 'c' op_type: 'Constant'
         attribute { name: 'value' type: TENSOR t { data_type: 1 float_data: 4 } } doc_string: 'bound' }
  node { output: 'v' op_type: 'Constant' attribute { name: 'value_floats' type: FLOATS floats: [1, 2, 3] } }
  node { input: ['x', 'low', 'high'] output: 'a' name: 'first' op_type: 'Clip' }
  node { input: 'a' output: 'gate' name: 'sigmoid' op_type: 'Sigmoid' }
  node { input: ['a', 'v'] output: 'b' name: 'between' op_type: 'Add' }
  node { input: ['a', 'gate'] output: 's' name: 'silu' op_type: 'Mul' }
  node { input: ['s', 'low', 'high'] output: 't' name: 'second' op_type: 'Clip' }
  node { input: 'b' output: 'r' op_type: 'LeakyRelu' name: 'leaky' }
  node { input: ['t', 'r'] output: 'u' op_type: 'Add' name: 'sum' }
  node { input: ['u', 'w'] output: 'y' op_type: 'Mul' name: 'scale' }
  value_info { name: 'gate' type { tensor_type { elem_type: 1 shape { dim { dim_value: 3 } } } } }
)";
const std::string kHeader =
    "ir_version: 8 opset_import { version: 17 } producer_name: 'p' metadata_props { key: 'z' value: '1' } "
    "metadata_props { key: 'a' value: '2' } ";

TEST(OnnxOriginals, WhatIsUnchangedComesBackFieldForField) {
  const onnx::ModelProto model = network_of(kNodes, kHeader);
  const Graph graph = read(model);
  EXPECT_EQ(graph.nodes.size(), 7u);
  EXPECT_TRUE(graph[graph.find_node("silu")].op == Op(Activation{Activation::Kind::silu}));
  EXPECT_TRUE(same(written(graph), model)) << written(graph).DebugString();
  EXPECT_TRUE(same(written(from_native(to_native(graph), "m.safetensors")), model));
}

// A sequence of several nodes, in a network of which something else has changed.
TEST(OnnxOriginals, ASequenceKeepsItsOrder) {
  Graph graph = read(network_of(R"(
    initializer { data_type: 1 name: 'root' float_data: 1.4142135 }
    initializer { data_type: 1 name: 'one' float_data: 1 }
    initializer { data_type: 1 name: 'half' float_data: 0.5 }
    node { input: 'x' output: 'l' op_type: 'LeakyRelu' name: 'leaky' }
    node { input: ['l', 'root'] output: 'd' op_type: 'Div' name: 'div' }
    node { input: 'd' output: 'e' op_type: 'Erf' name: 'erf' }
    node { input: ['e', 'one'] output: 'a' op_type: 'Add' name: 'add' }
    node { input: ['l', 'a'] output: 'm' op_type: 'Mul' name: 'mul' }
    node { input: ['m', 'half'] output: 'y' op_type: 'Mul' name: 'gelu' })",
                                kHeader));
  ASSERT_EQ(graph.nodes.size(), 2u);
  std::get<Activation>(graph[graph.find_node("leaky")].op).alpha = 0.5;
  EXPECT_EQ(written(graph).graph().node_size(), 6);
}

TEST(OnnxOriginals, OnlyWhatChangedIsWrittenAnew) {
  Graph graph = read(network_of(kNodes, kHeader));
  std::get<Activation>(graph[graph.find_node("leaky")].op).alpha = 0.5;
  const onnx::ModelProto model = written(graph);
  int clips = 0, slopes = 0, constants = 0;
  for (const auto& node : model.graph().node()) {
    clips += node.op_type() == "Clip" && node.input(1) == "low" && node.input(2) == "high";
    constants += node.op_type() == "Constant";
    slopes += node.op_type() == "LeakyRelu" && node.attribute_size() == 1 && node.attribute(0).f() == 0.5f;
    for (const auto& attribute : node.attribute()) EXPECT_FALSE(attribute.name().starts_with("reducenet"));
  }
  EXPECT_EQ(clips, 2);
  EXPECT_EQ(constants, 2);
  EXPECT_EQ(slopes, 1);
  Graph back = read(model);
  back.metadata = graph.metadata;
  expect_equal(back, graph);
}

TEST(OnnxOriginals, AChangedActivationIsNotWrittenAsItsOldSequence) {
  Graph graph = read(network_of(kNodes, kHeader));
  graph[graph.find_node("silu")].op = Activation{Activation::Kind::relu};
  const onnx::ModelProto model = written(graph);
  for (const auto& node : model.graph().node()) EXPECT_NE(node.op_type(), "Sigmoid");
}

TEST(OnnxOriginals, ANameThatWasGivenAwayIsNotUsedTwice) {
  Graph graph = read(network_of(kNodes, kHeader));
  for (const char* name : {"gate", "low"}) {
    Graph other = graph;
    other[other.find_value("b")].name = name;
    const onnx::ModelProto model = written(other);
    Graph back = read(model);  // throws when a name is defined twice
    EXPECT_EQ(back.nodes.size(), graph.nodes.size());
    EXPECT_TRUE(back[back.find_node("first")].op == graph[graph.find_node("first")].op);
  }
}

TEST(OnnxOriginals, BeforeVersion4EveryInitialiserIsAnInput) {
  const onnx::ModelProto model = network_of(
      "initializer { data_type: 1 name: 'low' float_data: 0 } initializer { data_type: 1 name: 'high' float_data: 4 }"
      "input { name: 'low' type { tensor_type { elem_type: 1 shape { } } } }"
      "input { name: 'high' type { tensor_type { elem_type: 1 shape { } } } }"
      "node { input: ['x', 'low', 'high'] output: 'y' name: 'clip' op_type: 'Clip' }",
      "ir_version: 3 opset_import { version: 11 }");
  Graph graph = read(model);
  EXPECT_TRUE(same(written(graph), model)) << written(graph).DebugString();
  std::get<Activation>(graph.nodes[0].op).beta = 5;
  const onnx::ModelProto changed = written(graph);
  ASSERT_EQ(changed.graph().initializer_size(), 2);
  EXPECT_EQ(changed.graph().input_size(), 3);
}

}  // namespace
}  // namespace reducenet
