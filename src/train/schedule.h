#pragma once

#include "reducenet/train.h"

namespace reducenet::train {

/// Where in the run a step stands. `step` may equal `steps`: the state after the last one.
struct Position {
  int64_t step = 0, steps = 1, steps_per_epoch = 1;
};

/// Of the run, in [0, 1]; a run without steps is at its end.
double fraction(const Position& at);

/// Learning rate of a step. With r = warm-up steps (onecycle: 0.3·steps when warmup is 0) and u = (step − r)/(steps −
/// r):
///   warm-up    lr·(step + 1)/r   (not for onecycle)
///   cosine     lr·(1 + cos πu)/2
///   onecycle   from lr/25 up to lr over r, then down to lr/25e4, both along a cosine (Smith and Topin 2017)
///   step       lr·gammaᵏ, k milestones passed
///   constant   lr
double learning_rate(const Recipe::Optimizer& optimizer, const Position& at);

/// Steps of the run before its fine-tuning.
int64_t main_steps(const Recipe& recipe, const Position& at);
/// As above for the steps before fine-tuning, in the schedule that train.before and train.after make longer; after
/// them, the same schedule once more, from finetune.lr, no warm-up.
double learning_rate(const Recipe& recipe, const Position& at);

/// λ at u in [0, 1] of a fade: cosine (1 + cos πu)/2, linear 1 − u, geometric 1000⁻ᵘ; exactly 1 at u ≤ 0, exactly 0 at
/// u ≥ 1.
double fade_curve(Recipe::Curve curve, double u);
/// When fade `index` of `count` (in graph order) goes, from 0.
int64_t fade_rank(Recipe::Order order, int64_t index, int64_t count);

/// λ of fade `index` of `count` (in graph order). Fade k in fading order has the window
///   [start + k·w·(1 − overlap), … + w],   w = (end − start)/(1 + (count − 1)·(1 − overlap));   together: [start, end].
/// In it λ follows fade_curve: exactly 1 before, exactly 0 after. `t`: the fraction of the run that is done.
double fade_lambda(const Recipe::Fade& fade, double t, int64_t index, int64_t count);
double fade_lambda(const Recipe::Fade& fade, const Position& at, int64_t index, int64_t count);

}  // namespace reducenet::train
