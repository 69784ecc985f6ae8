#include "train/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

namespace reducenet::train {
namespace {

struct Case {
  std::vector<int64_t> sizes;
  int64_t branches, residuals;
  double slope;
  bool training = true;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << at::IntArrayRef(c.sizes) << " branches " << c.branches << " residuals " << c.residuals << " slope " << c.slope
       << (c.training ? " training" : " inference");
}

NormSum random_sum(const Case& c) {
  const int64_t channels = c.sizes[1];
  std::vector<int64_t> per_channel(c.sizes.size(), 1);
  per_channel[1] = channels;
  const auto term = [&] {
    const at::Tensor x = at::randn(c.sizes) * (at::rand(per_channel) * 0.9 + 0.1) + 0.5;
    const auto format = c.sizes.size() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    return x.contiguous(format).requires_grad_();
  };
  NormSum sum{.slope = c.slope};
  for (int64_t i = 0; i < c.branches; ++i) {
    sum.branches.push_back({term(), (at::randn({channels}) + 1).requires_grad_(),
                            at::randn({channels}).requires_grad_(), at::randn({channels}), at::rand({channels}) + 0.5,
                            1e-5, 0.1 + 0.2 * static_cast<double>(i)});
  }
  for (int64_t j = 0; j < c.residuals; ++j) sum.residuals.push_back(term());
  return sum;
}

std::vector<at::Tensor> leaves(const NormSum& sum) {
  std::vector<at::Tensor> found;
  for (const auto& branch : sum.branches) found.insert(found.end(), {branch.x, branch.gamma, branch.beta});
  found.insert(found.end(), sum.residuals.begin(), sum.residuals.end());
  return found;
}

/// The same tensors in double, with gradients of their own.
NormSum in_double(const NormSum& sum) {
  const auto copy = [](const at::Tensor& t) {
    return t.detach().to(at::kDouble).clone().requires_grad_(t.requires_grad());
  };
  NormSum twin{.slope = sum.slope};
  for (const auto& b : sum.branches) {
    twin.branches.push_back(
        {copy(b.x), copy(b.gamma), copy(b.beta), copy(b.mean), copy(b.variance), b.epsilon, b.momentum});
  }
  for (const at::Tensor& r : sum.residuals) twin.residuals.push_back(copy(r));
  return twin;
}

/// The formula in LibTorch's own operators.
at::Tensor reference(const NormSum& sum, bool training) {
  at::Tensor y;
  for (const auto& b : sum.branches) {
    const at::Tensor term =
        at::batch_norm(b.x, b.gamma, b.beta, b.mean, b.variance, training, b.momentum, b.epsilon, false);
    y = y.defined() ? y + term : term;
  }
  for (const at::Tensor& r : sum.residuals) y = y + r;
  return sum.slope == 1 ? y : at::leaky_relu(y, sum.slope);
}

/// Largest difference, relative to the largest element.
double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.detach().to(at::kDouble) - b.detach()).abs().max().item<double>() /
         (1e-6 + b.detach().abs().max().item<double>());
}

class NormSumTest : public testing::TestWithParam<Case> {};

TEST_P(NormSumTest, IsTheFormula) {
  at::manual_seed(7);
  const Case& c = GetParam();
  const NormSum sum = random_sum(c), twin = in_double(sum);
  const at::Tensor expected = reference(twin, c.training);
  const at::Tensor weight = at::randn(c.sizes, at::kDouble), other = at::randn(c.sizes, at::kDouble);
  const std::vector<at::Tensor> y = norm_sum(sum, c.training, 3);  // the third reader gives no gradient
  ASSERT_EQ(y.size(), 3u);
  EXPECT_LT(distance(y[0], expected), 2e-6);
  EXPECT_LT(distance(y[1], expected), 2e-6);
  (expected * (weight + other)).sum().backward();
  ((y[0] * weight.to(at::kFloat)).sum() + (y[1] * other.to(at::kFloat)).sum()).backward();
  const auto actual_leaves = leaves(sum), expected_leaves = leaves(twin);
  for (size_t i = 0; i < actual_leaves.size(); ++i) {
    ASSERT_TRUE(actual_leaves[i].grad().defined()) << i;
    EXPECT_LT(distance(actual_leaves[i].grad(), expected_leaves[i].grad()), 2e-5) << "argument " << i;
  }
  for (size_t i = 0; i < sum.branches.size(); ++i) {
    EXPECT_LT(distance(sum.branches[i].mean, twin.branches[i].mean), 1e-6);
    EXPECT_LT(distance(sum.branches[i].variance, twin.branches[i].variance), 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, NormSumTest,
    testing::Values(Case{{4, 16, 8, 8}, 1, 0, 1}, Case{{4, 16, 8, 8}, 1, 0, 0}, Case{{4, 16, 8, 8}, 1, 1, 0},
                    Case{{4, 16, 8, 8}, 2, 1, 0}, Case{{3, 1, 5, 7}, 1, 1, 0.37}, Case{{3, 3, 33, 31}, 2, 0, 0.37},
                    Case{{5, 17, 9, 11}, 3, 2, 0.9}, Case{{2, 130, 6, 5}, 1, 3, 0}, Case{{2, 513, 3, 5}, 2, 1, 1},
                    Case{{9, 10, 40, 40}, 1, 1, 0.1}, Case{{7, 64, 32, 32}, 2, 1, 0}, Case{{64, 12}, 1, 0, 0},
                    Case{{33, 700}, 2, 1, 0.5}, Case{{9, 4, 1, 1}, 1, 0, 1}, Case{{4, 16, 8, 8}, 1, 1, 0, false},
                    Case{{5, 17, 9, 11}, 2, 2, 0.37, false}, Case{{9, 10, 40, 40}, 1, 0, 1, false}));

TEST(NormSum, ReadersWithoutAnActivationShareOneGradient) {
  const NormSum sum = random_sum({{4, 6, 5, 5}, 1, 2, 1});
  norm_sum(sum, true, 1)[0].sum().backward();
  for (const at::Tensor& r : sum.residuals) EXPECT_TRUE(at::equal(r.grad(), at::ones_like(r)));
}

TEST(NormSum, KeepsTheVarianceOfFarValues) {
  at::manual_seed(2);
  const at::Tensor x = (at::randn({16, 8, 20, 20}) + 3000).contiguous(at::MemoryFormat::ChannelsLast);
  const NormSum sum{.branches = {{x, at::ones({8}), at::zeros({8}), at::zeros({8}), at::ones({8}), 0, 1.0}}};
  const c10::AutoGradMode no_grad(false);
  norm_sum(sum, true, 1);
  const at::Tensor exact = x.to(at::kDouble);
  EXPECT_LT(distance(sum.branches[0].mean, exact.mean(at::IntArrayRef{0, 2, 3})), 1e-7);
  EXPECT_LT(distance(sum.branches[0].variance, exact.var(at::IntArrayRef{0, 2, 3}, true)), 1e-6);
}

TEST(NormSum, DoesNotDependOnThreads) {
  const int before = at::get_num_threads();
  std::vector<std::vector<at::Tensor>> results;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    at::manual_seed(5);
    const NormSum sum = random_sum({{16, 24, 30, 30}, 2, 1, 0});
    const at::Tensor y = norm_sum(sum, true, 1)[0];
    (y * y).sum().backward();
    std::vector<at::Tensor> all{y, sum.branches[0].mean, sum.branches[1].variance};
    for (const at::Tensor& leaf : leaves(sum)) all.push_back(leaf.grad());
    results.push_back(all);
  }
  at::set_num_threads(before);
  for (size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << i;
}

TEST(NormSum, RefusesOtherShapes) {
  NormSum sum = random_sum({{4, 6, 5, 5}, 1, 1, 0});
  sum.residuals[0] = at::zeros({4, 6, 1, 1});
  EXPECT_THROW(norm_sum(sum, true, 1), c10::Error);
}

}  // namespace
}  // namespace reducenet::train
