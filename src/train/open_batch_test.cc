#include "train/open_batch.h"

#include "reducenet/builder.h"
#include "reducenet/error.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

constexpr int64_t kSide = 4, kChannels = 3;

/// 3×4×4 images, `batch` of them, into what `tail` makes of a convolution's [batch, 2, 4, 4].
Graph exported(int64_t batch, const std::function<ValueId(GraphBuilder&, ValueId)>& tail) {
  GraphBuilder b("exported", 1);
  b.output(tail(b, b.conv("conv", b.input("image", {batch, kChannels, kSide, kSide}), 2, {3, 3},
                          {.padding = {.top = 1, .left = 1, .bottom = 1, .right = 1}})));
  return std::move(b).finish();
}

ValueId sizes(GraphBuilder& b, const char* name, const std::vector<int64_t>& values) {
  return b.constant(name, Tensor::of({std::ssize(values)}, values));
}

void open(Graph& graph) {
  open_batch(graph, {kChannels, kSide, kSide});
  check_images_apart(graph, {kChannels, kSide, kSide});
}

/// Opened, the network answers one image as it was exported to, and every image of a batch as that one.
void expect_opened(Graph graph, const char* what) {
  SCOPED_TRACE(what);
  const Graph before = graph;
  open(graph);
  const Shape image{1, kChannels, kSide, kSide};
  std::vector<float> pixels(48);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>((i * 7) % 11) / 11;
  const Tensor one = Tensor::of(image, std::span<const float>(pixels));
  ASSERT_EQ(before[before.inputs[0]].shape->front(), 1);
  EXPECT_EQ(evaluate(graph, std::vector{one}).at(0).to_doubles(),
            evaluate(before, std::vector{one}).at(0).to_doubles());
}

void expect_refused(Graph graph, const char* why) {
  try {
    open(graph);
    ADD_FAILURE() << "no error, where '" << why << "' was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    expect_contains(error.what(), why);
  }
}

TEST(OpenBatch, TargetsOfReshapeFollowTheBatch) {
  for (const bool allow_zero : {false, true}) {
    expect_opened(exported(1,
                           [&](GraphBuilder& b, ValueId x) {
                             return b.node("view", Reshape{allow_zero}, {x, sizes(b, "shape", {1, 32})});
                           }),
                  "all sizes");
    expect_opened(exported(1,
                           [&](GraphBuilder& b, ValueId x) {
                             return b.node("view", Reshape{allow_zero}, {x, sizes(b, "shape", {1, -1})});
                           }),
                  "a size to be found");
  }
}

// [1, C·H, W], the batch a literal and the others found from the image, as traced Swin has it.
TEST(OpenBatch, TargetsPartlyComputedFollowTheBatch) {
  expect_opened(exported(1,
                         [](GraphBuilder& b, ValueId x) {
                           const ValueId rows = b.node("rows", Binary{Binary::Kind::mul},
                                                       {b.node("height", ShapeOf{.start = 2, .end = 3}, {x}),
                                                        b.node("channels", ShapeOf{.start = 1, .end = 2}, {x})});
                           const ValueId width = b.node("width", ShapeOf{.start = 3, .end = 4}, {x});
                           const ValueId target = b.node("target", Concat{0}, {sizes(b, "batch", {1}), rows, width});
                           const ValueId view = b.node("view", Reshape{}, {x, target});
                           return b.node("flat", Reshape{}, {view, sizes(b, "shape", {1, 32})});
                         }),
                "sizes of the image");
}

// x·gate.expand_as(x), as ECA-Net's exports have it.
TEST(OpenBatch, TargetsOfExpandFollowTheBatch) {
  expect_opened(exported(1,
                         [](GraphBuilder& b, ValueId x) {
                           const ValueId gate = b.node("gate", GlobalAveragePool{}, {x});
                           const ValueId wide = b.node("expand", Repeat{}, {gate, b.node("shape", ShapeOf{}, {x})});
                           return b.node("mul", Binary{Binary::Kind::mul}, {x, wide});
                         }),
                "expand_as");
}

TEST(OpenBatch, WindowsCountAsPartsOfTheBatch) {
  expect_opened(exported(1,
                         [](GraphBuilder& b, ValueId x) {
                           const ValueId split = b.node("split", Reshape{}, {x, sizes(b, "parts", {1, 2, 2, 2, 4})});
                           const ValueId rows = b.node("rows", Transpose{{0, 2, 1, 3, 4}}, {split});
                           const ValueId windows = b.node("windows", Reshape{}, {rows, sizes(b, "all", {2, 16})});
                           const ValueId bent = b.activation("act", windows, {Activation::Kind::relu});
                           return b.node("back", Reshape{}, {bent, sizes(b, "shape", {1, 32})});
                         }),
                "two windows an image");
  expect_opened(exported(1,
                         [](GraphBuilder& b, ValueId x) {
                           const ValueId windows = b.node("windows", Reshape{}, {x, sizes(b, "all", {2, 16})});
                           const ValueId shape = b.node("shape", ShapeOf{}, {windows});
                           const ValueId parts = b.node("parts", Concat{0}, {shape, sizes(b, "one", {1})});
                           const ValueId apart = b.node("apart", Reshape{}, {windows, parts});
                           return b.node("back", Reshape{}, {apart, sizes(b, "back.shape", {1, 32})});
                         }),
                "the shape of windows");
  expect_opened(
      exported(1,
               [](GraphBuilder& b, ValueId x) {
                 const ValueId apart = b.node("apart", Reshape{}, {x, sizes(b, "parts", {1, 2, 4, 4})});
                 const ValueId windows = b.node("windows", Reshape{}, {apart, sizes(b, "all", {2, 4, -1})});
                 const ValueId turned = b.node("turned", Transpose{{1, 0, 2}}, {windows});
                 const ValueId back = b.node("back", Transpose{{1, 0, 2}}, {turned});
                 const ValueId sum = b.add("sum", back, windows);
                 const ValueId again = b.node("again", Reshape{}, {sum, sizes(b, "again.shape", {1, 2, 4, -1})});
                 return b.node("row", Reshape{}, {again, sizes(b, "shape", {1, 32})});
               }),
      "windows with a size to be found");
}

// As dynamo writes an adaptive average: pixels of windows of several sizes, those beyond a smaller one masked.
TEST(OpenBatch, PixelsAreGatheredFromAllImagesAlike) {
  expect_opened(
      exported(
          1,
          [](GraphBuilder& b, ValueId x) {
            const ValueId first = b.node("first", Transpose{{2, 3, 0, 1}}, {x});
            const ValueId rows = b.node("rows", Reshape{}, {first, sizes(b, "joined", {16, -1, 2})});
            const Tensor places = Tensor::of({2, 3}, std::vector<int64_t>{0, 5, 10, 3, 15, 15});
            const ValueId chosen = b.node("chosen", Gather{}, {rows, b.constant("places", places)});
            const ValueId back = b.node("back", Transpose{{2, 3, 0, 1}}, {chosen});
            const Tensor inside = Tensor::from_doubles({2, 3}, std::vector<double>{1, 1, 1, 1, 1, 0}, DType::boolean);
            const ValueId zero = b.constant("zero", Tensor::filled({}, 0));
            return b.node("masked", Where{}, {b.constant("inside", inside), back, zero});
          }),
      "windows of pixels");
}

TEST(OpenBatch, AGatherOfAllInOrderIsAReshape) {
  const auto strided = [](std::vector<int64_t> order) {
    return exported(1, [order](GraphBuilder& b, ValueId x) {
      const ValueId row = b.node("row", Reshape{}, {x, sizes(b, "all", {-1})});
      return b.node("strided", Gather{}, {row, b.constant("order", Tensor::of({1, 32}, order))});
    });
  };
  std::vector<int64_t> order(32);
  std::iota(order.begin(), order.end(), 0);
  expect_opened(strided(order), "in order");
  std::swap(order[3], order[4]);
  expect_refused(strided(order), "of two images it makes one answer");
}

TEST(OpenBatch, WhatMixesImagesIsRefused) {
  // Read as [2, batch·16], channels of two images stand in one row.
  const auto mixed = [](GraphBuilder& b, ValueId x) {
    const ValueId swapped = b.node("swapped", Transpose{{1, 0, 2, 3}}, {x});
    const ValueId rows = b.node("rows", Reshape{}, {swapped, sizes(b, "rows.shape", {2, 16})});
    return b.node("view", Reshape{}, {rows, sizes(b, "shape", {1, 32})});
  };
  expect_refused(exported(1, mixed), "an image's answer depends on its neighbour");
}

/// What `token` makes of the image's two tokens, joined to them in front and behind, in a row.
Graph with_tokens(int64_t batch, const std::function<ValueId(GraphBuilder&, ValueId)>& token) {
  return exported(batch, [&](GraphBuilder& b, ValueId x) {
    const ValueId tokens = b.node("tokens", Reshape{}, {x, sizes(b, "shape", {batch, 2, 16})});
    const ValueId more = token(b, tokens);
    const ValueId all = b.node("all", Concat{-2}, {more, tokens, more});
    return b.node("view", Reshape{}, {all, sizes(b, "flat", {batch, 64})});
  });
}

TEST(OpenBatch, ATokenIsJoinedToEveryImage) {
  std::vector<float> numbers(16);
  std::iota(numbers.begin(), numbers.end(), 1.F);
  const auto token = [&](GraphBuilder& b) {
    return b.constant("token", Tensor::of({1, 1, 16}, std::span<const float>(numbers)));
  };
  expect_opened(with_tokens(1, [&](GraphBuilder& b, ValueId) { return token(b); }), "a constant");
  expect_opened(
      with_tokens(
          1,
          [&](GraphBuilder& b, ValueId x) {
            const ValueId count = b.node("count", ShapeOf{.start = 0, .end = 1}, {x});
            const ValueId target = b.node("target", Concat{0}, {count, sizes(b, "one", {1}), sizes(b, "width", {16})});
            return b.node("stretched", Repeat{}, {token(b), target});
          }),
      "stretched over the batch");
  expect_opened(with_tokens(1,
                            [&](GraphBuilder& b, ValueId) {
                              const ValueId ones = b.node("ones", ConstantOfShape{.value = 1, .dtype = DType::i64},
                                                          {sizes(b, "rank", {3})});
                              return b.node("stretched", Repeat{}, {token(b), ones});
                            }),
                "stretched to sizes computed without a shape");
}

TEST(OpenBatch, OneTokenForOneOfTwoImagesIsRefused) {
  expect_refused(with_tokens(2,
                             [](GraphBuilder& b, ValueId) {
                               return b.constant("token", Tensor::filled({2, 1, 16}, 1));
                             }),
                 "node 'all' (Concat");
}

// x/√d, d a size of x: as PyTorch's tracing exporter writes attention.
TEST(OpenBatch, FloatsMadeOfSizesAreConstants) {
  const auto scaled = [](GraphBuilder& b, ValueId x) {
    const ValueId width = b.node("width", ShapeOf{.start = 3, .end = 4}, {x});
    const ValueId root = b.node("root", Unary{Unary::Kind::sqrt}, {b.node("float", Cast{DType::f32}, {width})});
    const ValueId scale = b.node("scale", Binary{Binary::Kind::div}, {b.constant("one", Tensor::filled({1}, 1)), root});
    return b.node("scaled", Binary{Binary::Kind::mul}, {x, scale});
  };
  expect_opened(exported(1, scaled), "one by the root");
}

TEST(OpenBatch, TheNodeThatFailsIsNamed) {
  const auto fixed = [](GraphBuilder& b, ValueId x) {
    const ValueId view = b.node("view", Reshape{true}, {x, sizes(b, "shape", {32, 1})});
    return b.node("sum", Binary{Binary::Kind::add}, {view, b.constant("bias", Tensor::filled({32, 1}, 1))});
  };
  expect_refused(exported(1, fixed), "node 'sum'");
}

}  // namespace
}  // namespace reducenet::train
