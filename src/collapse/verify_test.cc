#include "reducenet/verify.h"

#include <gtest/gtest.h>

#include <limits>

#include "collapse/region.h"
#include "collapse/testing.h"
#include "reducenet/builder.h"
#include "reducenet/error.h"
#include "rules/example.h"

namespace reducenet {
namespace {

/// conv-BN-relu-conv with a region that a collapse merges.
Graph small_network() {
  Example e(7);
  const ValueId x = e.image();
  const ValueId y = e.batch_norm(e.conv(x, {.out = 4, .kernel = 3, .stride = 1, .padding = Padding{1, 1, 1, 1}}));
  e.output(e.conv(e.node(Activation{}, {y}), {.out = 2, .kernel = 1, .stride = 1, .padding = Padding{}}));
  return std::move(e).finish();
}

void scale_constant(Graph& graph, const std::string& stem, double factor) {
  for (Value& value : graph.values) {
    if (!value.constant || value.name.find(stem) == std::string::npos) continue;
    std::vector<double> values = value.constant->to_doubles();
    values[0] *= factor;
    value.constant = Tensor::from_doubles(value.constant->shape(), values, value.constant->dtype());
    return;
  }
  FAIL() << "no constant is named like " << stem;
}

/// Takes images of any width and of one height, as what reads lines of text does, and does not say so.
Graph of_one_height(int64_t height) {
  GraphBuilder b("line", 1);
  const ValueId x = b.batch_norm("bn", b.conv("conv", b.input("x", {-1, 3, -1, -1}), 4, {1, 1}, {}));
  const ValueId rows = b.constant("rows", Tensor::filled({1, 4, height, 1}, 0.5));
  b.output(b.activation("act", b.add("add", x, rows), {Activation::Kind::relu}));
  return std::move(b).finish();
}

TEST(Verify, FindsASizeThatFits) {
  for (const Target target : {Target::module, Target::plan}) {
    const Graph graph = of_one_height(48);
    const Collapsed collapsed = collapse(graph, {.target = target});
    EXPECT_LT(collapsed.graph.nodes.size(), graph.nodes.size());
    const Certificate certificate = verify(graph, collapsed, {.samples = 3});
    EXPECT_TRUE(certificate.verified) << certificate.why;
    EXPECT_EQ(certificate.samples, 3);
    EXPECT_EQ(certificate.not_run, "");
  }
  const Graph graph = of_one_height(77);
  try {
    verify(graph, collapse(graph));
    FAIL() << "it is verified at a height that it does not take";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("--size"), std::string::npos) << error.what();
  }
}

TEST(Verify, ACollapseHolds) {
  const Graph graph = small_network();
  const Certificate certificate = verify(graph, collapse(graph));
  EXPECT_TRUE(certificate.verified) << certificate.why;
  EXPECT_EQ(certificate.samples, 8);
  EXPECT_EQ(certificate.top1_agreement, 1);
  ASSERT_EQ(certificate.regions.size(), 1u);
  EXPECT_LT(certificate.regions[0].max_abs_error, 1e-6 * certificate.regions[0].scale);
}

// [1, 2, 1, 3]: the second network has the other class at one position of three.
TEST(Verify, ClassesAreCountedAtEveryPosition) {
  const auto scores = [](std::vector<double> added) {
    GraphBuilder b("positions");
    const ValueId x = b.node("nothing", Binary{Binary::Kind::mul},
                             {b.input("x", {1, 2, 1, 3}), b.constant("zero", Tensor::filled({}, 0))});
    b.output(b.node("y", Binary{}, {x, b.constant("scores", Tensor::from_doubles({1, 2, 1, 3}, added))}));
    return std::move(b).finish();
  };
  const Graph graph = scores({1, 0, 5, 0, 1, 4});
  EXPECT_EQ(verify(graph, graph).top1_agreement, 1);
  EXPECT_NEAR(verify(graph, scores({1, 0, 5, 0, 1, 6})).top1_agreement, 2.0 / 3, 1e-12);
}

TEST(Verify, OneWeightOffByAThousandthIsSeenInItsRegion) {
  const Graph graph = small_network();
  Collapsed collapsed = collapse(graph);
  scale_constant(collapsed.graph, collapsed.regions.at(0).after.at(0) + ".weight", 1.001);
  const std::vector<RegionCheck> checks = check_regions(graph, collapsed);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_FALSE(checks[0].holds());
  EXPECT_FALSE(verify(graph, collapsed).verified);
}

// λ·relu(x, in place) + (1−λ)·x overwrites x: the "fade" stays relu(x) at λ = 0, and a collapse that trusts λ is wrong.
TEST(Verify, AFadeThatStaysNonlinearIsSeenBySuperposition) {
  const Graph claimed = small_network();
  Graph merged_anyway = claimed;  // what such a collapse makes: the activation left out
  for (Node& node : merged_anyway.nodes) {
    if (std::holds_alternative<Activation>(node.op)) node.op = Identity{};
  }
  Collapsed collapsed = collapse(merged_anyway);
  ASSERT_EQ(count_nonlinear(collapsed.graph), 0);
  const std::vector<RegionCheck> checks = check_regions(claimed, collapsed);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_GT(checks[0].superposition_error, 0.01);
  EXPECT_FALSE(checks[0].holds());
  EXPECT_GT(superposition_error(claimed), 0.01);
  EXPECT_LT(superposition_error(collapsed.graph), 1e-12);
}

TEST(Verify, ABorderErrorIsSeenOnTheCrop) {
  GraphBuilder b("border");
  const ValueId x = b.input("x", {-1, 2, 32, 32});
  b.output(
      b.conv("second", b.conv("first", x, 3, {3, 3}, {.padding = {1, 1, 1, 1}}), 2, {3, 3}, {.padding = {1, 1, 1, 1}}));
  const Graph graph = std::move(b).finish();
  Graph free = graph;  // the same convs with all padding first: equal but for the border
  for (Node& node : free.nodes) {
    auto& conv = std::get<Conv2d>(node.op);
    conv.padding = node.name == "first" ? Padding{2, 2, 2, 2} : Padding{};
  }
  infer_shapes(free);
  Collapsed collapsed = collapse(free, {.target = Target::conv});
  ASSERT_EQ(collapsed.graph.nodes.size(), 1u);
  ASSERT_EQ(collapsed.regions.size(), 1u);
  EXPECT_TRUE(check_regions(free, collapsed)[0].holds());
  EXPECT_FALSE(check_regions(graph, collapsed)[0].holds());
}

TEST(Verify, NotFiniteIsNotVerified) {
  Graph graph = small_network();
  const Collapsed collapsed = collapse(graph);
  Graph broken = collapsed.graph;
  scale_constant(broken, "weight", std::numeric_limits<double>::quiet_NaN());
  EXPECT_FALSE(verify(graph, broken).verified);
  EXPECT_FALSE(verify(broken, broken).verified);
  Collapsed with_nan = collapsed;
  with_nan.graph = broken;
  EXPECT_FALSE(check_regions(graph, with_nan)[0].holds());
}

TEST(Verify, TriesOtherInputsWhereTheNetworkHasNoFiniteAnswers) {
  GraphBuilder b("from one on");
  b.output(b.node("y", Unary{Unary::Kind::acosh}, {b.input("x", {2, 3})}));
  const Graph from_one = std::move(b).finish();
  const Certificate certificate = verify(from_one, from_one, {.samples = 4});
  EXPECT_TRUE(certificate.verified) << certificate.why;
  EXPECT_EQ(certificate.samples, 4);
  GraphBuilder nowhere("nowhere");
  const ValueId zero = nowhere.constant("zero", Tensor::filled({1}, 0));
  nowhere.output(nowhere.node("y", Binary{Binary::Kind::div}, {nowhere.input("x", {2, 3}), zero}));
  const Graph infinite = std::move(nowhere).finish();
  EXPECT_FALSE(verify(infinite, infinite, {.samples = 4}).verified);
}

TEST(Verify, RealInputsCount) {
  const Graph graph = small_network();
  Shape shape = *graph[graph.inputs[0]].shape;
  shape[0] = 3;
  const Certificate certificate =
      verify(graph, graph, {.samples = 0, .real_inputs = {Tensor::filled(shape, 0.5), Tensor::filled(shape, -1)}});
  EXPECT_TRUE(certificate.verified) << certificate.why;
  EXPECT_EQ(certificate.samples, 2);
  EXPECT_FALSE(verify(graph, graph, {.samples = 0}).verified);
}

// conv-BN before a node that no oracle executes: the region is the proof.
TEST(Verify, WhatIsNotExecutedIsNotRunButItsRegionsAre) {
  Example e(7);
  const ValueId y = e.batch_norm(e.conv(e.image(), {.out = 4, .padding = Padding{1, 1, 1, 1}}));
  e.output(e.node(Opaque{"com.example", "Twist", "", 0}, {y}));
  const Graph graph = std::move(e).finish();
  Collapsed collapsed = collapse(graph);
  ASSERT_EQ(collapsed.graph.nodes.size(), 2u) << print(collapsed.graph);
  const Certificate certificate = verify(graph, collapsed);
  EXPECT_TRUE(certificate.verified) << certificate.why;
  EXPECT_NE(certificate.not_run.find("Twist"), std::string::npos) << certificate.not_run;
  ASSERT_EQ(certificate.regions.size(), 1u);
  EXPECT_EQ(certificate.regions[0].not_run, "");
  scale_constant(collapsed.graph, collapsed.regions[0].after.at(0) + ".weight", 1.001);
  EXPECT_FALSE(verify(graph, collapsed).verified);
}

// ⌊x / 2⌋ of whole numbers: (a + b) / 2 is not a / 2 + b / 2, and the region holds all the same.
TEST(Verify, WholeNumbersAreNotAddedUp) {
  GraphBuilder b("halves");
  const ValueId x = b.input("x", {1, 6});
  const ValueId two = b.constant("two", Tensor::filled({}, 2));
  b.output(
      b.node("y", Activation{}, {b.node("same", Identity{}, {b.node("half", Binary{Binary::Kind::div}, {x, two})})}));
  Graph graph = std::move(b).finish();
  for (Value& value : graph.values) {
    value.dtype = DType::i64;
    if (value.constant) value.constant = Tensor::of({}, std::vector<int64_t>{2});
  }
  const Certificate certificate = verify(graph, collapse(graph));
  EXPECT_TRUE(certificate.verified) << certificate.why;
}

// What a node that is not executed reads under another name: the old value must come of the new one.
TEST(Verify, AValueUnderAnotherNameIsARegion) {
  GraphBuilder b("renamed");
  const ValueId x = b.node("act", Activation{}, {b.input("x", {1, 6})});
  b.output(b.node("twist", Opaque{"com.example", "Twist", "", 0}, {b.node("same", Identity{}, {x})}));
  const Graph graph = std::move(b).finish();
  Collapsed collapsed = collapse(graph);
  ASSERT_EQ(collapsed.graph.nodes.size(), 2u) << print(collapsed.graph);
  ASSERT_EQ(collapsed.regions.size(), 1u);
  EXPECT_TRUE(verify(graph, collapsed).verified);
  for (Node& node : collapsed.graph.nodes) {  // it reads the wrong one
    if (std::holds_alternative<Opaque>(node.op)) node.inputs = collapsed.graph.inputs;
  }
  collapsed.regions = find_regions(graph, collapsed.graph);
  EXPECT_FALSE(verify(graph, collapsed).verified);
}

/// x → Identity → an op that is not executed, which reads √4 as well → Relu → Relu
Graph with_strange_op(const std::optional<Shape>& made) {
  GraphBuilder b("strange");
  const ValueId x = b.activation("first", b.input("x", {1, 2, 4, 4}), {});
  const ValueId root = b.node("root", Unary{Unary::Kind::sqrt}, {b.constant("four", Tensor::filled({1}, 4))});
  const ValueId y =
      b.node("strange", Opaque{.domain = "odd", .type = "Strange"}, {b.node("same", Identity{}, {x}), root});
  const ValueId last = b.activation("twice", b.activation("once", y, {}), {});
  b.output(last);
  Graph graph = std::move(b).finish();
  graph[y].shape = made;
  for (const char* name : {"once", "twice"}) graph[graph.find_value(name)].shape = made;
  return graph;
}

TEST(Verify, WhatAnOpThatIsNotExecutedReadsIsChecked) {
  for (const auto& shape : {std::optional(Shape{1, 2, 4, 4}), std::optional<Shape>()}) {
    const Graph graph = with_strange_op(shape);
    Collapsed collapsed = collapse(graph);
    EXPECT_EQ(collapsed.graph.nodes.size(), 3u) << print(collapsed.graph);
    const Certificate certificate = verify(graph, collapsed);
    EXPECT_TRUE(certificate.verified) << certificate.why;
    EXPECT_NE(certificate.not_run.find("Strange"), std::string::npos);
    EXPECT_EQ(certificate.regions.size(), 3u);  // its two inputs, and the activations
    scale_constant(collapsed.graph, "root", 1.01);
    EXPECT_FALSE(verify(graph, collapsed).verified);
  }
}

RegionCheck held(std::string not_run = {}) {
  return {.name = "y", .not_run = std::move(not_run)};
}

TEST(Verify, ARegionThatWasNotRunNeedsTheWholeNetwork) {
  Certificate certificate{.verified = true, .regions = {held(), held("no shape")}};
  certificate.judge_regions();
  EXPECT_TRUE(certificate.verified) << certificate.why;  // the whole network shows that it holds
  certificate.not_run = "an op is not executed";
  certificate.judge_regions();
  EXPECT_FALSE(certificate.verified);
  EXPECT_NE(certificate.why.find("no shape"), std::string::npos);
  Certificate without{.verified = true, .regions = {held()}, .not_run = "an op is not executed"};
  without.judge_regions();
  EXPECT_TRUE(without.verified) << without.why;
}

// A slice past the end makes nothing at the size that is tried: that nothing is equal to nothing is no proof.
TEST(Verify, ARegionThatMakesNothingIsNotRun) {
  const auto sliced = [](double factor) {
    GraphBuilder b("sliced");
    const ValueId x = b.node("twist", Opaque{"com.example", "Twist", "", 0}, {b.input("x", {1, 4})});
    const ValueId scaled =
        b.node("scaled", Binary{Binary::Kind::mul}, {x, b.constant("c", Tensor::filled({1}, factor))});
    b.output(b.node("y", Slice{.starts = {64}, .ends = {99}, .axes = {0}, .steps = {1}}, {scaled}));
    return std::move(b).finish();
  };
  const Graph before = sliced(2);
  const Collapsed after{
      sliced(3),
      {},
      {},
      {{.before = {"scaled", "y"}, .after = {"scaled", "y"}, .inputs = {"twist"}, .output = "y", .made = "y"}}};
  const std::vector<RegionCheck> checks = check_regions(before, after);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_NE(checks[0].not_run, "");
}

// x.mean().expand_as(f(x)): the size is computed where f(x) is, and a constant in the collapsed network.
TEST(Verify, ASizeThatIsMeasuredIsCompared) {
  GraphBuilder b("expanded");
  const ValueId x = b.input("x", {1, 4, 6, 5});
  const ValueId size = b.node("size", ShapeOf{}, {b.conv("measured", x, 4, {3, 3}, {})});
  b.output(b.node("y", Repeat{}, {b.node("mean", GlobalAveragePool{}, {x}), size}));
  const Graph graph = std::move(b).finish();
  Collapsed collapsed = collapse(graph);
  ASSERT_FALSE(collapsed.graph.find_node("measured"));
  ASSERT_EQ(collapsed.regions.size(), 1u);
  EXPECT_EQ(std::ranges::count(collapsed.regions[0].before, "measured"), 1);
  const RegionCheck right = check_regions(graph, collapsed)[0];
  EXPECT_TRUE(right.holds());
  EXPECT_EQ(right.not_run, "");
  const Node& expand = collapsed.graph[collapsed.graph.find_node("y")];
  Value& target = collapsed.graph[expand.inputs[1]];
  ASSERT_TRUE(target.constant);
  target.constant = Tensor::of({4}, std::vector<int64_t>{1, 4, 4, 4});
  EXPECT_FALSE(check_regions(graph, collapsed)[0].holds());
}

// A convolution whose kernel is computed says nothing of how far it reaches.
TEST(Verify, ARegionMayHoldAConvolutionOfAComputedKernel) {
  GraphBuilder b("computed");
  const ValueId x = b.input("x", {1, 3, 8, 8}), kernel = b.input("kernel", {4, 3, 3, 3});
  const ValueId twice = b.node("twice", Binary{Binary::Kind::add}, {kernel, kernel});
  b.output(b.node("y", Identity{}, {b.node("conv", Conv2d{}, {b.node("same", Identity{}, {x}), twice})}));
  const Graph graph = std::move(b).finish();
  const std::vector<std::string> all = {"same", "twice", "conv", "y"};
  const Collapsed as_it_was{
      graph, {}, {}, {{.before = all, .after = all, .inputs = {"x", "kernel"}, .output = "y", .made = "y"}}};
  const RegionCheck check = check_regions(graph, as_it_was)[0];
  EXPECT_EQ(check.not_run, "");
  EXPECT_TRUE(check.holds());
}

TEST(Verify, DifferentSignaturesAreAnError) {
  GraphBuilder small("small"), large("large");
  small.output(small.activation("y", small.input("x", {1, 3, 8, 8}), {}));
  large.output(large.activation("y", large.input("x", {1, 3, 9, 8}), {}));
  EXPECT_THROW(verify(std::move(small).finish(), std::move(large).finish()), Error);
}

}  // namespace
}  // namespace reducenet
