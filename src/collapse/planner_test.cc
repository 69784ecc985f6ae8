#include "collapse/planner.h"

#include <gtest/gtest.h>

#include "collapse/testing.h"
#include "reducenet/arch.h"
#include "reducenet/builder.h"
#include "reducenet/verify.h"
#include "rules/example.h"

namespace reducenet {
namespace {

using testing::in_double;
using testing::relative_error;

constexpr Padding kOne{1, 1, 1, 1};

struct Layer {
  int64_t out, kernel, stride;
  Padding padding{};
};

/// Convolutions in a row on a 32×32 image; none pads behind the first.
Graph chain(int64_t channels, const std::vector<Layer>& layers) {
  GraphBuilder b("chain");
  ValueId x = b.input("x", {1, channels, 32, 32});
  int i = 0;
  for (const Layer& l : layers) {
    x = b.conv("conv" + std::to_string(++i), x, l.out, {l.kernel, l.kernel},
               {.stride = {l.stride, l.stride}, .padding = l.padding});
  }
  b.output(x);
  return in_double(std::move(b).finish());
}

Collapsed planned(const Graph& graph, const Cost& cost = {}) {
  Collapsed result = collapse(graph, {.target = Target::plan, .cost = cost});
  const Cost counted = cost ? cost : macs_cost;
  EXPECT_LE(total_cost(result.graph, counted), total_cost(graph, counted)) << print(result.graph);
  EXPECT_LT(relative_error(graph, result.graph, 1), 1e-9) << print(result.graph);
  return result;
}

size_t layers_left(const Graph& graph) {
  return planned(graph).graph.nodes.size();
}

TEST(Planner, EqualWidth3x3After3x3IsKept) {  // 25 multiplications instead of 9 + 9
  const Collapsed result = planned(chain(8, {{8, 3, 1, {2, 2, 2, 2}}, {8, 3, 1}}));
  EXPECT_EQ(result.graph.nodes.size(), 2u);
  const bool said = std::any_of(result.refused.begin(), result.refused.end(), [](const Refusal& refusal) {
    return refusal.rule == "plan" && refusal.node == "conv2" && refusal.why.find("instead of") != std::string::npos;
  });
  EXPECT_TRUE(said);
}

TEST(Planner, Stride1ThenStride2Becomes5x5Stride2) {  // 25 at a quarter of the positions instead of 9 + 9/4
  EXPECT_EQ(layers_left(chain(8, {{8, 3, 1, {2, 2, 2, 2}}, {8, 3, 2}})), 1u);
}

TEST(Planner, Stride2ThenStride1IsKept) {  // 7×7: 49 instead of 9 + 9
  EXPECT_EQ(layers_left(chain(8, {{8, 3, 2, {3, 3, 3, 3}}, {8, 3, 1}})), 2u);
}

TEST(Planner, AWideMiddleVanishes) {
  EXPECT_EQ(layers_left(chain(8, {{64, 3, 1, {1, 1, 1, 1}}, {8, 1, 1}})), 1u);
  EXPECT_EQ(layers_left(chain(8, {{64, 3, 1, {2, 2, 2, 2}}, {8, 3, 1}})), 1u);
}

TEST(Planner, ANarrowMiddleIsKept) {
  EXPECT_EQ(layers_left(chain(32, {{2, 1, 1}, {32, 1, 1}})), 2u);
}

// 10 → 3 → 4 → 10: the first pair as one is 40 instead of 30 + 12, and then nothing pays: 80. The second pair as one is
// 30 instead of 12 + 40: 60 in all.
TEST(Planner, LooksFurtherThanTheFirstPairThatPays) {
  const Collapsed result = planned(chain(10, {{3, 1, 1}, {4, 1, 1}, {10, 1, 1}}));
  EXPECT_EQ(count_macs(result.graph), 60 * 32 * 32) << print(result.graph);
}

TEST(Planner, AnAllLinearNetworkIsOneAffineLayer) {
  for (const char* head : {"pool", "flatten"}) {
    ArchOptions options{.modules = 2, .widths = {4, 6, 16}, .branches = {"1x1"}, .height = 16, .width = 12};
    options.head = head;
    const Collapsed result = planned(in_double(faded(build("article", options))));
    ASSERT_EQ(result.graph.nodes.size(), 2u) << print(result.graph);
    EXPECT_TRUE(std::holds_alternative<Gemm>(result.graph.nodes[1].op));
  }
}

TEST(Planner, SumsOfBranchesGrowWhereThatPays) {  // x + w₂∗(w₁∗x): one 5×5 is cheaper than two 3×3 with a wide middle
  GraphBuilder b("residual");
  const ValueId x = b.input("x", {1, 4, 16, 16});
  const ValueId y = b.conv("second", b.conv("first", x, 12, {3, 3}, {.padding = {2, 2, 2, 2}}), 4, {3, 3}, {});
  b.output(b.add("sum", x, y));
  EXPECT_EQ(layers_left(in_double(std::move(b).finish())), 1u);
}

TEST(Planner, CrossesPaddingWhereThatPays) {  // 8 → 64 → 8: one 5×5 and strips along the border
  const Graph graph = chain(8, {{64, 3, 1, kOne}, {8, 3, 1, kOne}});
  const Collapsed result = planned(graph);
  EXPECT_LT(2 * count_macs(result.graph), count_macs(graph)) << print(result.graph);
  EXPECT_EQ(layers_left(chain(8, {{8, 3, 1, kOne}, {8, 3, 1, kOne}})), 2u);
}

TEST(Planner, CrossesNoPaddingForATenth) {  // 5×5 of stride 2 and its strips: 7 % fewer multiply-accumulates
  EXPECT_EQ(layers_left(chain(32, {{32, 3, 1, kOne}, {64, 3, 2, kOne}})), 2u);
}

// 1 → 8 → 1 on 8×8: 9,216 multiplications, or a matrix of 4,096 weights; 1 → 32 → 1: 36,864, or the same matrix.
TEST(Planner, CountsTheWeightsOfADenseMatrixFourTimes) {
  const auto matrices = [](int64_t middle, const Cost& cost) {
    GraphBuilder b("chain");
    const ValueId x = b.input("x", {1, 1, 8, 8});
    const ValueId y = b.conv("first", x, middle, {3, 3}, {.padding = kOne});
    b.output(b.conv("second", y, 1, {3, 3}, {.padding = kOne}));
    const Collapsed result = planned(in_double(std::move(b).finish()), cost);
    return std::ranges::count_if(result.graph.nodes,
                                 [](const Node& node) { return std::holds_alternative<Gemm>(node.op); });
  };
  EXPECT_EQ(matrices(8, {}), 0);
  EXPECT_GT(matrices(8, macs_cost), 0);
  EXPECT_GT(matrices(32, {}), 0);
}

TEST(Planner, ReservesChannelsWhereItsCostFalls) {
  GraphBuilder b("residual");
  const ValueId x = b.node("relu", Activation{}, {b.input("x", {1, 4, 8, 8})});
  const ValueId y = b.conv("first", x, 4, {3, 3}, {.padding = kOne});
  const ValueId z = b.conv("second", b.node("inner", Activation{}, {y}), 4, {3, 3}, {.padding = kOne});
  b.output(b.add("sum", z, x));
  const Graph graph = in_double(std::move(b).finish());
  const auto sums = [&](const Cost& cost) {
    const Collapsed result = collapse(graph, {.target = Target::plan, .reserve = true, .cost = cost});
    EXPECT_LT(relative_error(graph, result.graph, 1), 1e-9) << print(result.graph);
    return std::ranges::count_if(result.graph.nodes,
                                 [](const Node& node) { return std::holds_alternative<Binary>(node.op); });
  };
  EXPECT_EQ(sums({}), 1);
  EXPECT_EQ(sums([](const Workload& w) { return std::holds_alternative<Binary>(w.op) ? 1e9 : macs_cost(w); }), 0);
}

TEST(Planner, StopsAfterAnyNumberOfPatches) {
  const Graph graph = in_double(build("article", {.modules = 1, .widths = {4, 16}, .height = 8, .width = 8}));
  const Collapsed whole = collapse(graph, {.target = Target::plan});
  for (int64_t n = 0; n <= static_cast<int64_t>(whole.steps.size()); ++n) {
    const Collapsed part = collapse(graph, {.target = Target::plan, .stop_after = n});
    ASSERT_EQ(static_cast<int64_t>(part.steps.size()), n);
    EXPECT_LT(relative_error(graph, part.graph, 1), 1e-9) << "after " << n << " patches";
  }
}

TEST(Planner, CostsOfOpenSizesKeepTheStridesApart) {
  GraphBuilder b("open");
  const ValueId x = b.input("x", {-1, 8, -1, -1});
  const ValueId y = b.conv("first", x, 8, {3, 3}, {.padding = {2, 2, 2, 2}});
  b.output(b.conv("second", y, 8, {3, 3}, {.stride = {2, 2}}));
  const Graph graph = in_double(std::move(b).finish());
  const Collapsed result = collapse(graph, {.target = Target::plan});
  EXPECT_EQ(result.graph.nodes.size(), 1u) << print(result.graph);
  EXPECT_LT(relative_error(graph, result.graph, 1), 1e-9);
}

// What rules make of an open network has a nominal size as well: 12 → 1 → 4 + 2 is kept.
TEST(Planner, CostsOfOpenSizesCoverWhatRulesMade) {
  GraphBuilder b("open");
  const ValueId x = b.conv("narrow", b.input("x", {1, 12, -1, -1}), 1, {2, 2}, {});
  const ValueId y = b.node("relu1", Activation{}, {b.conv("first", x, 4, {1, 1}, {})});
  const ValueId z = b.node("relu2", Activation{}, {b.conv("second", x, 2, {1, 1}, {})});
  b.output(b.node("join", Concat{1}, {y, z}));
  const Collapsed result = collapse(in_double(std::move(b).finish()), {.target = Target::plan});
  EXPECT_EQ(result.graph.nodes.size(), 3u) << print(result.graph);
}

TEST(Planner, AnyCostMeasureIsNeverExceeded) {
  const Graph graph =
      in_double(build("article", {.modules = 2, .widths = {4, 6}, .head = "flatten", .height = 8, .width = 8}));
  planned(graph, [](const Workload& w) { return 5000 + macs_cost(w); });
  planned(graph, [](const Workload& w) { return std::holds_alternative<Conv2d>(w.op) ? 1e9 : 1.0; });
  planned(graph, [](const Workload& w) { return std::holds_alternative<Gemm>(w.op) ? 1e9 : 1.0; });
  planned(graph, [](const Workload& w) { return 1 / (1 + macs_cost(w)); });
}

/// The cheapest partition of layers [first, last) found by trying every one; `collapse` with every freedom says whether
/// a part can be one layer.
double cheapest(const Graph& graph, const Cost& cost) {
  const size_t n = graph.nodes.size();
  std::vector<std::vector<double>> one(n, std::vector<double>(n + 1, HUGE_VAL));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j <= n; ++j) {
      Graph part = graph;
      part.nodes = {graph.nodes.begin() + static_cast<int64_t>(i), graph.nodes.begin() + static_cast<int64_t>(j)};
      part.inputs = {part.nodes.front().inputs[0]};
      part.outputs = {part.nodes.back().outputs[0]};
      remove_dead(part);
      if (j > i + 1) {
        Driver driver(part, rules(), {});
        driver.run({.enlarge = true});
        part = std::move(driver).finish().graph;
      }
      if (part.nodes.size() == 1) one[i][j] = total_cost(part, cost);
    }
  }
  double best = HUGE_VAL;
  for (size_t cuts = 0; cuts < size_t{1} << (n - 1); ++cuts) {  // bit k: a cut before layer k + 1
    double sum = 0;
    size_t first = 0;
    for (size_t k = 1; k <= n; ++k) {
      if (k < n && !(cuts >> (k - 1) & 1)) continue;
      sum += one[first][k];
      first = k;
    }
    best = std::min(best, sum);
  }
  return best;
}

TEST(Planner, FindsTheCheapestPartition) {
  int merged = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Example draw(seed);
    GraphBuilder b("chain", seed);
    ValueId x = b.input("x", {1, draw.integer(1, 8), 32, 32});
    const int64_t count = draw.integer(2, 6);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t kernel = draw.chance(0.6) ? 1 : 3, stride = i < 2 && draw.chance(0.3) ? 2 : 1;
      const Padding padding = draw.chance(0.3) ? kOne : Padding{};
      x = b.conv("conv" + std::to_string(i), x, draw.integer(1, 12), {kernel, kernel},
                 {.stride = {stride, stride}, .padding = padding}, draw.chance(0.3));
    }
    b.output(x);
    const Graph graph = in_double(std::move(b).finish());
    const Cost costs[] = {macs_cost, [](const Workload& w) { return 3000 + macs_cost(w); }};
    for (const Cost& base : costs) {
      const Cost cost = [&](const Workload& w) {  // convolutions only: no dense matrix
        return std::holds_alternative<Conv2d>(w.op) ? base(w) : 1e12;
      };
      const Collapsed result = planned(graph, cost);
      EXPECT_DOUBLE_EQ(total_cost(result.graph, cost), cheapest(graph, cost)) << seed << "\n" << print(graph);
      merged += result.graph.nodes.size() < graph.nodes.size();
    }
  }
  EXPECT_GT(merged, 100);
}

}  // namespace
}  // namespace reducenet
