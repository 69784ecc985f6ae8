#include "train/imported.h"

#include "reducenet/builder.h"
#include "reducenet/formats.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

constexpr int64_t kSide = 8, kClasses = 10;

class Imported : public Run {
 protected:
  /// The network of the file for ten classes of images.
  Graph imported(const Graph& graph, bool batch_norm = false) {
    save(graph, out("model.onnx"));
    Recipe recipe;
    recipe.model.arch = "import";
    recipe.model.batch_norm = batch_norm;
    return import_network(recipe, out("model.onnx"), generate_images(20, 1, kSide), kClasses);
  }
  void refused(const Graph& graph, const char* why) {
    try {
      imported(graph);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported);
      expect_contains(error.what(), why);
    }
  }
};

Shape shape_of(const Graph& graph, const char* value) {
  return *graph[graph.find_value(value)].shape;
}

TEST_F(Imported, AMatrixAtTheEndIsReplaced) {
  const Graph graph = imported(build("softmax", {.height = kSide, .width = kSide, .classes = 7}));
  EXPECT_EQ(shape_of(graph, "fc.weight"), (Shape{kClasses, 3 * kSide * kSide}));
  EXPECT_EQ(shape_of(graph, "fc.bias"), (Shape{kClasses}));
  EXPECT_EQ(graph[graph.outputs[0]].shape->back(), kClasses);
}

TEST_F(Imported, ACastToTheSameTypeGoes) {
  const auto cast_to = [](DType type) {
    GraphBuilder b("cast", 3);
    const ValueId x =
        b.node("cast", Cast{type}, {b.conv("conv", b.input("image", {-1, 3, kSide, kSide}), 4, {3, 3}, {})});
    b.output(b.gemm("fc", b.node("flatten", Flatten{}, {x}), kClasses));
    return std::move(b).finish();
  };
  const Graph graph = imported(cast_to(DType::f32));
  EXPECT_TRUE(
      std::ranges::none_of(graph.nodes, [](const Node& node) { return std::holds_alternative<Cast>(node.op); }));
  refused(cast_to(DType::f16), "Cast");
}

TEST_F(Imported, AKernelComputedFromWeightsLearnsAsItIs) {
  GraphBuilder b("standardised", 3);
  const ValueId x = b.input("image", {-1, 3, kSide, kSide});
  const ValueId scale = b.constant("scale", Tensor::filled({4, 1, 1, 1}, 0.5));
  const ValueId kernel =
      b.node("kernel", Binary{Binary::Kind::mul}, {b.constant("raw", Tensor::filled({4, 3, 3, 3}, 3)), scale});
  const ValueId y = b.node("conv", Conv2d{.padding = {1, 1, 1, 1}}, {x, kernel});
  b.output(b.gemm("fc", b.node("flatten", Flatten{}, {y}), kClasses));
  const Graph graph = imported(std::move(b).finish());
  const Tensor* const settled = graph.constant(graph[graph.find_node("conv")].inputs[1]);
  ASSERT_NE(settled, nullptr);
  EXPECT_EQ(*settled, Tensor::filled({4, 3, 3, 3}, 1.5));
  EXPECT_FALSE(graph.find_node("kernel"));
}

/// A product, a sum and a Softmax, as Paddle and Keras export heads.
Graph probabilities(int64_t classes) {
  GraphBuilder b("probabilities", 3);
  const ValueId x =
      b.node("flatten", Flatten{}, {b.conv("conv", b.input("image", {-1, 3, kSide, kSide}), 2, {kSide, kSide}, {})});
  std::vector<float> weight(static_cast<size_t>(2 * classes)), bias(static_cast<size_t>(classes));
  for (size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i % 5) - 2;
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i) / 4;
  const ValueId y =
      b.node("product", MatMul{}, {x, b.constant("w", Tensor::of({2, classes}, std::span<const float>(weight)))});
  const ValueId z = b.add("sum", y, b.constant("b", Tensor::of({classes}, std::span<const float>(bias))));
  b.output(b.node("named", Identity{}, {b.node("softmax", Softmax{.axis = 1}, {z})}));
  return std::move(b).finish();
}

TEST_F(Imported, ASoftmaxAtTheEndGoes) {
  const Graph before = probabilities(kClasses), graph = imported(before);
  EXPECT_TRUE(std::ranges::none_of(graph.nodes, [](const Node& n) { return std::holds_alternative<Softmax>(n.op); }));
  EXPECT_TRUE(std::ranges::any_of(graph.nodes, [](const Node& n) { return std::holds_alternative<Gemm>(n.op); }));
  std::vector<float> pixels(3 * kSide * kSide);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(i % 7) / 7;
  const std::vector inputs{Tensor::of({1, 3, kSide, kSide}, std::span<const float>(pixels))};
  const std::vector<double> p = evaluate(before, inputs).at(0).to_doubles();
  std::vector<double> logits = evaluate(graph, inputs).at(0).to_doubles();
  double sum = 0;
  for (double& value : logits) sum += value = std::exp(value);
  for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(logits[i] / sum, p[i], 1e-6);
}

TEST_F(Imported, AProductAndASumAtTheEndAreReplaced) {
  const Graph graph = imported(probabilities(7));
  EXPECT_EQ(shape_of(graph, "w"), (Shape{2, kClasses}));
  EXPECT_EQ(graph[graph.outputs[0]].shape->back(), kClasses);
}

TEST_F(Imported, SoIsAConvolutionWhoseAnswersArePooled) {
  GraphBuilder b("fire", 1);
  ValueId x = b.conv("squeeze", b.input("image", {-1, 3, kSide, kSide}), 5, {3, 3}, {}, true);
  x = b.conv("classifier", b.activation("act", x, {Activation::Kind::relu}), 7, {1, 1}, {}, true);
  x = b.node("pool", GlobalAveragePool{}, {b.activation("scores", x, {Activation::Kind::relu})});
  b.output(b.node("flatten", Flatten{}, {x}));
  const Graph graph = imported(std::move(b).finish());
  EXPECT_EQ(shape_of(graph, "squeeze.weight"), (Shape{5, 3, 3, 3}));
  EXPECT_EQ(shape_of(graph, "classifier.weight"), (Shape{kClasses, 5, 1, 1}));
  EXPECT_EQ(shape_of(graph, "classifier.bias"), (Shape{kClasses}));
  EXPECT_EQ(graph[graph.outputs[0]].shape->back(), kClasses);
}

/// Ten channels of a conv 3×3 without padding, resized to `side` with the batch as it comes, pooled.
Graph resizing(int64_t side) {
  GraphBuilder b("resizing", 1);
  const ValueId x = b.conv("conv", b.input("image", {-1, 3, kSide, kSide}), kClasses, {3, 3}, {});
  const ValueId counts = b.node("counts", ShapeOf{.start = 0, .end = 2}, {x});
  const ValueId plane = b.constant("plane", Tensor::of({2}, std::vector<int64_t>{side, side}));
  const ValueId sizes = b.node("sizes", Concat{.axis = 0}, {counts, plane});
  const ValueId none = b.constant("none", Tensor::filled({0}, 0));
  const ValueId y = b.node("resize", Resize{.mode = Resize::Mode::linear}, {x, none, none, sizes});
  b.output(b.node("flatten", Flatten{}, {b.node("pool", GlobalAveragePool{}, {y})}));
  return std::move(b).finish();
}

TEST_F(Imported, SizesWithAnOpenBatchAreScalesWhereTheseAreExact) {
  const Graph graph = imported(resizing(9));  // 6 → 9
  const Node& resize = graph[graph.find_node("resize")];
  ASSERT_EQ(resize.inputs.size(), 3);
  EXPECT_EQ(graph.constant(resize.inputs[2])->to_doubles(), (std::vector<double>{1, 1, 1.5, 1.5}));
  EXPECT_EQ(shape_of(graph, "resize"), (Shape{-1, kClasses, 9, 9}));
  refused(resizing(7), "node 'counts' (Shape) cannot be trained");  // 6 → 7
}

TEST_F(Imported, NewBatchNormsStandBehindConvolutionsAndChangeNothing) {
  GraphBuilder b("folded", 1);
  const ValueId image = b.input("image", {-1, 3, kSide, kSide});
  ValueId x = b.batch_norm("norm", b.conv("normed", image, 6, {3, 3}, {}));
  x = b.conv("grouped", b.activation("act", x, {Activation::Kind::relu}), 6, {3, 3}, {.groups = 3}, true);
  const ValueId ramp = b.constant("ramp", Tensor::filled({1, 2, kSide - 4, kSide - 4}, 0.5, DType::f32));
  x = b.add("positioned", x, b.conv("position", ramp, 6, {1, 1}, {}, true));
  x = b.node("pool", GlobalAveragePool{}, {b.activation("act2", x, {Activation::Kind::silu})});
  b.output(b.node("flatten", Flatten{}, {b.conv("scores", x, kClasses, {1, 1}, {}, true)}));
  const Graph plain = std::move(b).finish();
  const Graph before = imported(plain), after = imported(plain, true);
  const auto reader_of = [&](const char* conv) {
    return name_of(after[Uses(after).consumers_of(after[after.find_node(conv)].outputs[0]).at(0)].op);
  };
  EXPECT_EQ(reader_of("grouped"), "BatchNormalization");
  EXPECT_EQ(reader_of("scores"), "Flatten") << "one pixel has no spread";
  EXPECT_EQ(reader_of("position"), "Add") << "what depends on no image has no moments";
  EXPECT_EQ(after.nodes.size(), before.nodes.size() + 1) << "the first has one";

  std::vector<float> pixels(3 * kSide * kSide);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>((i * 7) % 13) / 13;
  const std::vector inputs{Tensor::of({1, 3, kSide, kSide}, std::span<const float>(pixels))};
  const auto expected = evaluate(before, inputs).at(0).to_doubles(), made = evaluate(after, inputs).at(0).to_doubles();
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(made[i], expected[i], 1e-5);
}

TEST_F(Imported, OtherHeadsAreRefused) {
  const auto ends_in = [](auto head) {
    GraphBuilder b("net", 1);
    b.output(head(b, b.conv("conv", b.input("image", {-1, 3, kSide, kSide}), 7, {3, 3}, {})));
    return std::move(b).finish();
  };
  refused(ends_in([](GraphBuilder& b, ValueId x) { return b.node("flatten", Flatten{}, {x}); }),
          "what follows it makes no scores of it");
  refused(ends_in([](GraphBuilder& b, ValueId x) { return b.node("flatten", Flatten{}, {b.add("sum", x, x)}); }),
          "it is no Gemm and no convolution");
}

}  // namespace
}  // namespace reducenet::train
