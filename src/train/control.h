#pragma once

#include <memory>
#include <string>

#include "train/schedule.h"

namespace reducenet::train {

/// What a control of fades works on.
struct FadePlan {
  Recipe::Fade fade;
  int64_t steps = 1;  ///< of the run before its fine-tuning; a multiple of steps_per_epoch
  int64_t steps_per_epoch = 1;
};

/// What is to be done at the end of an epoch, and why (a sentence for the log; empty: nothing happened).
struct FadeDecision {
  enum class Act { none, snapshot, roll_back };
  Act act = Act::none;  ///< snapshot: keep the network as it is; roll_back: return to the last snapshot
  std::string why;
};

/// Moves λ. From the plan's last step on, every λ is exactly 0 or (gate) exactly 1. A control is a function of what it
/// was told: state() and restore() carry it over an interruption bit for bit.
class FadeControl {
 public:
  virtual ~FadeControl() = default;
  /// So many fades go; until then every λ is 1.
  virtual void begin(int64_t fades) = 0;
  /// Of fade `index` of those that go, in graph order.
  virtual double lambda(int64_t step, int64_t index) const = 0;
  /// `done`: steps done; `loss`: of the last one.
  virtual void after_step(int64_t /*done*/, double /*loss*/) {}
  /// `top1`: on held-out images, of the network as it is.
  virtual FadeDecision after_epoch(int64_t /*done*/, double /*top1*/) { return {}; }
  virtual std::string state() const { return ""; }
  /// Error(bad_input) when the text is no state of this control.
  virtual void restore(const std::string& /*state*/) {}
};

/// schedule: λ = fade_lambda(t), t the fraction of the run that is done.
/// loss, slope: λ = fade_lambda(τ) with a clock τ that starts with t at `start`, runs `speed` times as fast as t while
/// the loss allows, and stands still otherwise; when what is left of [start, end] is only just enough, it runs in any
/// case. With a and b the loss smoothed over 1/8 and over 1 epoch: loss waits while a > (1 + tolerance)·min a since
/// `start`; slope waits while a > (1 + tolerance)·b, that is, while the loss rises. gate: groups of neighbouring fades
/// go one after another: snapshot, `ramp` epochs of λ from 1 to 0, `hold` epochs at 0. If then top-1 is below the best
/// of all snapshots by more than `bound`, back to the snapshot; the group is tried again with ramps of 2, 4, … times
/// the length, and after `retries` of these it stays at λ = 1 for good. No ramp begins that cannot be over and judged
/// by `end`.
std::unique_ptr<FadeControl> make_control(const FadePlan& plan);

/// The step before which the network is at λ = 1: what survives is chosen there, and the deep self is kept. For the
/// gate, the end of an epoch, the first at the earliest.
int64_t first_fading_step(const FadePlan& plan);

}  // namespace reducenet::train
