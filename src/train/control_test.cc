#include "train/control.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "reducenet/error.h"

namespace reducenet::train {
namespace {

using Act = FadeDecision::Act;

constexpr int64_t kPerEpoch = 10;

FadePlan plan(Recipe::Control control, int64_t epochs = 20) {
  FadePlan plan{.steps = epochs * kPerEpoch, .steps_per_epoch = kPerEpoch};
  plan.fade.control = control;
  plan.fade.start = 0.2;
  plan.fade.end = 0.8;
  return plan;
}

TEST(FadeControl, ScheduleIsTheFormula) {
  const FadePlan p = plan(Recipe::Control::schedule);
  const auto control = make_control(p);
  control->begin(3);
  for (int64_t step = 0; step <= p.steps; ++step) {
    EXPECT_EQ(control->lambda(step, 1), fade_lambda(p.fade, {step, p.steps, p.steps_per_epoch}, 1, 3));
  }
  EXPECT_EQ(control->lambda(p.steps + 5, 1), 0);  // fine-tuning
}

/// The first step at which λ is 0 when the loss of each step is loss(step).
int64_t settles_at(const FadePlan& p, double (*loss)(int64_t step)) {
  const auto control = make_control(p);
  control->begin(1);
  double before = 1;
  for (int64_t step = 0; step <= p.steps; ++step) {
    const double lambda = control->lambda(step, 0);
    EXPECT_LE(lambda, before);
    if (step <= first_fading_step(p)) {
      EXPECT_EQ(lambda, 1);
    }
    if (lambda == 0) return step;
    before = lambda;
    control->after_step(step + 1, loss(step));
  }
  return p.steps + 1;
}

double falling(int64_t step) {
  return 2 - 0.005 * static_cast<double>(step);
}
double rising(int64_t step) {
  return step < 60 ? falling(step) : falling(60) + 0.05 * static_cast<double>(step - 60);
}
double doubled(int64_t step) {  // up at step 60, and level from there
  return step < 60 ? 1 : 2;
}

TEST(FadeControl, TheClockRunsWhileTheLossAllows) {
  for (const auto control : {Recipe::Control::loss, Recipe::Control::slope}) {
    const FadePlan p = plan(control);
    // [40, 160] at twice the schedule's speed.
    EXPECT_NEAR(settles_at(p, falling), 40 + 60, 2);
    // Held up from about step 60 on, until what is left is only just enough.
    EXPECT_EQ(settles_at(p, rising), 160);
  }
  // A higher but level loss: against its least value it waits, by its slope it goes on.
  EXPECT_EQ(settles_at(plan(Recipe::Control::loss), doubled), 160);
  const int64_t slope = settles_at(plan(Recipe::Control::slope), doubled);
  EXPECT_GT(slope, 105);
  EXPECT_LT(slope, 155);
}

TEST(FadeControl, TheClockGoesOnFromItsState) {
  const FadePlan p = plan(Recipe::Control::loss);
  const auto whole = make_control(p);
  whole->begin(2);
  for (int64_t step = 0; step < p.steps; ++step) {
    const auto copy = make_control(p);
    copy->begin(2);
    copy->restore(whole->state());
    EXPECT_EQ(copy->state(), whole->state());
    EXPECT_EQ(copy->lambda(step, 1), whole->lambda(step, 1));
    whole->after_step(step + 1, 1 + 0.3 / static_cast<double>(1 + step % 7));
  }
  EXPECT_THROW(make_control(p)->restore("0.5"), Error);
  EXPECT_THROW(make_control(p)->restore("1 2 3 4 5 6"), Error);
}

/// Drives a gate over the epochs; accuracies[e] is what epoch e ends with. Carries it over an interruption each epoch.
struct GateRun {
  std::vector<Act> acts;
  std::vector<double> last;                 ///< λ of each fade at the end
  std::vector<std::vector<double>> epochs;  ///< λ of each fade, first step of each epoch
};

GateRun run_gate(const FadePlan& p, int64_t fades, const std::vector<double>& accuracies) {
  GateRun run;
  auto control = make_control(p);
  control->begin(fades);
  const auto lambdas = [&](int64_t step) {
    std::vector<double> found;
    for (int64_t i = 0; i < fades; ++i) found.push_back(control->lambda(step, i));
    return found;
  };
  for (size_t epoch = 0; epoch < accuracies.size(); ++epoch) {
    const auto first = static_cast<int64_t>(epoch) * kPerEpoch;
    run.epochs.push_back(lambdas(first));
    auto again = make_control(p);
    again->begin(fades);
    again->restore(control->state());
    EXPECT_EQ(again->state(), control->state());
    control = std::move(again);
    run.acts.push_back(control->after_epoch(first + kPerEpoch, accuracies[epoch]).act);
  }
  run.last = lambdas(p.steps);
  return run;
}

FadePlan gate(int64_t groups, int64_t epochs) {
  FadePlan p = plan(Recipe::Control::gate, epochs);
  p.fade.start = 0.1;
  p.fade.end = 1;
  p.fade.groups = groups;
  p.fade.bound = 0.02;
  p.fade.schedule = Recipe::Curve::linear;
  return p;
}

TEST(FadeGate, GroupsGoOneAfterAnother) {
  // Two groups of two: ramp and hold of one epoch each.
  const GateRun run = run_gate(gate(2, 10), 4, std::vector<double>(10, 0.7));
  EXPECT_EQ(run.acts, (std::vector<Act>{Act::snapshot, Act::none, Act::snapshot, Act::none, Act::none, Act::none,
                                        Act::none, Act::none, Act::none, Act::none}));
  EXPECT_EQ(run.epochs[1], (std::vector<double>{1, 1, 1, 1}));
  EXPECT_EQ(run.epochs[2], (std::vector<double>{0, 0, 1, 1}));
  EXPECT_EQ(run.epochs[4], (std::vector<double>{0, 0, 0, 0}));
  EXPECT_EQ(run.last, (std::vector<double>{0, 0, 0, 0}));
}

TEST(FadeGate, BackwardAndRamp) {
  FadePlan p = gate(2, 10);
  p.fade.order = Recipe::Order::backward;
  auto control = make_control(p);
  control->begin(2);
  control->after_epoch(10, 0.5);
  EXPECT_DOUBLE_EQ(control->lambda(13, 1), 0.7);
  EXPECT_EQ(control->lambda(13, 0), 1);
}

TEST(FadeGate, AGroupThatCostsTooMuchGoesBackAndStays) {
  FadePlan p = gate(2, 16);
  p.fade.start = 0;
  p.fade.retries = 1;
  // Group 1 falls to 0.6 twice (the second time after a ramp of two epochs), then group 2 goes.
  const std::vector<double> accuracies{0.7,  0.6,  0.6, 0.6, 0.6, 0.6, 0.69, 0.69,
                                       0.69, 0.69, 0.7, 0.7, 0.7, 0.7, 0.7,  0.7};
  const GateRun run = run_gate(p, 2, accuracies);
  EXPECT_EQ(run.acts[0], Act::snapshot);
  EXPECT_EQ(run.acts[2], Act::roll_back);
  EXPECT_EQ(run.epochs[2][0], 0);
  EXPECT_EQ(run.epochs[3][0], 1);    // back
  EXPECT_EQ(run.epochs[4][0], 0.5);  // half as fast
  EXPECT_EQ(run.acts[5], Act::roll_back);
  EXPECT_EQ(run.acts[7], Act::none);  // 0.69 is within 0.02 of 0.7
  EXPECT_EQ(run.last, (std::vector<double>{1, 0}));
}

TEST(FadeGate, WithoutTimeLeftGroupsStay) {
  const GateRun run = run_gate(gate(3, 6), 3, std::vector<double>(6, 0.7));
  EXPECT_EQ(run.last, (std::vector<double>{0, 0, 1}));
  for (const auto& lambdas : run.epochs) EXPECT_EQ(lambdas[2], 1);
}

TEST(FadeGate, AsManyGroupsAsThereIsTimeFor) {
  // From epoch 1 to epoch 9: four groups of two epochs.
  FadePlan p = gate(0, 10);
  p.fade.end = 0.9;
  const GateRun run = run_gate(p, 8, std::vector<double>(10, 0.7));
  EXPECT_EQ(std::ranges::count(run.acts, Act::snapshot), 4);
  EXPECT_EQ(run.last, std::vector<double>(8, 0));
}

}  // namespace
}  // namespace reducenet::train
