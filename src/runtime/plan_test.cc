#include <gtest/gtest.h>

#include <thread>

#include "reducenet/arch.h"
#include "reducenet/error.h"
#include "reducenet/runtime.h"
#include "runtime/test_graphs.h"

namespace reducenet {
namespace {

using testing::concatenated;

/// What float32 may do to a whole network: 4 times what the same network rounded to float after every operation is off
/// the one in double, plus 1e-5 of its largest output.
void expect_near_oracle(const Graph& graph, const PlanOptions& options) {
  Graph fixed = graph;
  set_batch(fixed, options.batch);
  std::mt19937_64 random(7);
  const std::vector<Tensor> inputs = testing::random_inputs(fixed, random);
  const std::vector<double> exact = evaluate(fixed, inputs)[0].to_doubles();
  const std::vector<double> rounded = evaluate(fixed, inputs, {.round_to_f32 = true})[0].to_doubles();
  double off = 0, largest = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    off = std::max(off, std::abs(rounded[i] - exact[i]));
    largest = std::max(largest, std::abs(exact[i]));
  }
  const Plan plan(graph, options);
  const std::vector<float> input = concatenated(inputs);
  std::vector<float> output(static_cast<size_t>(plan.output_size()));
  plan.run(input, output);
  ASSERT_EQ(output.size(), exact.size());
  for (size_t i = 0; i < output.size(); ++i) ASSERT_NEAR(output[i], exact[i], 4 * off + 1e-5 * largest) << i;
}

class Networks : public ::testing::TestWithParam<const char*> {};

TEST_P(Networks, AgreeWithTheOracle) {
  const Graph graph = build(GetParam(), {});
  expect_near_oracle(graph, {});
  expect_near_oracle(graph, {.batch = 3, .threads = 2});
}

TEST_P(Networks, WithAFlattenedHeadAndOddSizes) {
  expect_near_oracle(build(GetParam(), {.widths = {5, 19, 33}, .head = "flatten", .height = 21, .width = 13}), {});
}

INSTANTIATE_TEST_SUITE_P(Built, Networks, ::testing::Values("plain11", "reduce20", "article20", "gen2", "resnet20"),
                         [](const auto& name) { return std::string(name.param); });

TEST(Plan, ThreadsDoNotChangeTheResult) {
  const Graph graph = build("plain11", {});
  const Plan one(graph, {}), two(graph, {.threads = 2}), three(graph, {.threads = 3});
  std::mt19937_64 random(3);
  const std::vector<float> input = testing::random_tensor({one.input_size()}, random).to_floats();
  std::vector<float> a(static_cast<size_t>(one.output_size())), b = a, c = a;
  one.run(input, a);
  two.run(input, b);
  three.run(input, c);
  EXPECT_EQ(a, b);
  EXPECT_EQ(a, c);
}

TEST(Plan, ConcurrentRunsBringTheirOwnArenas) {
  const Plan plan(build("plain11", {}), {.threads = 2});
  constexpr size_t kRunners = 3;
  std::vector<std::vector<float>> inputs, alone(kRunners), together(kRunners);
  std::mt19937_64 random(5);
  for (size_t i = 0; i < kRunners; ++i) {
    inputs.push_back(testing::random_tensor({plan.input_size()}, random).to_floats());
    alone[i].resize(static_cast<size_t>(plan.output_size()));
    plan.run(inputs[i], alone[i]);
    together[i].resize(alone[i].size());
  }
  std::vector<std::thread> runners;
  for (size_t i = 0; i < kRunners; ++i) {
    runners.emplace_back([&, i] {
      const auto arena = plan.arena();
      for (int round = 0; round < 20; ++round) plan.run(inputs[i], together[i], *arena);
    });
  }
  for (std::thread& runner : runners) runner.join();
  EXPECT_EQ(alone, together);
}

TEST(Plan, OutputsMayBeInputsConstantsViewsAndEachOther) {
  GraphBuilder b("outputs");
  const ValueId x = b.input("x", {1, 4}), z = b.input("z", {1, 2});
  const ValueId y = b.node("negative", Unary{Unary::Kind::neg}, {x});
  b.output(x);
  b.output(b.constant("c", Tensor::filled({3}, 5)));
  b.output(y);
  b.output(b.node("view", Flatten{.axis = 0}, {y}));
  b.output(b.node("joined", Concat{1}, {x, z}));
  const Plan plan(std::move(b).finish());
  const std::vector<float> input{1, 2, 3, 4, 8, 9};
  std::vector<float> output(static_cast<size_t>(plan.output_size()));
  plan.run(input, output);
  EXPECT_EQ(output, (std::vector<float>{1, 2, 3, 4, 5, 5, 5, -1, -2, -3, -4, -1, -2, -3, -4, 1, 2, 3, 4, 8, 9}));
}

TEST(Plan, AConditionChoosesBetweenAnInputAndANumber) {
  GraphBuilder b("masks", 3);
  const ValueId x = b.input("x", {-1, 3, 4, 5});
  const auto mask = [&](const char* name, Shape shape, std::vector<double> values) {
    return b.constant(name, Tensor::from_doubles(std::move(shape), values, DType::boolean));
  };
  const ValueId rows = mask("rows", {4, 1}, {0, 1, 1, 0}), twice = mask("twice", {1, 2, 1, 1, 1}, {1, 0});
  const ValueId number = b.constant("number", Tensor::filled({}, -2.5));
  const ValueId kept = b.node("kept", Where{}, {rows, x, number});
  const ValueId columns = mask("columns", {5}, {1, 0, 0, 0, 1}),
                quarter = b.constant("q", Tensor::filled({1, 1}, 0.25));
  b.output(b.node("more", Where{},
                  {twice, b.node("lost", Where{}, {columns, quarter, kept}), number}));  // [2, N, 3, 4, 5] at batch 1
  expect_near_oracle(std::move(b).finish(), {});
}

TEST(Plan, RoundsToBytesAsDefined) {
  const Activation bytes{Activation::Kind::bytes, 0.25, 30};
  GraphBuilder b("bytes");
  const ValueId x = b.input("x", {1, 37});
  b.output(b.activation("bytes", b.activation("relu", x, {Activation::Kind::relu}), bytes));
  const Graph graph = std::move(b).finish();
  std::vector<float> in(37), out(37);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i * i) / 8 - 20;  // ties among them, and both ends
  Plan(graph).run(in, out);
  for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(out[i], apply(bytes, std::max(in[i], 0.0f))) << in[i];
}

TEST(Plan, ABlockedResultComesBackPlain) {
  GraphBuilder b("ends in a convolution");
  b.output(b.conv("conv", b.input("x", {-1, 20, 5, 7}), 19, {3, 3}, {.padding = {1, 1, 1, 1}}));
  expect_near_oracle(std::move(b).finish(), {.batch = 2});
}

TEST(Plan, KernelsChosenByTimeAgreeToo) {
  expect_near_oracle(build("resnet20", {}), {.tune = Tune::fast});
}

TEST(Plan, StepsSayWhatRuns) {
  const Plan plan(build("plain11", {}));
  ASSERT_FALSE(plan.steps().empty());
  EXPECT_EQ(plan.steps()[0].kernel, "conv-first");
  EXPECT_EQ(plan.steps().back().shape, "1x10");
  EXPECT_GT(plan.arena_bytes(), 2 * 16 * 32 * 32 * 4 - 1);
  for (const Plan::Step& step : plan.steps()) EXPECT_NE(step.kernel, "to-plain") << step.node;
}

TEST(Plan, BenchCountsRuns) {
  const BenchResult result = bench(Plan(build("plain11", {}), {.batch = 2}), 0.01);
  EXPECT_GE(result.runs, 5);
  EXPECT_LE(result.median_ms, result.p90_ms);
  EXPECT_DOUBLE_EQ(result.images_per_s, 2e3 / result.median_ms);
}

}  // namespace
}  // namespace reducenet
