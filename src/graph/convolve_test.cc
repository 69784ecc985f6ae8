#include "graph/convolve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace reducenet {
namespace {

using reference::Array;

template <class T>
class Convolve : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Convolve, Types);

/// y = w∗x + b against the plain loops, and |w|∗|x| + |b| to judge the difference by.
template <class T>
void compare(const Conv2d& op, Shape x_shape, Shape w_shape, bool bias, bool as_floats, int threads, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw;
  Array<T> x(x_shape), w(w_shape), b(Shape{w_shape[0]});
  std::vector<float> floats(w.data.size());
  for (T& v : x.data) v = draw(random);
  for (size_t i = 0; i < floats.size(); ++i) w.data[i] = floats[i] = draw(random);
  for (T& v : b.data) v = draw(random);
  const auto size = [&](size_t axis, int64_t before, int64_t after) {
    return (x_shape[axis + 2] + before + after - op.dilation[axis] * (w_shape[axis + 2] - 1) - 1) / op.stride[axis] + 1;
  };
  const Shape y_shape{x_shape[0], w_shape[0], size(0, op.padding.top, op.padding.bottom),
                      size(1, op.padding.left, op.padding.right)};
  Array<T> expected(y_shape), terms(y_shape), found(y_shape);
  std::fill(found.data.begin(), found.data.end(), T(7));  // every output is written
  reference::conv(op, x, w, bias ? &b : nullptr, expected, 1);
  Weights<T> weights{w_shape, {}, w.data};
  if (as_floats) weights = {w_shape, floats, {}};
  convolve(op, x, weights, bias ? &b : nullptr, found, threads);
  for (Array<T>* a : {&x, &w, &b}) {
    for (T& v : a->data) v = std::abs(v);
  }
  reference::conv(op, x, w, bias ? &b : nullptr, terms, 1);
  const T unit = std::numeric_limits<T>::epsilon() * static_cast<T>(w_shape[1] * w_shape[2] * w_shape[3] + 1);
  for (size_t i = 0; i < found.data.size(); ++i) {
    ASSERT_LE(std::abs(found.data[i] - expected.data[i]), unit * terms.data[i])
        << "at " << i << " of " << to_string(y_shape) << ", x " << to_string(x_shape) << ", w " << to_string(w_shape);
  }
}

TYPED_TEST(Convolve, EqualsThePlainLoops) {
  std::mt19937_64 random(1);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (uint64_t seed = 0; seed < 150; ++seed) {
    const int64_t groups = draw(0, 2) ? 1 : draw(2, 3), kh = draw(1, 5), kw = draw(1, 5);
    const Conv2d op{.stride = {draw(1, 3), draw(1, 3)},
                    .padding = {draw(0, 3), draw(0, 3), draw(0, 3), draw(0, 3)},
                    .dilation = {draw(1, 2), draw(1, 2)},
                    .groups = groups};
    const Shape x{draw(1, 3), groups * draw(1, 40), 2 * kh + draw(0, 12), 2 * kw + draw(0, 12)};
    compare<TypeParam>(op, x, {groups * draw(1, 20), x[1] / groups, kh, kw}, draw(0, 1), draw(0, 1),
                       static_cast<int>(draw(1, 4)), seed);
  }
}

TYPED_TEST(Convolve, SumsOfManyBlocks) {
  compare<TypeParam>({.padding = {1, 1, 1, 1}}, {2, 70, 17, 17}, {33, 70, 3, 3}, true, true, 2, 3);
  compare<TypeParam>({}, {3, 300, 1, 1}, {257, 300, 1, 1}, false, true, 2, 4);
}

// x·W for a matrix that is stored [input, output]: the same as with its transpose.
TYPED_TEST(Convolve, ReadsMatricesThatAreNotTransposed) {
  for (const int64_t outputs : {2, 6, 13}) {
    const int64_t inputs = 300, rows = 5;
    std::mt19937_64 random(1);
    std::normal_distribution<float> draw;
    Array<TypeParam> x(Shape{rows, inputs, 1, 1}), expected(Shape{rows, outputs, 1, 1}), found = expected;
    for (TypeParam& v : x.data) v = draw(random);
    std::vector<float> w(static_cast<size_t>(inputs * outputs)), turned(w.size());
    for (int64_t k = 0; k < inputs; ++k) {
      for (int64_t o = 0; o < outputs; ++o) {
        w[static_cast<size_t>(o * inputs + k)] = turned[static_cast<size_t>(k * outputs + o)] = draw(random);
      }
    }
    const Shape shape{outputs, inputs, 1, 1};
    convolve<TypeParam>({}, x, {shape, w, {}}, nullptr, expected, 2);
    convolve<TypeParam>({}, x, {shape, turned, {}, true}, nullptr, found, 2);
    EXPECT_EQ(found.data, expected.data);
  }
}

}  // namespace
}  // namespace reducenet
