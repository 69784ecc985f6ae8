#include "formats/onnx/onnx.h"

#include <cmath>

#include "formats/onnx/table.h"
#include "formats/onnx/testing.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

/// Largest difference of two graphs' outputs on the same input.
double difference(const Graph& a, const Graph& b) {
  std::vector<double> values(static_cast<size_t>(element_count(*a[a.inputs[0]].shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = 3 * std::sin(static_cast<double>(7 * i));
  const Tensor input = Tensor::from_doubles(*a[a.inputs[0]].shape, values);
  const auto x = evaluate(a, std::span(&input, 1)), y = evaluate(b, std::span(&input, 1));
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto u = x[i].to_doubles(), v = y[i].to_doubles();
    for (size_t k = 0; k < u.size(); ++k) largest = std::max(largest, std::abs(u[k] - v[k]));
  }
  return largest;
}

constexpr const char* kRelu = "node { input: 'x' output: 'y' name: 'relu' op_type: 'Relu' } ";
const std::string kSignature = "input " + info("x", {"batch", "3"}) + "output " + info("y", {"batch", "3"});

TEST(Onnx, RoundTripsEveryOpInEveryOperatorSet) {
  for (int64_t opset = 13; opset <= kNewestOpset; ++opset) {
    SCOPED_TRACE(opset);
    Graph graph = graph_of_every_op();
    graph.opset = opset;
    const Graph once = round_trip(graph);
    ASSERT_EQ(once.nodes.size(), graph.nodes.size());
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      EXPECT_EQ(once.nodes[i].name, graph.nodes[i].name);
      if (!std::holds_alternative<Fade>(graph.nodes[i].op)) {  // at λ = 1 it is its activation
        EXPECT_EQ(describe(once.nodes[i].op), describe(graph.nodes[i].op));
      }
    }
    EXPECT_LT(difference(graph, once), 1e-6);
    expect_equal(round_trip(once), once);
  }
}

TEST(Onnx, RoundTripsOpsOnIndicesInEveryOperatorSet) {
  for (int64_t opset = 18; opset <= kNewestOpset; ++opset) {
    SCOPED_TRACE(opset);
    const Graph graph = graph_of_index_ops(opset), once = round_trip(graph);
    ASSERT_EQ(once.nodes.size(), graph.nodes.size());
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      EXPECT_EQ(describe(once.nodes[i].op), describe(graph.nodes[i].op));
      EXPECT_EQ(once[once.nodes[i].outputs[0]].dtype, graph[graph.nodes[i].outputs[0]].dtype) << graph.nodes[i].name;
    }
    EXPECT_LT(difference(graph, once), 1e-6);
    expect_equal(round_trip(once), once);
  }
}

TEST(Onnx, ReadsSwishAsSilu) {
  const auto swish = [](const std::string& alpha) {
    return model_of(kSignature +
                        "node { input: 'x' output: 'y' name: 'swish' op_type: 'Swish' attribute { name: 'alpha' "
                        "type: FLOAT f: " +
                        alpha + " } } ",
                    "ir_version: 12 opset_import { version: 24 }");
  };
  const Graph graph = read(swish("1"));
  EXPECT_TRUE(graph.nodes[0].op == Op(Activation{Activation::Kind::silu}));
  expect_same(written(graph), swish("1"));
  EXPECT_TRUE(std::holds_alternative<Opaque>(read(swish("2")).nodes[0].op));
}

TEST(Onnx, BelievesTheModelOverAGuessedType) {
  const std::string type = "type { tensor_type { elem_type: 10 shape { dim { dim_value: 3 } } } }";
  const onnx::ModelProto model = model_of(
      "node { input: 'c' output: 'g' name: 'guess' op_type: 'Unknown' domain: 'other' } "
      "node { input: 'f' input: 'x' output: 'l' name: 'like' op_type: 'CastLike' } "
      "node { input: 'l' output: 'a' name: 'relu' op_type: 'Relu' } "
      "node { input: 'c' input: 'g' input: 'a' output: 'y' name: 'where' op_type: 'Where' } "
      "input { name: 'c' type { tensor_type { elem_type: 9 shape { dim { dim_value: 3 } } } } } "
      "input { name: 'f' type { tensor_type { elem_type: 1 shape { dim { dim_value: 3 } } } } } "
      "input { name: 'x' " +
          type + " } output { name: 'y' " + type + " }",
      "ir_version: 8 opset_import { version: 17 } opset_import { domain: 'other' version: 1 }");
  const Graph graph = read(model);
  EXPECT_EQ(graph[graph.nodes[2].outputs[0]].dtype, DType::f16);
  EXPECT_EQ(graph[graph.outputs[0]].dtype, DType::f16);
  expect_same(written(graph), model);
}

TEST(Onnx, FollowsTheIntegersThatShapesAreComputedWith) {
  // x.view(x.size(0), -1), as PyTorch writes it with a dynamic batch
  const Graph graph =
      read(model_of("input " + info("x", {"batch", "3", "2", "2"}) + "output " + info("y", {"n", "12"}) + R"(
    node { output: 'zero' op_type: 'Constant' attribute { name: 'value' type: TENSOR t { data_type: 7 int64_data: 0 } } }
    node { output: 'axes' op_type: 'Constant'
           attribute { name: 'value' type: TENSOR t { dims: 1 data_type: 7 int64_data: 0 } } }
    node { output: 'rest' op_type: 'Constant'
           attribute { name: 'value' type: TENSOR t { dims: 1 data_type: 7 int64_data: -1 } } }
    node { input: 'x' output: 'shape' op_type: 'Shape' }
    node { input: ['shape', 'zero'] output: 'size' op_type: 'Gather' attribute { name: 'axis' type: INT i: 0 } }
    node { input: ['size', 'axes'] output: 'n' op_type: 'Unsqueeze' }
    node { input: ['n', 'rest'] output: 'target' op_type: 'Concat' attribute { name: 'axis' type: INT i: 0 } }
    node { input: ['x', 'target'] output: 'y' op_type: 'Reshape' })"));
  EXPECT_EQ(graph[graph.find_value("y")].shape, (Shape{-1, 12}));  // the 12 is declared
  EXPECT_EQ(graph[graph.find_value("target")].dtype, DType::i64);
  Graph fixed = graph;
  set_batch(fixed, 5);
  EXPECT_EQ(fixed[fixed.find_value("y")].shape, (Shape{5, 12}));
  const Tensor input = Tensor::filled({2, 3, 2, 2}, 1);
  EXPECT_EQ(evaluate(graph, std::span(&input, 1))[0].shape(), (Shape{2, 12}));
}

TEST(Onnx, WritesActivationsThatAnOperatorSetLacksAsSequences) {
  using Kind = Activation::Kind;
  for (int64_t opset = 9; opset <= kNewestOpset; ++opset) {
    for (int kind = 0; kind <= static_cast<int>(Kind::hard_swish); ++kind) {
      const Activation activation = activation_named(name_of(static_cast<Kind>(kind)));
      SCOPED_TRACE(std::string(name_of(activation.kind)) + " in " + std::to_string(opset));
      GraphBuilder b("g");
      const ValueId x = b.activation("before", b.input("x", {2, 5}), {Kind::tanh});
      b.output(b.activation("after", b.activation("it", x, activation), {Kind::sigmoid}));
      Graph graph = std::move(b).finish();
      graph.opset = opset;
      const Graph back = round_trip(graph);
      EXPECT_EQ(back.nodes.size(), 3u);
      EXPECT_EQ(back.values.size(), 4u);
      EXPECT_EQ(describe(back.nodes[1].op), describe(graph.nodes[1].op));
      EXPECT_LT(difference(graph, back), 1e-7);
    }
  }
}

TEST(Onnx, DoesNotRecogniseASequenceWhoseInsideIsRead) {
  GraphBuilder b("g");
  const ValueId x = b.input("x", {2, 5});
  const ValueId gate = b.activation("gate", x, {Activation::Kind::sigmoid});
  b.output(b.node("product", Binary{Binary::Kind::mul}, {x, gate}));
  b.output(gate);
  const Graph graph = std::move(b).finish();
  EXPECT_EQ(print(round_trip(graph)), print(graph));
}

TEST(Onnx, WritesAFadeAsItsEndOrALeakyRelu) {
  const auto faded = [](Activation activation, double lambda) {
    GraphBuilder b("g");
    b.output(b.node("fade", Fade{"activation", activation, lambda}, {b.input("x", {2, 5})}));
    return std::move(b).finish();
  };
  using Kind = Activation::Kind;
  EXPECT_TRUE(round_trip(faded({Kind::gelu}, 0)).nodes[0].op == Op(Identity{}));
  EXPECT_TRUE(round_trip(faded({Kind::gelu}, 1)).nodes[0].op == Op(Activation{Kind::gelu}));
  for (const Activation activation : {Activation{Kind::relu}, Activation{Kind::leaky_relu, 0.5}}) {
    const Graph graph = faded(activation, 0.25);
    EXPECT_EQ(name_of(round_trip(graph).nodes[0].op), "LeakyRelu");
    EXPECT_LT(difference(graph, round_trip(graph)), 1e-15);
  }
  expect_error(ErrorKind::unsupported, {"node 'fade'", "gelu"}, [&] { to_onnx(faded({Kind::gelu}, 0.5)); });
}

TEST(Onnx, KeepsWhatAGraphHasNoPlaceFor) {
  const onnx::ModelProto model = model_of(
      kSignature + R"(
        node { input: 'x' output: 'h' name: 'first' op_type: 'Relu' doc_string: 'the first' }
        node { input: 'h' output: 'y' op_type: 'Twist' domain: 'com.example' attribute { name: 'a' type: INT i: 3 } }
        doc_string: 'of the graph' value_info )" +
          info("h", {"batch", "3"}) +
          "quantization_annotation { tensor_name: 'h' quant_parameter_tensor_names { key: 'SCALE' value: 's' } }",
      R"(ir_version: 8 producer_name: 'them' producer_version: '2' domain: 'org.example' model_version: 7
         doc_string: 'of the model' opset_import { domain: 'com.example' version: 3 } opset_import { version: 15 }
         metadata_props { key: 'names' value: '{}' } training_info { algorithm { name: 't' } }
         functions { name: 'F' domain: 'com.example' input: 'a' output: 'b' node { input: 'a' output: 'b' op_type: 'Abs' } })");
  const Graph graph = read(model);
  EXPECT_EQ(graph.opset, 15);
  EXPECT_EQ(graph.metadata.at("names"), "{}");
  EXPECT_EQ(graph.nodes[0].doc, "the first");
  EXPECT_EQ(graph[graph.inputs[0]].dim_names, (std::vector<std::string>{"batch", ""}));
  EXPECT_EQ(graph[graph.inputs[0]].shape, (Shape{-1, 3}));
  const auto& opaque = std::get<Opaque>(graph.nodes[1].op);
  EXPECT_EQ(opaque.domain + "." + opaque.type, "com.example.Twist");
  expect_same(written(graph), model);
}

TEST(Onnx, WritesWhatChangedOverWhatItKept) {
  Graph graph = read(model_of(kSignature + kRelu));
  set_batch(graph, 4);
  graph.metadata["names"] = "{}";
  onnx::ModelProto expected = model_of("input " + info("x", {"4", "3"}) + "output " + info("y", {"4", "3"}) + kRelu);
  auto& entry = *expected.add_metadata_props();
  entry.set_key("names");
  entry.set_value("{}");
  expect_same(written(graph), expected);
}

constexpr const char* kWeight = "initializer { dims: 3 data_type: 1 name: 'w' float_data: [1, 2, 3] } ";
constexpr const char* kAdd = "node { input: 'x' input: 'w' output: 'y' name: 'add' op_type: 'Add' } ";

TEST(Onnx, InitialisersThatAreInputsAreConstantsOnlyBeforeVersion4) {
  const std::string text = kSignature + kWeight + kAdd + "input " + info("w", {"3"});
  const std::string opset = " opset_import { version: 8 }";
  const onnx::ModelProto old = model_of(text, "ir_version: 3" + opset),
                         recent = model_of(text, "ir_version: 4" + opset);
  EXPECT_EQ(read(old).inputs.size(), 1u);
  EXPECT_TRUE(read(old)[read(old).find_value("w")].constant);
  const Graph graph = read(recent);
  EXPECT_EQ(graph.inputs.size(), 2u);
  EXPECT_EQ(graph.constant(graph.find_value("w")), nullptr);
  expect_same(written(graph), recent);
  EXPECT_EQ(written(read(old)).graph().input_size(), 2);
}

TEST(Onnx, ReadsEveryWayToStoreNumbers) {
  const Graph graph = read(model_of(kSignature + kRelu + R"(
    initializer { dims: 2 data_type: 10 name: 'f16' int32_data: [15360, 16384] }
    initializer { dims: 2 data_type: 16 name: 'bf16' raw_data: '\200\077\000\100' }
    initializer { dims: 2 data_type: 11 name: 'f64' double_data: [1, 2] }
    initializer { dims: 2 data_type: 7 name: 'i64' int64_data: [1, 2] }
    initializer { dims: 2 data_type: 3 name: 'i8' int32_data: [1, 2] }
    initializer { dims: 2 data_type: 12 name: 'u32' uint64_data: [1, 2] }
    initializer { dims: 2 data_type: 9 name: 'text' raw_data: '\001\001' }
    initializer { dims: 0 data_type: 1 name: 'empty' }
    node { output: 'ints' op_type: 'Constant' attribute { name: 'value_ints' type: INTS ints: [1, 2] } }
    node { output: 'floats' op_type: 'Constant' attribute { name: 'value_floats' type: FLOATS floats: [1, 2] } }
    node { output: 'value' op_type: 'Constant'
           attribute { name: 'value' type: TENSOR t { dims: 2 data_type: 6 int32_data: [1, 2] } } })"));
  for (const char* name : {"f16", "bf16", "f64", "i64", "i8", "u32", "ints", "floats", "value"}) {
    ASSERT_NE(graph.constant(graph.find_value(name)), nullptr) << name;
    EXPECT_EQ(graph.constant(graph.find_value(name))->to_doubles(), (std::vector<double>{1, 2})) << name;
  }
  EXPECT_EQ(graph.constant(graph.find_value("empty"))->size(), 0);
}

TEST(Onnx, StringsTravelAsTheyAre) {
  const onnx::ModelProto model = model_of(kSignature + kRelu + R"(
    initializer { dims: 1 data_type: 8 name: 's' string_data: 'text' }
    sparse_initializer { values { dims: 1 data_type: 1 name: 'p' float_data: 1 }
                         indices { dims: 1 data_type: 7 int64_data: 2 } dims: 5 })");
  expect_same(written(read(model)), model);
}

TEST(Onnx, ResolvesAutomaticPadding) {
  const auto conv = [](const std::string& height, const std::string& attributes) {
    return read(model_of("input " + info("x", {"1", "1", height, "8"}) + "output { name: 'y' }" +
                         "initializer { dims: [1, 1, 3, 2] data_type: 1 name: 'w' float_data: [1, 2, 3, 4, 5, 6] }"
                         "node { input: 'x' input: 'w' output: 'y' name: 'conv' op_type: 'Conv' " +
                         attributes + "}"))
        .nodes[0]
        .op;
  };
  const std::string stride = "attribute { name: 'strides' type: INTS ints: [2, 1] }";
  const auto automatic = [](const std::string& kind) {
    return "attribute { name: 'auto_pad' type: STRING s: '" + kind + "' }";
  };
  EXPECT_EQ(std::get<Conv2d>(conv("7", automatic("SAME_UPPER"))).padding, (Padding{1, 0, 1, 1}));
  EXPECT_EQ(std::get<Conv2d>(conv("7", automatic("SAME_LOWER"))).padding, (Padding{1, 1, 1, 0}));
  EXPECT_EQ(std::get<Conv2d>(conv("8", automatic("SAME_UPPER") + stride)).padding, (Padding{0, 0, 1, 1}));
  EXPECT_EQ(std::get<Conv2d>(conv("8", automatic("VALID"))).padding, Padding{});
  EXPECT_EQ(std::get<Conv2d>(conv("h", automatic("SAME_UPPER"))).padding, (Padding{1, 0, 1, 1}));
  EXPECT_NE(std::get<Opaque>(conv("h", automatic("SAME_UPPER") + stride)).why.find("auto_pad"), std::string::npos);
}

// As PyTorch writes them: what follows from constants and shapes becomes part of the op, and is written back as it
// came.
TEST(Onnx, ReadsPaddingsThatAreComputedFromConstants) {
  const std::string pad = "node { input: ['x', 'pads'] output: 'y' name: 'pad' op_type: 'Pad' }";
  const std::string halves =
      "initializer { dims: 4 data_type: 7 name: 'begin' int64_data: [0, 0, 1, 2] }"
      "initializer { dims: 4 data_type: 7 name: 'end' int64_data: [0, 0, 3, 4] }"
      "node { input: ['begin', 'end'] output: 'pads' name: 'join' op_type: 'Concat'"
      " attribute { name: 'axis' type: INT i: 0 } }";
  const std::string image = "input " + info("x", {"1", "1", "8", "8"}) + "output " + info("y", {"1", "1", "12", "14"});
  const onnx::ModelProto computed = model_of(image + halves + pad);
  const Graph graph = read(computed);
  const auto* op = std::get_if<Pad>(&graph.nodes.at(1).op);
  ASSERT_TRUE(op) << describe(graph.nodes[1].op);
  EXPECT_EQ(op->begin, (std::vector<int64_t>{0, 0, 1, 2}));
  EXPECT_EQ(op->end, (std::vector<int64_t>{0, 0, 3, 4}));
  expect_same(written(graph), computed);
  const Graph given = read(model_of(
      image + "input { name: 'pads' type { tensor_type { elem_type: 7 shape { dim { dim_value: 8 } } } } }" + pad));
  EXPECT_NE(std::get<Opaque>(given.nodes.at(0).op).why.find("not constant"), std::string::npos);
}

TEST(Onnx, FoldsPadsThatAreComputedFromConstants) {
  // [0, 1] reversed by a slice to the least end but one, as PyTorch reverses lists of pads
  const onnx::ModelProto model = model_of("input " + info("x", {"2"}) + "output " + info("y", {"3"}) + R"(
    node { output: 'list' op_type: 'Constant' attribute { name: 'value' type: TENSOR t { dims: 2 data_type: 7 int64_data: [0, 1] } } }
    node { output: 'last' op_type: 'Constant' attribute { name: 'value' type: TENSOR t { dims: 1 data_type: 7 int64_data: -1 } } }
    node { output: 'end' op_type: 'Constant'
           attribute { name: 'value' type: TENSOR t { dims: 1 data_type: 7 int64_data: -9223372036854775807 } } }
    node { output: 'zero' op_type: 'Constant' attribute { name: 'value' type: TENSOR t { dims: 1 data_type: 7 int64_data: 0 } } }
    node { input: ['list', 'last', 'end', 'zero', 'last'] output: 'pads' op_type: 'Slice' }
    node { input: ['x', 'pads'] output: 'y' op_type: 'Pad' })");
  const Graph graph = read(model);
  ASSERT_TRUE(std::holds_alternative<Pad>(graph.nodes.back().op)) << print(graph);
  EXPECT_EQ(std::get<Pad>(graph.nodes.back().op).begin, (std::vector<int64_t>{1}));
  const Tensor x = Tensor::filled({2}, 3);
  EXPECT_EQ(evaluate(graph, std::span(&x, 1))[0].to_doubles(), (std::vector<double>{0, 3, 3}));
  expect_same(written(graph), model);
}

/// The one node, which reads a 1x2x3x4 image and constants.
Graph graph_of_one(const std::string& type, const std::string& inputs, const std::string& attributes) {
  const std::string list =
      " data_type: 7 name: 'two' dims: 2 int64_data: [2, 3] } initializer { data_type: 7 name: 'four' dims: 4 "
      "int64_data: [1, 2, 3, 0] }";
  return read(model_of("input " + info("x", {"1", "2", "3", "4"}) +
                           "output { name: 'y' type { tensor_type { elem_type: 1 } } } initializer {" + list +
                           " initializer { data_type: 1 name: 'scales' dims: 2 float_data: [4, 2] } initializer { "
                           "data_type: 1 name: 'w' dims: [2, 1, 3, 2] float_data: [" +
                           "1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6] } node { input: ['x', " + inputs +
                           "] output: 'y' name: 'n' op_type: '" + type + "' " + attributes + "}",
                       "ir_version: 8 opset_import { version: 18 }"));
}

TEST(Onnx, ReadsPadsAndScalesOfSomeAxes) {
  const Graph pad = graph_of_one("Pad", "'four', '', 'two'", "");
  EXPECT_TRUE(pad.nodes[0].op == Op(Pad{.begin = {0, 0, 1, 2}, .end = {0, 0, 3, 0}})) << describe(pad.nodes[0].op);
  const Graph resize = graph_of_one("Resize", "'', 'scales'", "attribute { name: 'axes' type: INTS ints: [-1, 2] } ");
  EXPECT_EQ(resize.constant(resize.nodes[0].inputs[2])->to_doubles(), (std::vector<double>{1, 1, 2, 4}));
  EXPECT_EQ(*resize[resize.outputs[0]].shape, (Shape{1, 2, 6, 16}));
  const Graph sizes = graph_of_one("Resize", "'', '', 'two'", "attribute { name: 'axes' type: INTS ints: [2, 3] } ");
  EXPECT_EQ(*sizes[sizes.outputs[0]].shape, (Shape{1, 2, 2, 3}));
}

TEST(Onnx, PadsTransposedConvolutionsToTheirOutput) {
  const auto padding = [](const std::string& attributes) {
    const Graph graph =
        graph_of_one("ConvTranspose", "'w'", "attribute { name: 'strides' type: INTS ints: [2, 1] } " + attributes);
    const auto* const op = std::get_if<ConvTranspose2d>(&graph.nodes[0].op);
    return op ? std::pair(op->padding, op->output_padding) : std::pair(Padding{-1, -1, -1, -1}, Size2{});
  };
  const auto automatic = [&](const std::string& mode) {
    return padding("attribute { name: 'auto_pad' type: STRING s: '" + mode + "' } ");
  };
  // The kernel is 3x2: a row and a column too many.
  EXPECT_EQ(automatic("SAME_UPPER"), std::pair(Padding({0, 0, 1, 1}), Size2({0, 0})));
  EXPECT_EQ(automatic("SAME_LOWER"), std::pair(Padding({1, 1, 0, 0}), Size2({0, 0})));
  const auto to_size = [&](const std::string& size) {
    return padding("attribute { name: 'output_shape' type: INTS ints: [" + size + "] } ");
  };
  EXPECT_EQ(to_size("5, 4"), std::pair(Padding({1, 1, 1, 0}), Size2({0, 0})));
  EXPECT_EQ(to_size("8, 5"), std::pair(Padding({0, 0, 0, 0}), Size2({1, 0})));
  EXPECT_EQ(to_size("9, 5").first.top, -1);  // beyond what the kernel reaches
}

TEST(Onnx, SaysWhyANodeStaysOpaque) {
  const auto why = [](const std::string& node, const std::string& rest = "ir_version: 8 opset_import { version: 17 }") {
    std::string constants;
    for (const char* name : {"a", "b", "c", "d"}) {
      constants += "initializer { dims: 3 data_type: 1 name: '" + std::string(name) + "' float_data: [1, 2, 3] } ";
    }
    const Graph graph = read(model_of(kSignature + constants + "node { input: 'x' output: 'y' " + node + "}", rest));
    const auto* opaque = std::get_if<Opaque>(&graph.nodes[0].op);
    return opaque ? opaque->why : "understood as " + describe(graph.nodes[0].op);
  };
  const std::string norm = "op_type: 'BatchNormalization' input: ['a', 'b', 'c', 'd'] ";
  EXPECT_EQ(why(norm), "understood as BatchNormalization eps 1e-05");
  EXPECT_NE(why(norm + "attribute { name: 'training_mode' type: INT i: 1 } output: ['m', 'v']").find("model.eval()"),
            std::string::npos);
  EXPECT_NE(why(norm + "output: ['m', 'v']", "ir_version: 8 opset_import { version: 9 }").find("model.eval()"),
            std::string::npos);
  EXPECT_NE(why("op_type: 'Relu' attribute { name: 'slope' type: INT i: 1 }").find("slope"), std::string::npos);
  EXPECT_NE(why("op_type: 'Relu'", "ir_version: 8 opset_import { version: 99 }").find("99"), std::string::npos);
  EXPECT_NE(why("op_type: 'Relu' domain: 'com.example'").find("not an operator"), std::string::npos);
}

}  // namespace
}  // namespace reducenet
