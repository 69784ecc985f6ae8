#include "runtime/lower.h"

#include <gtest/gtest.h>

#include "reducenet/error.h"
#include "runtime/test_graphs.h"

namespace reducenet {
namespace {

std::vector<std::string> names(const Program& program) {
  std::vector<std::string> result;
  for (const Step& step : program.steps) result.push_back(step.node);
  return result;
}

constexpr Conv2d kSame{.padding = {1, 1, 1, 1}};
const Activation kRelu{};

TEST(Lower, FusesWhatFollowsAConvolution) {
  GraphBuilder b("block");
  const ValueId x = b.activation("stem.act", b.conv("stem", b.input("x", {-1, 3, 8, 8}), 4, {3, 3}, kSame), kRelu);
  ValueId y = b.batch_norm("bn", b.conv("conv", x, 4, {3, 3}, kSame));
  y = b.activation("act", b.add("sum", y, x), kRelu);
  b.output(y);
  const Program program = lower(std::move(b).finish(), 2);
  EXPECT_EQ(names(program), (std::vector<std::string>{"stem+stem.act", "conv+bn+sum+act"}));
  EXPECT_EQ(program.steps[1].epilogue.residual, 1);
  EXPECT_EQ(program.steps[1].epilogue.low, 0);
  EXPECT_EQ(program.steps[1].output.shape, (Shape{2, 4, 8, 8}));
}

TEST(Lower, SlopesOfChannelsJoinTheLayerAndOthersStayApart) {
  const auto lowered = [](const Shape& slope, bool act) {
    GraphBuilder b("prelu");
    const ValueId x = b.input("x", {1, 3, 8, 8});
    ValueId y = b.add("sum", b.conv("conv", x, 3, {3, 3}, kSame), x);
    if (act) y = b.activation("act", y, kRelu);
    b.output(b.node("prelu", PRelu{}, {y, b.constant("slope", Tensor::filled(slope, 0.25))}));
    return lower(std::move(b).finish(), 1);
  };
  for (const Shape& slope : {Shape{3, 1, 1}, Shape{1}}) {
    const Program program = lowered(slope, false);
    ASSERT_EQ(names(program), std::vector<std::string>{"conv+sum+prelu"});
    const Epilogue& epilogue = program.steps[0].epilogue;
    EXPECT_EQ(epilogue.residual, 1);
    ASSERT_EQ(epilogue.slopes.size(), static_cast<size_t>(kBlock));
    EXPECT_EQ(epilogue.slopes[2], 0.25F);
  }
  EXPECT_EQ(names(lowered({3, 1, 1}, true)), (std::vector<std::string>{"conv+sum+act", "prelu"}));
  EXPECT_EQ(names(lowered({8, 8}, false)), (std::vector<std::string>{"conv+sum", "prelu"}));
  EXPECT_EQ(names(lowered({3, 8, 1}, false)), (std::vector<std::string>{"conv+sum", "prelu"}));
}

TEST(Lower, WhatDiffersByColumnJoinsTheProductOfRows) {
  const auto lowered = [](const Shape& bias) {
    GraphBuilder b("tokens");
    const ValueId x = b.input("x", {2, 5, 5});
    ValueId y = b.node("product", MatMul{}, {x, b.constant("w", Tensor::filled({5, 5}, 3))});
    y = b.node("scale", Binary{Binary::Kind::mul}, {b.constant("half", Tensor::filled({}, 0.5)), y});
    y = b.add("bias", y, b.constant("b", Tensor::filled(bias, 0.25)));
    b.output(b.activation("act", b.add("sum", y, x), {Activation::Kind::gelu}));
    return lower(std::move(b).finish(), 2);
  };
  for (const Shape& bias : {Shape{5}, Shape{1, 1, 5}, Shape{1}}) {
    const Program program = lowered(bias);
    ASSERT_EQ(names(program), std::vector<std::string>{"product+scale+bias+sum+act"});
    EXPECT_EQ(program.steps[0].weight[7], 1.5);
    EXPECT_EQ(program.steps[0].bias, std::vector<double>(5, 0.25));
    EXPECT_EQ(program.steps[0].epilogue.residual, 1);
  }
  EXPECT_EQ(names(lowered({5, 1})), (std::vector<std::string>{"product+scale", "bias+sum+act"}));
}

TEST(Lower, ANormOfTheSampleTakesNothingOn) {
  GraphBuilder b("norm");
  const ValueId x = b.input("x", {2, 3, 4, 5});
  const ValueId scale = b.constant("scale", Tensor::filled({3}, 2)), bias = b.constant("bias", Tensor::filled({3}, 1));
  const ValueId y = b.node("norm", Normalize{.kind = Normalize::Kind::instance}, {x, scale, bias});
  b.output(b.activation("act", b.add("sum", y, x), kRelu));
  EXPECT_EQ(names(lower(std::move(b).finish(), 2)), (std::vector<std::string>{"norm", "sum+act"}));
}

TEST(Lower, MeansOverOtherAxesAreMovedToTheEndAndPooled) {
  const auto lowered = [](const std::vector<int64_t>& axes, Reduce::Kind kind, bool keep_dims) {
    GraphBuilder b("mean");
    b.output(b.node("y", Reduce{.kind = kind, .axes = axes, .keep_dims = keep_dims}, {b.input("x", {2, 3, 4, 5})}));
    std::vector<std::string> ops;
    for (const Step& step : lower(std::move(b).finish(), 2).steps) ops.push_back(name_of(step.op));
    return ops;
  };
  using Ops = std::vector<std::string>;
  EXPECT_EQ(lowered({-1, 2}, Reduce::Kind::mean, true), (Ops{"AveragePool"}));
  EXPECT_EQ(lowered({2, 3}, Reduce::Kind::max, false), (Ops{"MaxPool", "Reshape"}));
  EXPECT_EQ(lowered({1}, Reduce::Kind::sum, true), (Ops{"Transpose", "AveragePool", "Mul", "Reshape"}));
}

TEST(Lower, WhatShapesSayIsComputedBeforehand) {
  GraphBuilder b("shapes");
  const ValueId x = b.input("x", {-1, 3, 4, 5});
  const ValueId batch = b.node("batch", ShapeOf{.start = 0, .end = 1}, {x});
  const ValueId rest = b.constant("rest", Tensor::of({1}, std::vector<int64_t>{60}));
  b.output(b.node("view", Reshape{}, {x, b.node("sizes", Concat{0}, {batch, rest})}));
  EXPECT_EQ(names(lower(std::move(b).finish(), 2)), (std::vector<std::string>{"view"}));
}

TEST(Lower, OnlyHeightAndWidthAreResized) {
  const auto lowered = [](std::vector<float> scales) {
    GraphBuilder b("resize");
    const ValueId x = b.input("x", {1, 3, 4, 6}), none = b.constant("none", Tensor::filled({0}, 0));
    b.output(b.node("resize", Resize{}, {x, none, b.constant("scales", Tensor::of({4}, scales))}));
    return lower(std::move(b).finish(), 1);
  };
  const Program program = lowered({1, 1, 1.75, 0.5});  // 4 → 7, 6 → 3
  EXPECT_EQ(program.steps[0].scales, (std::array<double, 2>{1.75, 0.5}));
  EXPECT_EQ(program.steps[0].output.shape, (Shape{1, 3, 7, 3}));
  EXPECT_THROW(lowered({1, 2, 1, 1}), Error);
}

TEST(Lower, AResidualThatIsMadeLaterDelaysTheConvolution) {
  GraphBuilder b("late");
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId early = b.conv("early", x, 4, {1, 1}, {});
  const ValueId late = b.activation("late", b.conv("other", x, 4, {1, 1}, {}), kRelu);
  b.output(b.add("sum", early, late));
  EXPECT_EQ(names(lower(std::move(b).finish(), 1)), (std::vector<std::string>{"other+late", "early+sum"}));
}

TEST(Lower, WhatIsReadTwiceStaysApart) {
  GraphBuilder b("shared");
  const ValueId y = b.conv("conv", b.input("x", {1, 4, 8, 8}), 4, {3, 3}, kSame);
  b.output(b.activation("act", y, kRelu));
  b.output(y);
  EXPECT_EQ(names(lower(std::move(b).finish(), 1)), (std::vector<std::string>{"conv", "act"}));
}

TEST(Lower, TheActivationStopsTheFusion) {
  GraphBuilder b("preactivation");
  const ValueId x = b.input("x", {1, 4, 8, 8});
  b.output(b.batch_norm("bn", b.activation("act", b.conv("conv", x, 4, {3, 3}, kSame), kRelu)));
  const Program program = lower(std::move(b).finish(), 1);
  EXPECT_EQ(names(program), (std::vector<std::string>{"conv+act", "bn"}));
  EXPECT_EQ(std::get<Conv2d>(program.steps[1].op).groups, 4);
}

TEST(Lower, ClampsBeforeAMaximumInsteadOfAfterIt) {
  const auto lowered = [](const MaxPool& pool) {
    GraphBuilder b("pooled");
    const ValueId y = b.conv("conv", b.input("x", {1, 4, 8, 8}), 4, {3, 3}, kSame);
    b.output(b.activation("act", b.node("pool", pool, {y}), {Activation::Kind::relu6}));
    return lower(std::move(b).finish(), 1);
  };
  const Program program = lowered({.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 0, 1, 0}});
  EXPECT_EQ(names(program), (std::vector<std::string>{"conv+act", "pool"}));
  EXPECT_EQ(program.steps[0].epilogue.high, 6);
  EXPECT_EQ(program.steps[1].output.buffer, program.outputs[0]);
  // A window of the ceiling, or one with holes, may see padding alone.
  EXPECT_EQ(lowered({.kernel = {2, 2}, .stride = {2, 2}, .ceil_mode = true}).steps.size(), 3u);
  EXPECT_EQ(lowered({.kernel = {2, 2}, .padding = {1, 1, 1, 1}, .dilation = {2, 2}}).steps.size(), 3u);
}

TEST(Lower, RemovesWhatDoesNothing) {
  GraphBuilder b("idle");
  ValueId y = b.node("drop", Dropout{}, {b.input("x", {1, 4})});
  y = b.node("same", Identity{}, {b.gemm("fc", y, 3)});
  b.output(b.node("settled", Fade{"activation", kRelu, 0}, {y}));
  const Program program = lower(std::move(b).finish(), 1);
  EXPECT_EQ(names(program), (std::vector<std::string>{"fc"}));
  EXPECT_EQ(program.outputs[0], program.steps[0].output.buffer);
}

TEST(Lower, FlattenedImagesGoStraightIntoTheProduct) {
  GraphBuilder b("head");
  b.output(b.gemm("fc", b.node("flat", Flatten{}, {b.input("x", {1, 4, 2, 2})}), 3));
  const Program program = lower(std::move(b).finish(), 1);
  EXPECT_EQ(names(program), (std::vector<std::string>{"fc"}));
  EXPECT_EQ(program.steps[0].inputs[0].shape, (Shape{1, 4, 2, 2}));
}

/// The message of the Error that lowering throws.
std::string refusal(GraphBuilder b, ErrorKind kind, int64_t batch = 1) {
  try {
    lower(std::move(b).finish(), batch);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    return error.what();
  }
  return "lowered";
}

TEST(Lower, NamesTheNodeThatItCannotLower) {
  GraphBuilder opaque("opaque");
  opaque.output(opaque.node("strange", Opaque{"", "NonMaxSuppression", "", 0}, {opaque.input("x", {1, 3})}));
  EXPECT_NE(refusal(std::move(opaque), ErrorKind::unsupported).find("'strange'"), std::string::npos);

  GraphBuilder random("random");
  random.output(random.node("noisy", Dropout{0.5, true}, {random.input("x", {1, 3})}));
  EXPECT_NE(refusal(std::move(random), ErrorKind::unsupported).find("'noisy'"), std::string::npos);

  GraphBuilder learned("learned");
  const ValueId x = learned.input("x", {1, 3, 4, 4});
  learned.output(learned.node("hyper", Conv2d{}, {x, learned.input("w", {2, 3, 1, 1})}));
  EXPECT_NE(refusal(std::move(learned), ErrorKind::unsupported).find("'hyper'"), std::string::npos);

  GraphBuilder choice("choice");
  const std::vector<double> picks{1, 0};
  const ValueId y = choice.input("y", {1, 2});
  const ValueId mask = choice.constant("mask", Tensor::from_doubles({2}, picks, DType::boolean));
  choice.output(choice.node("both", Where{}, {mask, y, choice.node("minus", Unary{Unary::Kind::neg}, {y})}));
  EXPECT_NE(refusal(std::move(choice), ErrorKind::unsupported).find("'both'"), std::string::npos);
}

TEST(Lower, RefusesAnotherBatchThanTheFixedOne) {
  GraphBuilder b("fixed");
  b.output(b.gemm("fc", b.input("x", {2, 4}), 3));
  EXPECT_NE(refusal(std::move(b), ErrorKind::usage, 3).find("'x'"), std::string::npos);
}

}  // namespace
}  // namespace reducenet
