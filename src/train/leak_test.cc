#include "train/leak.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace reducenet::train {
namespace {

/// y and both gradients, for a random ∂y.
struct Result {
  at::Tensor y, dx, dslope;
};

Result run(const at::Tensor& x, const at::Tensor& slope, const at::Tensor& dy,
           at::Tensor (*f)(const at::Tensor&, const at::Tensor&)) {
  const at::Tensor in = x.detach().clone().requires_grad_(), s = slope.detach().clone().requires_grad_();
  const at::Tensor y = f(in, s);
  (y * dy).sum().backward();
  return {y.detach(), in.grad(), s.grad()};
}

at::Tensor formula(const at::Tensor& x, const at::Tensor& slope) {
  return at::where(x > 0, x, slope * x);
}

class LeakTest : public testing::TestWithParam<std::vector<int64_t>> {};

// Against the formula in double; slopes of both signs, so that the sign of y says nothing.
TEST_P(LeakTest, IsTheFormula) {
  at::manual_seed(3);
  const at::Tensor x = at::randn(GetParam()), dy = at::randn(GetParam()), slope = at::randn({GetParam()[1], 1, 1});
  const Result fused = run(x, slope, dy, leak);
  const Result exact = run(x.to(at::kDouble), slope.to(at::kDouble), dy.to(at::kDouble), formula);
  EXPECT_TRUE(at::allclose(fused.y.to(at::kDouble), exact.y, 1e-6, 1e-7));
  EXPECT_TRUE(at::allclose(fused.dx.to(at::kDouble), exact.dx, 1e-6, 1e-7));
  EXPECT_EQ(fused.dslope.sizes(), slope.sizes());
  EXPECT_TRUE(at::allclose(fused.dslope.to(at::kDouble), exact.dslope, 1e-5, 1e-3));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LeakTest,
                         testing::Values(std::vector<int64_t>{2, 3, 4, 5}, std::vector<int64_t>{1, 1, 1, 1},
                                         std::vector<int64_t>{9, 17, 31, 33}, std::vector<int64_t>{64, 16, 32, 32},
                                         std::vector<int64_t>{3, 600, 2, 2}));

TEST(Leak, ASlopeForAllOrOfAnotherAxisBroadcasts) {
  const at::Tensor x = at::randn({2, 3, 4, 4});
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1}, {3, 4, 4}, {4, 1}}) {
    const at::Tensor slope = at::rand(shape);
    EXPECT_TRUE(at::equal(leak(x, slope), formula(x, slope)));
  }
}

TEST(Leak, DoesNotDependOnThreads) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({32, 5, 40, 40}), slope = at::randn({5, 1, 1}), dy = at::randn(x.sizes());
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Result one = run(x, slope, dy, leak);
  at::set_num_threads(2);
  const Result two = run(x, slope, dy, leak);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one.y, two.y) && at::equal(one.dx, two.dx) && at::equal(one.dslope, two.dslope));
}

}  // namespace
}  // namespace reducenet::train
