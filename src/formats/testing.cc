#include "formats/testing.h"

#include <map>

namespace reducenet {
namespace {

std::vector<std::string> names(const Graph& graph, const std::vector<ValueId>& ids) {
  std::vector<std::string> list;
  for (const ValueId id : ids) list.push_back(id ? graph[id].name : "");
  return list;
}

}  // namespace

void expect_equal(const Graph& a, const Graph& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.opset, b.opset);
  EXPECT_EQ(a.metadata, b.metadata);
  EXPECT_EQ(names(a, a.inputs), names(b, b.inputs));
  EXPECT_EQ(names(a, a.outputs), names(b, b.outputs));
  std::map<std::string, const Value*> values;
  for (const Value& value : b.values) values[value.name] = &value;
  EXPECT_EQ(a.values.size(), b.values.size());
  for (const Value& x : a.values) {
    const auto found = values.find(x.name);
    ASSERT_NE(found, values.end()) << x.name;
    const Value& y = *found->second;
    EXPECT_EQ(x.dtype, y.dtype) << x.name;
    EXPECT_EQ(x.shape, y.shape) << x.name;
    EXPECT_EQ(x.dim_names, y.dim_names) << x.name;
    EXPECT_TRUE(x.constant == y.constant) << x.name;
  }
  ASSERT_EQ(a.nodes.size(), b.nodes.size());
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const Node &x = a.nodes[i], &y = b.nodes[i];
    EXPECT_EQ(x.name, y.name);
    EXPECT_TRUE(x.op == y.op) << x.name << ": " << describe(x.op) << " against " << describe(y.op);
    EXPECT_EQ(names(a, x.inputs), names(b, y.inputs)) << x.name;
    EXPECT_EQ(names(a, x.outputs), names(b, y.outputs)) << x.name;
    EXPECT_EQ(x.doc, y.doc) << x.name;
  }
}

Graph graph_of_every_op() {
  using Kind = Activation::Kind;
  GraphBuilder b("every op", 7);
  const ValueId x = b.input("x", {2, 4, 9, 8});
  const auto vector = [&](const std::string& name, std::vector<int64_t> values) {
    return b.constant(name, Tensor::of({static_cast<int64_t>(values.size())}, values));
  };

  ValueId y =
      b.conv("conv", x, 8, {3, 2}, {.stride = {2, 1}, .padding = {1, 0, 2, 1}, .dilation = {1, 2}, .groups = 2});
  y = b.batch_norm("bn", y);
  y = b.conv("conv.bias", y, 4, {1, 1}, {}, true);
  const ValueId transposed_weight = b.constant("deconv.weight", Tensor::filled({4, 3, 2, 3}, 0.25));
  y = b.node("deconv",
             ConvTranspose2d{.stride = {2, 1}, .padding = {0, 1, 1, 0}, .output_padding = {1, 0}, .groups = 2},
             {y, transposed_weight});
  y = b.node("prelu", PRelu{}, {y, b.constant("slope", Tensor::filled({6, 1, 1}, 0.1))});
  y = b.fade("fade", y, {Kind::leaky_relu, 0.2});
  for (int kind = 0; kind <= static_cast<int>(Kind::clip); ++kind) {
    Activation activation = activation_named(name_of(static_cast<Kind>(kind)));
    if (activation.kind == Kind::clip) activation = {Kind::clip, -0.5, 1.0 / 3};
    y = b.activation("activation." + std::to_string(kind), y, activation);
  }
  for (int kind = 0; kind <= static_cast<int>(Binary::Kind::max); ++kind) {
    const ValueId other = b.constant("operand." + std::to_string(kind), Tensor::filled({6, 1, 1}, 1.5));
    y = b.node("binary." + std::to_string(kind), Binary{static_cast<Binary::Kind>(kind)}, {y, other});
  }
  for (int kind = 0; kind <= static_cast<int>(Unary::Kind::cos); ++kind) {
    y = b.node("unary." + std::to_string(kind), Unary{static_cast<Unary::Kind>(kind)}, {y});
  }
  y = b.node("pad", Pad{Pad::Mode::constant, {0, 0, 1, 2}, {0, 0, 2, 1}, 0.5}, {y});
  y = b.node("pad.reflect", Pad{Pad::Mode::reflect, {0, 0, 1, 0}, {0, 0, 0, 1}}, {y});
  y = b.node("pad.edge", Pad{Pad::Mode::edge, {0, 0, 1, 0}, {0, 0, 0, 1}}, {y});
  y = b.node("average", AveragePool{{3, 2}, {1, 2}, {1, 0, 1, 1}, true, true}, {y});
  y = b.node("maximum", MaxPool{{2, 2}, {2, 1}, {0, 1, 1, 0}, {1, 1}, true}, {y});
  y = b.node("concat", Concat{1}, {y, y});
  y = b.node("transpose", Transpose{{0, 2, 1, 3}}, {y});
  y = b.node("transpose.back", Transpose{{0, 2, 1, 3}}, {y});
  y = b.node("dropout", Dropout{0.25}, {y});
  y = b.node("identity", Identity{}, {y});
  const ValueId pooled = b.node("pool", GlobalAveragePool{}, {y});
  ValueId z = b.node("flatten", Flatten{1}, {pooled});
  z = b.gemm("fc", z, 6);
  z = b.node("gemm", Gemm{0.5, 2, false, false}, {z, b.constant("gemm.b", Tensor::filled({6, 5}, 0.1))});
  z = b.node("reshape", Reshape{}, {z, vector("reshape.shape", {2, 5, 1})});
  z = b.node("matmul", MatMul{}, {z, b.constant("matmul.b", Tensor::filled({1, 3}, 2))});
  z = b.node("softmax", Softmax{-1}, {z});
  z = b.node("log_softmax", Softmax{1, true}, {z});
  b.output(z);
  b.output(pooled);
  return std::move(b).finish();
}

Graph graph_of_index_ops(int64_t opset) {
  GraphBuilder b("index ops", 3);
  const ValueId x = b.input("x", {2, 4, 6, 6});
  const auto list = [&](const std::string& name, std::vector<int64_t> values) {
    return b.constant(name, Tensor::of({static_cast<int64_t>(values.size())}, values));
  };
  const auto ones = [&](const std::string& name, Shape shape) { return b.constant(name, Tensor::filled(shape, 1.25)); };
  ValueId y = b.node("layer", Normalize{Normalize::Kind::layer, 1e-3, -1}, {x, ones("ls", {6}), ones("lb", {6})});
  y = b.node("instance", Normalize{Normalize::Kind::instance}, {y, ones("is", {4}), ones("ib", {4})});
  const bool per_group = opset < 21;
  const Shape parameters{per_group ? 2 : 4};
  y = b.node("group", Normalize{Normalize::Kind::group, 1e-5, -1, 2, per_group},
             {y, ones("gs", parameters), ones("gb", parameters)});
  y = b.node("lrn", Lrn{3, 0.5, 0.75, 2}, {y});
  y = b.node("slice", Slice{}, {y, list("starts", {5}), list("ends", {0}), list("axes", {3}), list("steps", {-1})});
  y = b.node("split", SplitAxis{1}, {y, list("sizes", {4})});
  y = b.node("gather", Gather{2}, {y, list("indices", {0, -1, 2, 1})});
  y = b.node("scatter", ScatterNd{},
             {y, b.constant("places", Tensor::of({1, 2}, std::vector<int64_t>{0, -1})), ones("put", {1, 4, 5})});
  y = b.node("unsqueeze", Squeeze{true}, {y, list("new", {1})});
  y = b.node("squeeze", Squeeze{}, {y, list("old", {1})});
  y = b.node("tile", Repeat{Repeat::Kind::tile}, {y, list("repeats", {1, 1, 2, 2})});
  y = b.node("expand", Repeat{}, {y, list("target", {2, 4, 8, 10})});
  y = b.node("deep", SpaceDepth{SpaceDepth::Kind::space_to_depth, 2}, {y});
  y = b.node("wide", SpaceDepth{SpaceDepth::Kind::depth_to_space_crd, 2}, {y});
  y = b.node("resize", Resize{Resize::Mode::linear, Resize::Coordinates::align_corners},
             {y, ValueId{}, ValueId{}, list("resized", {2, 4, 5, 7})});
  y = b.node("hardmax", Hardmax{1}, {b.node("sum", Variadic{Variadic::Kind::sum}, {y, y, y})});
  const ValueId top = b.node("top", TopK{-1, true}, {y, list("k", {3})});
  const ValueId index = b.node("index", Cast{DType::f32}, {b.node("arg", ArgReduce{true, 2, true, true}, {top})});
  const ValueId near = b.node("near", Compare{Compare::Kind::less}, {top, index});
  y = b.node("where", Where{}, {b.node("not", Unary{Unary::Kind::logical_not}, {near}), top, index});
  for (int kind = 0; kind <= static_cast<int>(Reduce::Kind::log_sum_exp); ++kind) {
    const Reduce op{static_cast<Reduce::Kind>(kind), {}, kind % 2 == 0};
    b.output(b.node("reduce." + std::to_string(kind), op, {y, list("reduced." + std::to_string(kind), {3, 2})}));
  }
  const ValueId shape = b.node("shape", ShapeOf{false, 1, 3}, {y});
  b.output(b.node("filled", ConstantOfShape{2, DType::i64}, {shape}));
  const auto whole = [&](const std::string& name, int64_t value) {
    return b.constant(name, Tensor::of({}, std::vector<int64_t>{value}));
  };
  b.output(b.node("range", Arange{}, {whole("from", 1), whole("to", 9), whole("step", 3)}));
  b.output(b.node("highest", GlobalMaxPool{}, {x}));
  Graph graph = std::move(b).finish();
  graph.opset = opset;
  return graph;
}

}  // namespace reducenet
