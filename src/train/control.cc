#include "train/control.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <vector>

#include "reducenet/error.h"

namespace reducenet::train {
namespace {

using Control = Recipe::Control;

/// Reads the fields of a state in order; refuses what is left over or missing.
template <class... T>
void read_fields(const std::string& text, T&... fields) {
  std::istringstream in(text);
  const auto read = [&in](auto& field) {
    std::string word;
    in >> word;
    std::istringstream(word) >> field;
    return !word.empty();
  };
  std::string rest;
  if (!(read(fields) && ...) || (in >> rest)) {
    throw Error(ErrorKind::bad_input, "the checkpoint's state of the fades makes no sense: '" + text + "'");
  }
}

class Schedule : public FadeControl {
 public:
  explicit Schedule(const FadePlan& plan) : plan_(plan) {}
  void begin(int64_t fades) override { fades_ = fades; }
  double lambda(int64_t step, int64_t index) const override {
    return fade_lambda(plan_.fade, {std::min(step, plan_.steps), plan_.steps, plan_.steps_per_epoch}, index, fades_);
  }

 private:
  FadePlan plan_;
  int64_t fades_ = 0;
};

/// The clock τ of loss and slope.
class Clock : public FadeControl {
 public:
  explicit Clock(const FadePlan& plan) : plan_(plan), now_(plan.fade.start), shown_(now_) {}
  void begin(int64_t fades) override { fades_ = fades; }

  double lambda(int64_t step, int64_t index) const override {
    return fraction(step) >= plan_.fade.end ? 0 : fade_lambda(plan_.fade, shown_, index, fades_);
  }

  void after_step(int64_t done, double loss) override {
    const double epoch = static_cast<double>(plan_.steps_per_epoch);
    smooth(quick_, loss, epoch / 8);
    smooth(slow_, loss, epoch);
    const Recipe::Fade& fade = plan_.fade;
    if (done > first_fading_step(plan_)) {
      least_ = least_ < 0 ? quick_ : std::min(least_, quick_);
      const double reference = fade.control == Control::loss ? least_ : slow_;
      const bool late = (fade.end - now_) / fade.speed >= fade.end - fraction(done);
      if (late || quick_ <= (1 + fade.tolerance) * reference) {
        now_ = std::min(fade.end, now_ + fade.speed / static_cast<double>(plan_.steps));
      }
    }
    if (fade.per == Recipe::Per::iteration || done % plan_.steps_per_epoch == 0) shown_ = now_;
  }

  std::string state() const override { return fmt::format("{} {} {} {} {}", now_, shown_, quick_, slow_, least_); }
  void restore(const std::string& state) override { read_fields(state, now_, shown_, quick_, slow_, least_); }

 private:
  double fraction(int64_t step) const { return train::fraction({step, plan_.steps}); }
  /// Moving average over about `steps` steps; the first value starts it.
  static void smooth(double& mean, double value, double steps) {
    mean = mean < 0 ? value : mean + (value - mean) / std::max(1.0, steps);
  }

  FadePlan plan_;
  int64_t fades_ = 0;
  double now_, shown_;                          // τ, and τ as λ shows it
  double quick_ = -1, slow_ = -1, least_ = -1;  // −1: nothing yet
};

class Gate : public FadeControl {
 public:
  explicit Gate(const FadePlan& plan) : plan_(plan) {}

  void begin(int64_t fades) override {
    fades_ = std::max<int64_t>(1, fades);
    const int64_t fits = (last_step() - first_fading_step(plan_)) / length(plan_.fade.ramp + plan_.fade.hold);
    groups_ = std::clamp<int64_t>(plan_.fade.groups == 0 ? fits : plan_.fade.groups, 1, fades_);
    if (fades == 0) phase_ = over;
  }

  double lambda(int64_t step, int64_t index) const override {
    const int64_t group = fade_rank(plan_.fade.order, index, fades_) * groups_ / fades_;
    if (group < group_) return kept(group) ? 1 : 0;
    if (group > group_ || phase_ == waiting || phase_ == over) return 1;
    if (phase_ == holding) return 0;
    return fade_curve(plan_.fade.schedule, static_cast<double>(step - since_) / static_cast<double>(ramp()));
  }

  FadeDecision after_epoch(int64_t done, double top1) override {
    switch (phase_) {
      case waiting:
        return done >= first_fading_step(plan_) ? next(done, top1, "") : FadeDecision{};
      case fading:
        if (done >= since_ + ramp()) phase_ = holding, since_ = done;
        return {};
      case holding:
        return done >= since_ + length(plan_.fade.hold) ? judge(done, top1) : FadeDecision{};
      case over:
        break;
    }
    return {};
  }

  std::string state() const override {
    return fmt::format("{} {} {} {} {} x{}", static_cast<int>(phase_), group_, since_, attempt_, best_, kept_);
  }
  void restore(const std::string& state) override {
    int phase = 0;
    std::string kept;
    read_fields(state, phase, group_, since_, attempt_, best_, kept);
    phase_ = static_cast<Phase>(phase);
    kept_ = kept.substr(1);
  }

 private:
  enum Phase { waiting, fading, holding, over };

  int64_t length(int64_t epochs) const { return epochs * plan_.steps_per_epoch; }
  int64_t ramp() const { return length(plan_.fade.ramp) << attempt_; }
  /// The end of the last epoch before `end`.
  int64_t last_step() const {
    const auto end = static_cast<int64_t>(std::floor(plan_.fade.end * static_cast<double>(plan_.steps)));
    return end - end % plan_.steps_per_epoch;
  }
  bool kept(int64_t group) const { return kept_[static_cast<size_t>(group)] == '1'; }

  /// The next ramp, or the end of all fading when there is no time for it.
  FadeDecision next(int64_t done, double top1, const std::string& before) {
    best_ = std::max(best_, top1);
    phase_ = over;
    if (group_ == groups_) return {{}, before};
    if (done + ramp() + length(plan_.fade.hold) > last_step()) {
      kept_.append(static_cast<size_t>(groups_ - group_), '1');
      const std::string why = fmt::format("{}no time to fade groups {} to {}: they stay", before, group_ + 1, groups_);
      group_ = groups_;
      return {{}, why};
    }
    phase_ = fading;
    since_ = done;
    return {FadeDecision::Act::snapshot, fmt::format("{}group {} of {} begins to fade at validation {:.2f} %", before,
                                                     group_ + 1, groups_, 100 * top1)};
  }

  FadeDecision judge(int64_t done, double top1) {
    if (top1 >= best_ - plan_.fade.bound) {
      const std::string why =
          fmt::format("group {} of {} is gone at validation {:.2f} %; ", group_ + 1, groups_, 100 * top1);
      kept_ += '0', ++group_, attempt_ = 0;
      return next(done, top1, why);
    }
    std::string why = fmt::format("validation {:.2f} % is more than {:.2f} below {:.2f} %: group {} of {} goes back",
                                  100 * top1, 100 * plan_.fade.bound, 100 * best_, group_ + 1, groups_);
    ++attempt_;
    if (attempt_ <= plan_.fade.retries && done + ramp() + length(plan_.fade.hold) <= last_step()) {
      phase_ = fading, since_ = done;
      return {FadeDecision::Act::roll_back, why + ", to be tried more slowly"};
    }
    kept_ += '1', ++group_, attempt_ = 0;
    // The snapshot is the state from which the next group begins, so none is taken.
    FadeDecision after = next(done, best_, why + " and stays; ");
    after.act = FadeDecision::Act::roll_back;
    return after;
  }

  FadePlan plan_;
  int64_t fades_ = 1, groups_ = 1;
  Phase phase_ = waiting;
  int64_t group_ = 0;  // the next, or the one that is fading
  int64_t since_ = 0;  // step at which the phase began
  int attempt_ = 0;    // of the group, from 0
  double best_ = -1;   // top-1 over all snapshots
  std::string kept_;   // for each group behind: '1' stays, '0' is gone
};

}  // namespace

std::unique_ptr<FadeControl> make_control(const FadePlan& plan) {
  if (!plan.fade.begins()) return std::make_unique<Schedule>(plan);  // there is nothing to control
  switch (plan.fade.control) {
    case Control::schedule:
      return std::make_unique<Schedule>(plan);
    case Control::gate:
      return std::make_unique<Gate>(plan);
    case Control::loss:
    case Control::slope:
      return std::make_unique<Clock>(plan);
  }
  throw Error(ErrorKind::usage, "fade.control");
}

int64_t first_fading_step(const FadePlan& plan) {
  const double start = plan.fade.start * static_cast<double>(plan.steps);
  if (plan.fade.control != Control::gate) return static_cast<int64_t>(std::floor(start));
  const auto epochs = static_cast<int64_t>(std::ceil(start / static_cast<double>(plan.steps_per_epoch)));
  return std::max<int64_t>(1, epochs) * plan.steps_per_epoch;
}

}  // namespace reducenet::train
