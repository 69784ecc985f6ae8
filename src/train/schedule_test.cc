#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <tuple>

namespace reducenet::train {
namespace {

constexpr int64_t kSteps = 1000, kPerEpoch = 100;

Position at(int64_t step) {
  return {step, kSteps, kPerEpoch};
}

TEST(LearningRate, CosineAfterWarmup) {
  Recipe::Optimizer o;
  o.lr = 0.4;
  EXPECT_DOUBLE_EQ(learning_rate(o, at(0)), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(500)), 0.2);
  EXPECT_NEAR(learning_rate(o, at(kSteps)), 0, 1e-15);
  o.warmup = 2;
  EXPECT_DOUBLE_EQ(learning_rate(o, at(0)), 0.4 / 200);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(199)), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(600)), 0.2);
}

TEST(LearningRate, Step) {
  Recipe::Optimizer o;
  o.schedule = Recipe::Schedule::step;
  o.lr = 1;
  o.milestones = {0.5, 0.75};
  o.gamma = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate(o, at(499)), 1);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(500)), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(749)), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(750)), 0.1 * 0.1);
}

TEST(LearningRate, OneCycle) {
  Recipe::Optimizer o;
  o.schedule = Recipe::Schedule::onecycle;
  o.lr = 1;
  EXPECT_NEAR(learning_rate(o, at(0)), 1 / 25.0, 1e-15);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(150)), (1 + 1 / 25.0) / 2);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(300)), 1);
  EXPECT_DOUBLE_EQ(learning_rate(o, at(650)), (1 + 1 / 25e4) / 2);
  EXPECT_NEAR(learning_rate(o, at(kSteps)), 1 / 25e4, 1e-15);
  o.warmup = 1;
  EXPECT_DOUBLE_EQ(learning_rate(o, at(100)), 1);
}

TEST(LearningRate, ARunCanBeThePartOfALongerSchedule) {
  Recipe whole;
  whole.optimizer.lr = 0.4;
  whole.optimizer.warmup = 1;
  for (const double again : {0.0, 0.02}) {
    whole.finetune = {.epochs = 2, .lr = again};
    Recipe first = whole, second = whole;
    first.finetune = {};
    first.train.after = again == 0 ? 7 : 5;  // a schedule of its own is no part of the longer one
    second.train.before = 3;
    for (const int64_t step : {0, 50, 150, 299, 300, 301, 799, 800, 999}) {
      const double expected = learning_rate(whole, at(step));
      const double in_part = step < 300 ? learning_rate(first, {step, 300, kPerEpoch})
                                        : learning_rate(second, {step - 300, 700, kPerEpoch});
      EXPECT_DOUBLE_EQ(in_part, expected) << step;
    }
  }
}

TEST(LearningRate, ConstantAndRunsThatAreAllWarmup) {
  Recipe::Optimizer o;
  o.schedule = Recipe::Schedule::constant;
  EXPECT_DOUBLE_EQ(learning_rate(o, at(999)), o.lr);
  o.schedule = Recipe::Schedule::cosine;
  o.warmup = 100;
  EXPECT_DOUBLE_EQ(learning_rate(o, at(999)), o.lr);
}

TEST(FadeLambda, ArticleCosine) {
  Recipe::Fade fade;
  fade.end = 1;
  for (const int64_t step : {0, 1, 250, 500, 999}) {
    const double expected = 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(step) / kSteps));
    EXPECT_DOUBLE_EQ(fade_lambda(fade, at(step), 0, 3), expected);
  }
  EXPECT_EQ(fade_lambda(fade, at(kSteps), 0, 3), 0);
}

TEST(FadeLambda, NeverFallsWhereItBeginsAtTheEnd) {
  Recipe::Fade fade;
  fade.start = 1;
  for (const int64_t step : {int64_t{0}, int64_t{999}, kSteps}) EXPECT_EQ(fade_lambda(fade, at(step), 0, 3), 1);
}

TEST(FadeLambda, PerEpochHolds) {
  Recipe::Fade fade;
  fade.end = 1;
  fade.per = Recipe::Per::epoch;
  fade.schedule = Recipe::Curve::linear;
  EXPECT_DOUBLE_EQ(fade_lambda(fade, at(399), 0, 1), 0.7);
  EXPECT_DOUBLE_EQ(fade_lambda(fade, at(400), 0, 1), 0.6);
}

TEST(FadeLambda, GeometricFallsByTheSameFactorInEqualTimes) {
  EXPECT_DOUBLE_EQ(fade_curve(Recipe::Curve::geometric, 1.0 / 3), 0.1);
  EXPECT_DOUBLE_EQ(fade_curve(Recipe::Curve::geometric, 2.0 / 3), 0.01);
}

TEST(FadeLambda, StaggeredWindows) {
  Recipe::Fade fade;
  fade.schedule = Recipe::Curve::linear;
  fade.order = Recipe::Order::forward;
  fade.start = 0.2;
  fade.end = 0.8;
  // Three windows of 0.2 side by side.
  EXPECT_NEAR(fade_lambda(fade, at(300), 0, 3), 0.5, 1e-12);
  EXPECT_EQ(fade_lambda(fade, at(300), 1, 3), 1);
  EXPECT_EQ(fade_lambda(fade, at(450), 0, 3), 0);
  EXPECT_NEAR(fade_lambda(fade, at(550), 1, 3), 0.25, 1e-12);
  EXPECT_NEAR(fade_lambda(fade, at(700), 2, 3), 0.5, 1e-12);
  // Half overlapping: windows of 0.3, from 0.2, 0.35 and 0.5.
  fade.overlap = 0.5;
  EXPECT_NEAR(fade_lambda(fade, at(350), 0, 3), 0.5, 1e-12);
  EXPECT_NEAR(fade_lambda(fade, at(500), 1, 3), 0.5, 1e-12);
  EXPECT_NEAR(fade_lambda(fade, at(650), 2, 3), 0.5, 1e-12);
  fade.order = Recipe::Order::backward;
  EXPECT_NEAR(fade_lambda(fade, at(350), 2, 3), 0.5, 1e-12);
}

using Case = std::tuple<Recipe::Curve, Recipe::Per, Recipe::Order, double, int64_t>;
class FadeCombination : public testing::TestWithParam<Case> {};

TEST_P(FadeCombination, OneBeforeZeroAfterAndNeverRising) {
  const auto [curve, per, order, overlap, count] = GetParam();
  const Recipe::Fade fade{curve, per, 0.13, 0.71, order, overlap};
  for (int64_t i = 0; i < count; ++i) {
    double before = 1;
    for (int64_t step = 0; step <= kSteps; ++step) {
      const double lambda = fade_lambda(fade, at(step), i, count);
      EXPECT_LE(lambda, before);
      EXPECT_GE(lambda, 0);
      if (step <= 130) {
        EXPECT_EQ(lambda, 1);
      }
      if (step >= (per == Recipe::Per::epoch ? 800 : 710)) {
        EXPECT_EQ(lambda, 0);
      }
      if (per == Recipe::Per::epoch && step % kPerEpoch != 0) {
        EXPECT_EQ(lambda, before);
      }
      // Who goes first is never behind.
      if (i > 0) {
        const double earlier = fade_lambda(fade, at(step), i - 1, count);
        switch (order) {
          case Recipe::Order::forward:
            EXPECT_GE(lambda, earlier);
            break;
          case Recipe::Order::backward:
            EXPECT_LE(lambda, earlier);
            break;
          case Recipe::Order::together:
            EXPECT_EQ(lambda, earlier);
            break;
        }
      }
      before = lambda;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FadeCombination,
    testing::Combine(testing::Values(Recipe::Curve::cosine, Recipe::Curve::linear, Recipe::Curve::geometric),
                     testing::Values(Recipe::Per::iteration, Recipe::Per::epoch),
                     testing::Values(Recipe::Order::together, Recipe::Order::forward, Recipe::Order::backward),
                     testing::Values(0.0, 0.6), testing::Values(1, 9)));

TEST(FadeLambda, NothingToFadeFromTheStart) {
  Recipe::Fade fade;
  fade.end = 0;
  EXPECT_EQ(fade_lambda(fade, at(0), 0, 1), 0);
  fade.start = fade.end = 0.5;
  EXPECT_EQ(fade_lambda(fade, at(499), 0, 1), 1);
  EXPECT_EQ(fade_lambda(fade, at(500), 0, 1), 0);
}

}  // namespace
}  // namespace reducenet::train
