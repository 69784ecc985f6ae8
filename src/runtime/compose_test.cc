#include "runtime/compose.h"

#include <gtest/gtest.h>

#include "reducenet/error.h"
#include "reducenet/runtime.h"
#include "runtime/lower.h"
#include "runtime/test_graphs.h"

namespace reducenet {
namespace {

std::vector<std::string> ops(const Graph& graph) {
  std::vector<std::string> names;
  for (const Step& step : lower(graph, 1).steps) names.push_back(name_of(step.op));
  return names;
}
using Ops = std::vector<std::string>;

/// What the runtime makes of normal inputs is what the oracle makes of them, but for the rounding of float32.
void expect_runs(const Graph& graph) {
  std::mt19937_64 random(7);
  const std::vector<Tensor> inputs = testing::random_inputs(graph, random);
  const std::vector<double> expected = evaluate(graph, inputs)[0].to_doubles();
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  const Plan plan(graph);
  std::vector<float> output(static_cast<size_t>(plan.output_size()), std::nanf(""));
  plan.run(testing::concatenated(inputs), output);
  ASSERT_EQ(output.size(), expected.size());
  for (size_t i = 0; i < output.size(); ++i) ASSERT_NEAR(output[i], expected[i], 1e-5 * largest) << print(graph);
}

Graph joined(Variadic::Kind kind, size_t count) {
  GraphBuilder b("joined");
  const Shape shapes[] = {{1, 3, 4, 5}, {3, 1, 1}, {1, 3, 4, 5}, {1, 1, 4, 1}};
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < count; ++i) inputs.push_back(b.input("x" + std::to_string(i), shapes[i]));
  b.output(b.node("y", Variadic{kind}, inputs));
  return std::move(b).finish();
}

TEST(Compose, JoinsAnyNumberOfInputs) {
  for (const auto kind : {Variadic::Kind::sum, Variadic::Kind::mean, Variadic::Kind::min, Variadic::Kind::max}) {
    for (size_t count = 1; count <= 4; ++count) expect_runs(joined(kind, count));
  }
  EXPECT_EQ(ops(joined(Variadic::Kind::sum, 1)), Ops{});
  EXPECT_EQ(ops(joined(Variadic::Kind::max, 3)), (Ops{"Max", "Max"}));
}

// ResNets that were exported from Caffe2 add their residuals like this.
TEST(Compose, ASumOfTwoJoinsTheConvolution) {
  GraphBuilder b("residual");
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId y = b.conv("conv", x, 4, {3, 3}, {.padding = {1, 1, 1, 1}});
  b.output(b.activation("act", b.node("sum", Variadic{}, {y, x}), {}));
  const Graph graph = std::move(b).finish();
  EXPECT_EQ(ops(graph), Ops{"Conv"});
  expect_runs(graph);
}

TEST(Compose, NormalisesAcrossChannels) {
  for (const Lrn& op : {Lrn{5, 0.5, 0.75, 1}, Lrn{4, 2, 0.5, 2}, Lrn{1, 1e-4, 1, 1}, Lrn{9, 1, 0.75, 0.25}}) {
    GraphBuilder b("lrn");
    b.output(b.node("y", op, {b.input("x", {2, 7, 5, 6})}));
    expect_runs(std::move(b).finish());
  }
  GraphBuilder b("lrn of rows");
  b.output(b.node("y", Lrn{}, {b.input("x", {2, 7})}));
  EXPECT_THROW(Plan(std::move(b).finish()), Error);
}

TEST(Compose, ReducesByWhatIsASumOrAMaximum) {
  using Kind = Reduce::Kind;
  const std::vector<int64_t> some[] = {{}, {1}, {-1, 2}, {0, 3}};
  for (const auto kind : {Kind::min, Kind::l1, Kind::l2, Kind::sum_square, Kind::log_sum}) {
    for (const std::vector<int64_t>& axes : some) {
      for (const bool keep : {true, false}) {
        GraphBuilder b("reduced");
        ValueId x = b.input("x", {2, 3, 4, 5});
        if (kind == Kind::log_sum) x = b.node("positive", Unary{Unary::Kind::abs}, {x});
        b.output(b.node("y", Reduce{kind, axes, keep}, {x}));
        expect_runs(std::move(b).finish());
      }
    }
  }
}

TEST(Compose, WhatHasNoElementsIsRefused) {
  GraphBuilder b("empty");
  b.output(b.node("y", Reduce{.kind = Reduce::Kind::l2, .axes = {1}}, {b.input("x", {2, 0, 4})}));
  EXPECT_THROW(Plan(std::move(b).finish()), Error);
}

TEST(Compose, ACastToTheSameTypeIsNothing) {
  GraphBuilder b("cast");
  const ValueId x = b.input("x", {1, 3, 4, 5});
  b.output(b.activation("act", b.node("cast", Cast{DType::f32}, {x}), {}));
  EXPECT_EQ(ops(std::move(b).finish()), Ops{"Relu"});
}

}  // namespace
}  // namespace reducenet
