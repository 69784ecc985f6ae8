#include "train/run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "train/device.h"
#include "train/recipe_check.h"
#include "train/ridge.h"
#include "train/selection.h"
#include "train/sources.h"

namespace reducenet::train {
namespace {

constexpr int64_t kEvaluationBatch = 256;

Recipe with_threads(Recipe recipe, const Options& options) {
  check_recipe(recipe, options);
  if (recipe.train.threads == 0) recipe.train.threads = std::max(1U, std::thread::hardware_concurrency());
  at::set_num_threads(static_cast<int>(recipe.train.threads));
  return recipe;
}

}  // namespace

NetworkOptions network_options(const Recipe& recipe) {
  return {.fused = !recipe.train.recorded};
}

Training::Training(const Recipe& recipe, const Options& options)
    : recipe_(with_threads(recipe, options)),
      options_(options),
      device_(device_named(options.device)),
      images_(load_split(recipe_, options, Split::train)),
      test_(load_test(recipe_, options_, images_)),
      split_(checked_hold_out(images_, recipe_)),
      graph_(build_network(recipe_, options.from, options.resume ? checkpoint_path(options) : "", images_)),
      preprocessing_(Preprocessing::from_metadata(graph_.metadata).value()),
      network_(graph_, network_options(recipe_), device_),
      optimizer_(network_, recipe_.optimizer),
      batch_(std::min(recipe_.optimizer.batch, static_cast<int64_t>(split_.training.size()))),
      steps_per_epoch_(static_cast<int64_t>(split_.training.size()) / batch_),
      steps_(steps_per_epoch_ * recipe_.train.epochs),
      feed_(images_, preprocessing_, batch_, device_),
      validation_feed_(feed_.with_batch(std::min(kEvaluationBatch, 2 * batch_))),
      control_(make_control(fade_plan())),
      gates_(graph_, recipe_.gate) {
  follow_network();
}

/// What belongs to the network as it is now: its averages, and the fades that go.
void Training::follow_network() {
  if (recipe_.optimizer.ema > 0) average_.emplace(network_, recipe_.optimizer.ema);
  if (recipe_.distill.teacher == "ema") teacher_average_.emplace(network_, recipe_.distill.ema, "teacher.");
  going_.clear();
  for (size_t i = 0; i < network_.fade_count(); ++i) {
    if (network_.is_scheduled(i)) going_.push_back(i);
  }
  if (!recipe_.train.recorded) return;
  if (!recorded_) recorded_.emplace(device_);
  recorded_->recording.forget();
  recorded_->lambdas = at::ones({static_cast<int64_t>(network_.fade_count())}, recorded_->numbers.options());
  for (size_t i = 0; i < network_.fade_count(); ++i) network_.set_mask(i, recorded_->lambdas[static_cast<int64_t>(i)]);
}

void Training::start_or_resume() {
  if (!options_.locked) lock_.emplace(options_.out);
  const std::filesystem::path checkpoint = checkpoint_path(options_);
  if (options_.resume) {
    // The architecture is compared first: it names the tensor, which says more than a setting.
    RunState state;
    load_state(checkpoint, state);
    check_same_recipe(recipe_, state.recipe, checkpoint);
    state_ = state;
    if (state_.begun) know_survivors();
    control_->restore(state_.control.substr(1));
    message(fmt::format("going on from {}: step {} of {}", checkpoint.string(), state_.step, steps_));
  } else {
    if (!options_.from.empty() && !imports(recipe_)) {
      const int64_t taken = warm_start(options_.from, network_);
      message(fmt::format("{} of {} tensors taken from {}", taken, network_.state().size(), options_.from.string()));
    }
    if (const std::filesystem::path kept = keep_former_run(options_.out); !kept.empty()) {
      message(fmt::format("the run that {} held is kept in {}", options_.out.string(), kept.string()));
    }
    if (average_) average_->restart();
    if (teacher_average_) teacher_average_->restart();
    state_.recipe = print(recipe_);
    save();
  }
  const std::string& teacher = recipe_.distill.teacher;
  if (!teacher.empty() && (teacher != "self" || state_.begun)) make_teacher();
  seconds_before_ = state_.seconds;
  first_step_ = state_.step;
  metrics_.emplace(options_.out / "metrics.jsonl", state_.step / steps_per_epoch_);
  events_.emplace(options_.out);
}

NamedTorch Training::extra_state() const {
  NamedTorch extra = optimizer_.state();
  for (const auto* average : {&average_, &teacher_average_}) {
    if (*average) std::ranges::copy((*average)->state(), std::back_inserter(extra));
  }
  return extra;
}

RunState Training::state_now() const {
  RunState state = state_;
  if (average_) state.average_updates = average_->updates();
  if (teacher_average_) state.teacher_updates = teacher_average_->updates();
  state.control = fmt::format("x{}", control_->state());
  state.seconds = seconds_before_ + clock_.seconds();
  return state;
}

void Training::load_state(const std::filesystem::path& path, RunState& state) {
  state = load_checkpoint(path, network_, extra_state());
  if (average_) average_->set_updates(state.average_updates);
  if (teacher_average_) teacher_average_->set_updates(state.teacher_updates);
  if (recorded_) recorded_->recording.forget();
}

void Training::save(const char* name) const {
  save_checkpoint(file(name), network_, extra_state(), state_now());
}

/// The teacher as it is after an interruption too: from its file.
void Training::make_teacher() {
  const std::string& name = recipe_.distill.teacher;
  if (name == "ema") {
    teacher_ = std::make_unique<Teacher>(network_.graph(), device_, /*collapsed=*/false);
  } else {
    const auto path = name == "self" ? file("teacher.safetensors") : std::filesystem::path(name);
    teacher_ = std::make_unique<Teacher>(load_teacher(path, graph_), device_);
  }
  if (recipe_.distill.hints > 0) teacher_->pair(network_);
}

Result Training::go() {
  start_or_resume();
  try {
    while (state_.step < steps_) {
      if (train_epoch()) continue;
      save();
      return interrupted();
    }
    return finish();
  } catch (const Stopped&) {
    return interrupted();  // from the checkpoint before the choice
  }
}

Result Training::interrupted() const {
  return {.interrupted = true,
          .epochs = state_.step / steps_per_epoch_,
          .seconds = seconds_before_ + clock_.seconds(),
          .history = metrics_->history()};
}

/// Mean and variance of every BatchNorm, averaged over training batches that the network as it stands has not seen.
void Training::estimate_statistics() {
  const int64_t batches = std::min(recipe_.train.batch_norm_batches, steps_per_epoch_);
  if (batches == 0 || !has_batch_norm(graph_)) return;
  const c10::AutoGradMode no_grad(false);
  Loader loader = epoch_loader(recipe_.train.epochs);
  network_.reset_statistics();
  for (int64_t k = 1; k <= batches; ++k) {
    network_.set_momentum(1 / static_cast<double>(k));
    network_.forward(feed_.tensors(loader.next()).pixels, true);
  }
  network_.set_momentum(std::nullopt);
}

/// By ridge regression, with the best penalty on held-out images; false when asked to stop.
bool Training::solve_last_matrix() {
  const std::vector<double>& penalties = recipe_.ridge.penalties;
  RidgeRegression regression(network_);
  const Stopwatch clock;
  const auto images = static_cast<int64_t>(split_.training.size() + split_.validation.size());
  int64_t before = 0;
  const auto progress = [&](int64_t seen) {
    if (!options_.on_step) return;
    const int64_t done = before + seen;
    const double pace = static_cast<double>(done) / clock.seconds();
    options_.on_step({.step = done,
                      .steps = images,
                      .images_per_s = pace,
                      .seconds_left = static_cast<double>(images - done) / pace,
                      .stage = "inputs of the last matrix"});
  };
  if (!regression.learn(feed_, {split_.training, options_.stop, progress}, recipe_.data.flip)) return false;
  before = static_cast<int64_t>(split_.training.size());
  const bool choose = penalties.size() > 1;
  if (choose && !regression.hold_out(feed_, {split_.validation, options_.stop, progress})) return false;
  RidgeRegression::Solution best;
  for (const double penalty : penalties) {
    const RidgeRegression::Solution solution = regression.solve(penalty);
    if (choose) message(fmt::format("ridge penalty {:g}: validation {:5.2f} %", penalty, 100 * solution.top1));
    if (!best.weight.defined() || solution.top1 > best.top1) best = solution;
  }
  regression.apply(best);
  return true;
}

double Training::test_accuracy() {
  std::vector<int32_t> all(static_cast<size_t>(test_.count()));
  std::iota(all.begin(), all.end(), 0);
  Feed feed(test_, preprocessing_, validation_feed_.batch(), device_);
  return score(feed, all);
}

Result Training::finish() {
  if (!state_.begun) begin_fading();
  set_fades(steps_);
  if (average_) average_->swap();
  estimate_statistics();
  if (!recipe_.ridge.penalties.empty() && !solve_last_matrix()) return interrupted();
  reducenet::save(conclude(network_.graph()), options_.out / "model.safetensors");
  Result result{.epochs = recipe_.train.epochs};
  if (steps_ > 0) result.images_per_s = static_cast<double>(steps_ * batch_) / state_.train_seconds;
  if (!split_.validation.empty()) result.val_top1 = score(validation_feed_, split_.validation);
  if (options_.test) result.top1 = test_accuracy();
  result.seconds = seconds_before_ + clock_.seconds();
  result.history = metrics_->history();
  metrics_->finish(result);
  write_result(options_.out / "result.json", recipe_, result);
  return result;
}

Result run(const Recipe& recipe, const Options& options) {
  return Training(recipe, options).go();
}

}  // namespace reducenet::train
