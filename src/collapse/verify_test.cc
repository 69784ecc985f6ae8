#include "reducenet/verify.h"

#include <gtest/gtest.h>

#include <limits>

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

TEST(Verify, ACollapseHolds) {
  const Graph graph = small_network();
  const Certificate certificate = verify(graph, collapse(graph));
  EXPECT_TRUE(certificate.verified) << certificate.why;
  EXPECT_EQ(certificate.samples, 8);
  EXPECT_EQ(certificate.top1_agreement, 1);
  ASSERT_EQ(certificate.regions.size(), 1u);
  EXPECT_LT(certificate.regions[0].max_abs_error, 1e-6 * certificate.regions[0].scale);
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

TEST(Verify, DifferentSignaturesAreAnError) {
  GraphBuilder small("small"), large("large");
  small.output(small.activation("y", small.input("x", {1, 3, 8, 8}), {}));
  large.output(large.activation("y", large.input("x", {1, 3, 9, 8}), {}));
  EXPECT_THROW(verify(std::move(small).finish(), std::move(large).finish()), Error);
}

}  // namespace
}  // namespace reducenet
