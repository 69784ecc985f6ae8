#pragma once

#include "reducenet/train.h"

namespace reducenet::train {

/// Where in the run a step stands. `step` may equal `steps`: the state after the last one.
struct Position {
  int64_t step = 0, steps = 1, steps_per_epoch = 1;
};

/// Learning rate of a step. With r = warm-up steps (onecycle: 0.3·steps when warmup is 0) and u = (step − r)/(steps −
/// r):
///   warm-up    lr·(step + 1)/r   (not for onecycle)
///   cosine     lr·(1 + cos πu)/2
///   onecycle   from lr/25 up to lr over r, then down to lr/25e4, both along a cosine (Smith and Topin 2017)
///   step       lr·gammaᵏ, k milestones passed
///   constant   lr
double learning_rate(const Recipe::Optimizer& optimizer, const Position& at);

/// λ of fade `index` of `count` (in graph order). Fade k in fading order has the window
///   [start + k·w·(1 − overlap), … + w],   w = (end − start)/(1 + (count − 1)·(1 − overlap));   together: [start, end].
/// In it, with u from 0 to 1: cosine λ = (1 + cos πu)/2, linear λ = 1 − u. Exactly 1 before, exactly 0 after.
double fade_lambda(const Recipe::Fade& fade, const Position& at, int64_t index, int64_t count);

}  // namespace reducenet::train
