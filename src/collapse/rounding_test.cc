#include "collapse/rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "collapse/testing.h"
#include "reducenet/arch.h"
#include "reducenet/builder.h"
#include "reducenet/collapse.h"
#include "reducenet/verify.h"

namespace reducenet {
namespace {

double sum_of(const Tensor& tensor) {
  double sum = 0;
  for (const double v : tensor.to_doubles()) sum += v;
  return sum;
}

TEST(Rounding, SumsOfEqualWeightsAreOffByOneRounding) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const int axis : {0, 1}) {
      const Tensor exact = Tensor::adopt(axis == 1 ? Shape{1, 5000} : Shape{5000, 1}, std::vector<double>(5000, 0.1));
      const double one = std::abs(Tensor::filled({1}, 0.1, dtype).to_doubles()[0] - 0.1);
      EXPECT_GT(std::abs(sum_of(exact.cast(dtype)) - 500), 4000 * one);
      EXPECT_LT(std::abs(sum_of(rounded_sums(exact, dtype, axis)) - 500), 16 * one) << to_string(dtype);
    }
  }
}

TEST(Rounding, SumsKeepToThemselvesAndZerosStay) {
  const Tensor exact = Tensor::adopt({2, 3}, {0.1, 0, 1.0 / 3, 0.2, 1.0 / 7, 0});
  const std::vector<double> rows = rounded_sums(exact, DType::f32, 1).to_doubles();
  EXPECT_EQ(rows[1], 0);
  EXPECT_EQ(rows[5], 0);
  EXPECT_EQ(rows[0], 0.1F);
  EXPECT_EQ(rows[3], 0.2F);
  EXPECT_NEAR(rows[0] + rows[2], 0.1 + 1.0 / 3, 1.5e-8);
  EXPECT_NEAR(rows[3] + rows[4], 0.2 + 1.0 / 7, 0.75e-8);
  const std::vector<double> columns = rounded_sums(exact, DType::f32, 0).to_doubles();
  EXPECT_NEAR(columns[0] + columns[3], 0.1 + 0.2, 0.75e-8);
}

/// Of many magnitudes.
std::vector<double> numbers(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(count);
  for (double& v : values) v = normal(random) * std::pow(10, normal(random));
  return values;
}

TEST(Rounding, NoElementTakesOverMoreThanOneRoundingOfItsOwn) {
  const std::vector<double> exact = numbers(2000, 1);
  for (const auto& [dtype, unit] : {std::pair{DType::f32, 0x1p-24}, {DType::bf16, 0x1p-8}}) {
    const std::vector<double> made =
        rounded_sums(Tensor::adopt({1, 2000}, std::vector<double>(exact)), dtype, 1).to_doubles();
    double sum = 0, largest = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_LE(std::abs(made[i] - exact[i]), 2.02 * unit * std::abs(exact[i])) << i;
      sum += made[i] - exact[i];
      largest = std::max(largest, std::abs(exact[i]));
      EXPECT_LE(std::abs(sum), 1.01 * unit * largest) << i;
    }
  }
}

/// In a matrix of few elements errors do not average out.
TEST(Rounding, SmallMatricesAreCertified) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    GraphBuilder b("small", seed);
    const ValueId weight = b.constant("weight", Tensor::from_doubles({4, 6}, numbers(24, seed), DType::f32));
    b.output(b.batch_norm("bn", b.node("fc", MatMul{}, {b.input("x", {1, 4}), weight})));
    const Graph graph = testing::as_trained(std::move(b).finish(), seed);
    const Collapsed collapsed = collapse(graph);
    ASSERT_EQ(collapsed.graph.nodes.size(), 1U);
    const Certificate certificate = verify(graph, collapsed);
    EXPECT_TRUE(certificate.verified) << seed << ": " << certificate.why;
  }
}

TEST(Rounding, TheLargestNumbersStayFinite) {
  const double most = std::numeric_limits<float>::max();
  const Tensor exact = Tensor::adopt({1, 3}, {most * (1 - 1e-8), most, most});
  for (const double v : rounded_sums(exact, DType::f32, 1).to_doubles()) EXPECT_TRUE(std::isfinite(v));
}

/// What an evenly bright image makes of what the matrix of a one-matrix network has lost: per output, its row's sum.
double error_of_sums(const Tensor& matrix, const Tensor& exact) {
  const std::vector<double> a = matrix.to_doubles(), b = exact.to_doubles();
  const size_t columns = static_cast<size_t>(exact.shape()[1]);
  double worst = 0;
  for (size_t row = 0; row < a.size(); row += columns) {
    double sum = 0;
    for (size_t k = row; k < row + columns; ++k) sum += a[k] - b[k];
    worst = std::max(worst, std::abs(sum));
  }
  return worst;
}

TEST(Rounding, OneMatrixKeepsItsSumsOverTheImage) {
  const Graph graph =
      testing::as_trained(build("article", {.modules = 1, .widths = {4, 6}, .height = 24, .width = 24}));
  const CollapseOptions options{.target = Target::single};
  const auto matrix_of = [](const Graph& one) { return *one.constant(one.nodes.back().inputs[1]); };
  const Tensor made = matrix_of(collapse(graph, options).graph);
  const Tensor exact = matrix_of(collapse(testing::in_double(graph), options).graph);
  ASSERT_EQ(made.dtype(), DType::f32);
  ASSERT_EQ(exact.dtype(), DType::f64);
  EXPECT_LT(error_of_sums(made, exact), error_of_sums(exact.cast(DType::f32), exact) / 8);
}

/// 0.013·a·x + 0.987·a·x − a·x nearly, where the last is a BatchNorm's whose vectors come through Identities that
/// another region reads, too.
TEST(Rounding, WhatCancelsIsRoundedOnceThoughItsConstantsComeThroughANode) {
  GraphBuilder b("cancels");
  const auto vector = [&](const char* name, const std::vector<double>& values) {
    const ValueId stored = b.constant(name, Tensor::from_doubles({2}, values, DType::f32));
    return b.node(std::string(name) + ".copy", Identity{}, {stored});
  };
  const ValueId gamma = vector("gamma", {-1.4999, -1.49999}), beta = vector("beta", {1, 1});
  const ValueId mean = vector("mean", {0.1, -0.2}), variance = vector("var", {0.7, 0.3});
  const auto norm = [&](const char* name, ValueId x) {
    return b.node(name, BatchNorm{}, {x, gamma, beta, mean, variance});
  };
  const ValueId x = b.activation("act", norm("early", b.input("x", {1, 2, 6, 6})), Activation{});
  const auto branch = [&](const char* name, double part) {
    const std::vector<double> factors{part * 1.4999 / std::sqrt(0.7), part * 1.49999 / std::sqrt(0.3)};
    const Tensor weight = Tensor::from_doubles({2, 1, 1, 1}, factors, DType::f32);
    return b.node(name, Conv2d{.groups = 2}, {x, b.constant(std::string(name) + ".weight", weight)});
  };
  const ValueId both = b.add("both", branch("first", 0.013), branch("second", 0.987));
  b.output(b.activation("last", b.add("sum", both, norm("late", x)), Activation{}));
  const Graph graph = std::move(b).finish();

  const auto weight_of = [](const Graph& one) { return *one.constant(one.nodes.at(2).inputs.at(1)); };
  const CollapseOptions options{.target = Target::module};
  const Collapsed collapsed = collapse(graph, options);
  ASSERT_EQ(collapsed.graph.nodes.size(), 4U);
  EXPECT_EQ(weight_of(collapsed.graph), weight_of(collapse(testing::in_double(graph), options).graph).cast(DType::f32));
  EXPECT_TRUE(verify(graph, collapsed).verified);
}

}  // namespace
}  // namespace reducenet
