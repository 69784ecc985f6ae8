#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace reducenet::train {
namespace {

/// From 1 at u = 0 to 0 at u = 1.
double cosine(double u) {
  return (1 + std::cos(std::numbers::pi * u)) / 2;
}

double between(double from, double to, double weight_of_from) {
  return to + (from - to) * weight_of_from;
}

}  // namespace

double fraction(const Position& at) {
  return at.steps == 0 ? 1 : static_cast<double>(at.step) / static_cast<double>(at.steps);
}

double learning_rate(const Recipe::Optimizer& optimizer, const Position& at) {
  const double step = static_cast<double>(at.step), steps = static_cast<double>(at.steps);
  const bool onecycle = optimizer.schedule == Recipe::Schedule::onecycle;
  const double rise = onecycle && optimizer.warmup == 0
                          ? 0.3 * steps
                          : std::min(steps, std::round(optimizer.warmup * static_cast<double>(at.steps_per_epoch)));
  if (step < rise && !onecycle) return optimizer.lr * (step + 1) / rise;
  const double u = steps > rise ? std::min(1.0, (step - rise) / (steps - rise)) : 1;
  switch (optimizer.schedule) {
    case Recipe::Schedule::cosine:
      return optimizer.lr * cosine(u);
    case Recipe::Schedule::onecycle:
      if (step < rise) return between(optimizer.lr / 25, optimizer.lr, cosine(step / rise));
      return between(optimizer.lr, optimizer.lr / 25e4, cosine(u));
    case Recipe::Schedule::step:
      return optimizer.lr *
             std::pow(optimizer.gamma, std::ranges::count_if(optimizer.milestones, [&](double milestone) {
                        return step >= milestone * steps;
                      }));
    case Recipe::Schedule::constant:
      break;
  }
  return optimizer.lr;
}

int64_t main_steps(const Recipe& recipe, const Position& at) {
  return at.steps - recipe.finetune.epochs * at.steps_per_epoch;
}

double learning_rate(const Recipe& recipe, const Position& at) {
  const int64_t main = main_steps(recipe, at), earlier = recipe.train.before * at.steps_per_epoch,
                others = earlier + recipe.train.after * at.steps_per_epoch;
  if (recipe.finetune.lr == 0) {
    const double since = static_cast<double>(at.step - main + 1);
    const double rise = std::max(1.0, std::round(recipe.finetune.warmup * static_cast<double>(at.steps_per_epoch)));
    return learning_rate(recipe.optimizer, {at.step + earlier, at.steps + others, at.steps_per_epoch}) *
           (since < 1 ? 1 : std::min(1.0, since / rise));
  }
  if (at.step < main) return learning_rate(recipe.optimizer, {at.step + earlier, main + others, at.steps_per_epoch});
  Recipe::Optimizer again = recipe.optimizer;
  again.lr = recipe.finetune.lr;
  again.warmup = recipe.finetune.warmup;
  return learning_rate(again, {at.step - main, at.steps - main, at.steps_per_epoch});
}

double fade_curve(Recipe::Curve curve, double u) {
  if (u <= 0) return 1;
  if (u >= 1) return 0;
  switch (curve) {
    case Recipe::Curve::cosine:
      return cosine(u);
    case Recipe::Curve::linear:
      return 1 - u;
    case Recipe::Curve::geometric:
      return std::pow(1000, -u);
  }
  throw std::logic_error("Recipe::Curve");
}

int64_t fade_rank(Recipe::Order order, int64_t index, int64_t count) {
  return order == Recipe::Order::backward ? count - 1 - index : index;
}

double fade_lambda(const Recipe::Fade& fade, double t, int64_t index, int64_t count) {
  if (!fade.begins()) return 1;
  if (t >= fade.end) return 0;
  double start = fade.start, width = fade.end - fade.start;
  if (fade.order != Recipe::Order::together) {
    width /= 1 + static_cast<double>(count - 1) * (1 - fade.overlap);
    start += static_cast<double>(fade_rank(fade.order, index, count)) * width * (1 - fade.overlap);
  }
  return fade_curve(fade.schedule, (t - start) / width);
}

double fade_lambda(const Recipe::Fade& fade, const Position& at, int64_t index, int64_t count) {
  const int64_t step = fade.per == Recipe::Per::epoch ? at.step - at.step % at.steps_per_epoch : at.step;
  return fade_lambda(fade, fraction({step, at.steps}), index, count);
}

}  // namespace reducenet::train
