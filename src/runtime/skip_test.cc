#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "reducenet/arch.h"
#include "reducenet/runtime.h"
#include "runtime/executable.h"
#include "runtime/test_graphs.h"

namespace reducenet {
namespace {

/// relu(x) + g·block(x), g = hard_sigmoid(sign(mean(x) + shift)); with `poison`, the block makes NaN.
Graph gated(double shift, bool poison) {
  GraphBuilder b("gated", 3);
  const ValueId x = b.input("x", {-1, 8, 9, 7});
  const ValueId mean = b.node("flat", Flatten{}, {b.node("mean", GlobalAveragePool{}, {x})});
  const ValueId weight = b.constant("gate.weight", Tensor::filled({1, 8}, 0.125)),
                bias = b.constant("gate.bias", Tensor::filled({1}, shift));
  const ValueId sign =
      b.node("sign", Unary{Unary::Kind::sign}, {b.node("z", Gemm{.trans_b = true}, {mean, weight, bias})});
  const ValueId step = b.activation("step", sign, {Activation::Kind::hard_sigmoid, 0.5, 0.5});
  const ValueId shape = b.constant("shape", Tensor::of({4}, std::vector<int64_t>{0, 1, 1, 1}));
  const ValueId gate = b.node("gate", Reshape{}, {step, shape});
  const ValueId rest = b.activation("rest", x, {Activation::Kind::relu});
  const Conv2d same{.padding = {1, 1, 1, 1}};
  const ValueId spoilt =
      b.constant("spoilt", Tensor::filled({1, 8, 1, 1}, poison ? std::numeric_limits<double>::quiet_NaN() : 0.5));
  ValueId y = b.conv("one", x, 8, {3, 3}, same);
  y = b.activation("one.act", b.node("one.bias", Binary{}, {y, spoilt}), {Activation::Kind::leaky_relu, 0.5});
  y = b.conv("two", y, 8, {3, 3}, same);
  b.output(b.add("sum", rest, b.node("gated", Binary{Binary::Kind::mul}, {y, gate})));
  return std::move(b).finish();
}

std::vector<float> outputs(const Graph& graph, int64_t batch = 1, int threads = 1) {
  const Plan plan(graph, {.batch = batch, .threads = threads});
  std::mt19937_64 random(5);
  Graph fixed = graph;
  set_batch(fixed, batch);
  const std::vector<float> x = testing::concatenated(testing::random_inputs(fixed, random));
  std::vector<float> y(static_cast<size_t>(plan.output_size()));
  plan.run(x, y);
  return y;
}

bool is_spoilt(const std::vector<float>& values) {
  return std::ranges::any_of(values, [](float v) { return !std::isfinite(v); });
}

TEST(Skip, ABlockRunsOnlyWhileItsGateIsOpen) {
  for (const int threads : {1, 2}) {
    EXPECT_FALSE(is_spoilt(outputs(gated(-100, true), 1, threads)));
    EXPECT_TRUE(is_spoilt(outputs(gated(100, true), 1, threads)));
  }
}

TEST(Skip, InABatchEachImagesGateDecides) {
  EXPECT_FALSE(is_spoilt(outputs(gated(-100, true), 2)));
}

TEST(Skip, OneNumberAnImageCannotSkipABatchThatIsRunAsOne) {
  const Executable executable(gated(-100, true), {.batch = 2});
  std::vector<float> x(static_cast<size_t>(executable.input_size()), 1),
      y(static_cast<size_t>(executable.output_size()));
  executable.run(x.data(), y.data(), *executable.arena());
  EXPECT_TRUE(is_spoilt(y));  // 0·NaN: computed and multiplied
}

TEST(Skip, AgreesWithTheOracle) {
  for (const double shift : {-100.0, 100.0}) {
    Graph graph = gated(shift, false);
    set_batch(graph, 1);
    std::mt19937_64 random(5);
    const std::vector<Tensor> inputs = testing::random_inputs(graph, random);
    const std::vector<double> expected = evaluate(graph, inputs)[0].to_doubles();
    const Plan plan(graph, {});
    std::vector<float> y(static_cast<size_t>(plan.output_size()));
    const std::vector<float> x = testing::concatenated(inputs);
    for (int run = 0; run < 2; ++run) {  // what another run left behind does not matter
      plan.run(x, y);
      for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-4) << i;
    }
  }
}

/// MACs that closed gates save at most, of all.
std::pair<int64_t, int64_t> skippable(const Graph& graph) {
  const Executable executable(graph, {});
  int64_t skipped = 0, all = 0;
  for (const Step& step : executable.steps()) {
    all += step.macs;
    if (step.gate >= 0 && step.zeroed < 0) skipped += step.macs;
  }
  return {skipped, all};
}

TEST(Skip, GatedBlocksOfSkipNetCanBeSkipped) {
  const Graph graph = build("skipnet", {.modules = 2, .widths = {16, 16}, .height = 16, .width = 16});
  const auto [skipped, all] = skippable(graph);
  // Three gated blocks of two 3×3 from 16 to 16 channels: two of 16×16, one of 8×8.
  EXPECT_EQ(skipped, int64_t{2} * 9 * 16 * 16 * (2 * 256 + 64));
  EXPECT_LT(skipped, all);
}

TEST(Skip, TheGateIsMadeFirstWhereverItStood) {
  for (const double shift : {-100.0, 100.0}) {
    Graph graph = gated(shift, true);
    // The block's nodes, then the gate's, then the rest.
    std::ranges::stable_partition(
        graph.nodes, [](const Node& node) { return node.name.starts_with("one") || node.name.starts_with("two"); });
    check(graph);
    EXPECT_EQ(is_spoilt(outputs(graph)), shift > 0);
  }
}

}  // namespace
}  // namespace reducenet
