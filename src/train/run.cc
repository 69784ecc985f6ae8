#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>
#include <thread>

#include "reducenet/data.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "train/checkpoint.h"
#include "train/control.h"
#include "train/device.h"
#include "train/distill.h"
#include "train/gates.h"
#include "train/graphs.h"
#include "train/merge.h"
#include "train/recipe_check.h"
#include "train/records.h"
#include "train/ridge.h"
#include "train/selection.h"
#include "train/sources.h"
#include "train/tensorboard.h"

namespace reducenet::train {
namespace {

constexpr int64_t kEvaluationBatch = 256;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

class Run {
 public:
  Run(const Recipe& recipe, const Options& options);
  Result go();

 private:
  Augmentation augmentation() const { return {recipe_.data.crop, recipe_.data.flip, recipe_.data.cutout}; }
  uint64_t seed() const { return static_cast<uint64_t>(recipe_.train.seed); }
  Position at(int64_t step) const { return {step, steps_, steps_per_epoch_}; }
  /// Steps before the fine-tuning.
  int64_t main_steps() const { return train::main_steps(recipe_, at(0)); }
  /// Of a merged network: nothing is left to control.
  FadePlan fade_plan() const {
    return {is_merged(graph_) ? Recipe::Fade{} : recipe_.fade, main_steps(), steps_per_epoch_};
  }
  std::filesystem::path file(const char* name) const { return options_.out / name; }

  void follow_network();
  void start_or_resume();
  NamedTorch extra_state() const;
  RunState state_now() const;
  void load_state(const std::filesystem::path& path, RunState& state);
  void save(const char* name = "checkpoint.safetensors") const;

  void make_teacher();
  void begin_fading();
  void know_survivors();
  FadeSummary set_fades(int64_t step);
  void merge_for_finetuning();

  bool train_epoch();
  void train_step(const Batch& batch);
  at::Tensor loss_of(const Labelled& in, const at::Tensor& scores, const at::Tensor& cross_entropy);
  void follow_averages(int64_t step, const FadeSummary& fade);
  void end_epoch();
  std::string decide(int64_t epoch, double top1);
  double score(Feed& feed, std::span<const int32_t> order) { return evaluate(network_, feed, order).top1; }
  void estimate_statistics();
  bool solve_last_matrix();
  double test_accuracy();
  Result interrupted() const;
  Result finish();
  [[noreturn]] void stop_at_last_good(const std::string& what) const;
  void message(const std::string& text) const {
    if (options_.on_message) options_.on_message(text);
  }

  Recipe recipe_;
  const Options& options_;
  at::Device device_;
  ImageSet images_;
  ImageSet test_;
  HoldOut split_;
  Graph graph_;  // as it was built
  Preprocessing preprocessing_;
  Network network_;
  Optimizer optimizer_;
  std::optional<Average> average_, teacher_average_;
  std::unique_ptr<Teacher> teacher_;
  int64_t batch_, steps_per_epoch_, steps_;
  Feed feed_, validation_feed_;
  std::unique_ptr<FadeControl> control_;
  Gates gates_;
  std::vector<size_t> going_;  // indices of the fades that go; all until survivors are known
  RunState state_;
  std::optional<MetricsFile> metrics_;
  std::optional<EventWriter> events_;
  Stopwatch clock_;
  double seconds_before_ = 0;
  int64_t first_step_ = 0;
};

Recipe with_threads(Recipe recipe, const Options& options) {
  check_recipe(recipe, options);
  if (recipe.train.threads == 0) recipe.train.threads = std::max(1U, std::thread::hardware_concurrency());
  at::set_num_threads(static_cast<int>(recipe.train.threads));
  return recipe;
}

Run::Run(const Recipe& recipe, const Options& options)
    : recipe_(with_threads(recipe, options)),
      options_(options),
      device_(device_named(options.device)),
      images_(load_split(recipe_, options, Split::train)),
      test_(load_test(recipe_, options_, images_)),
      split_(checked_hold_out(images_, recipe_)),
      graph_(build_network(recipe_, options.from, options.resume ? checkpoint_path(options) : "", images_)),
      preprocessing_(Preprocessing::from_metadata(graph_.metadata).value()),
      network_(graph_, {}, device_),
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
void Run::follow_network() {
  if (recipe_.optimizer.ema > 0) average_.emplace(network_, recipe_.optimizer.ema);
  if (recipe_.distill.teacher == "ema") teacher_average_.emplace(network_, recipe_.distill.ema, "teacher.");
  going_.clear();
  for (size_t i = 0; i < network_.fade_count(); ++i) {
    if (network_.is_scheduled(i)) going_.push_back(i);
  }
}

void Run::start_or_resume() {
  std::error_code error;
  std::filesystem::create_directories(options_.out, error);
  if (error) throw Error(ErrorKind::io, "cannot make the folder " + options_.out.string() + ": " + error.message());
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

NamedTorch Run::extra_state() const {
  NamedTorch extra = optimizer_.state();
  for (const auto* average : {&average_, &teacher_average_}) {
    if (*average) std::ranges::copy((*average)->state(), std::back_inserter(extra));
  }
  return extra;
}

RunState Run::state_now() const {
  RunState state = state_;
  if (average_) state.average_updates = average_->updates();
  if (teacher_average_) state.teacher_updates = teacher_average_->updates();
  state.control = fmt::format("x{}", control_->state());
  state.seconds = seconds_before_ + clock_.seconds();
  return state;
}

void Run::load_state(const std::filesystem::path& path, RunState& state) {
  state = load_checkpoint(path, network_, extra_state());
  if (average_) average_->set_updates(state.average_updates);
  if (teacher_average_) teacher_average_->set_updates(state.teacher_updates);
}

void Run::save(const char* name) const {
  save_checkpoint(file(name), network_, extra_state(), state_now());
}

/// The teacher as it is after an interruption too: from its file.
void Run::make_teacher() {
  const std::string& name = recipe_.distill.teacher;
  if (name == "ema") {
    teacher_ = std::make_unique<Teacher>(network_.graph(), device_, /*collapsed=*/false);
  } else {
    const auto path = name == "self" ? file("teacher.safetensors") : std::filesystem::path(name);
    teacher_ = std::make_unique<Teacher>(load_teacher(path, graph_), device_);
  }
  if (recipe_.distill.hints > 0) teacher_->pair(network_);
}

/// Every λ is 1: the deep self is kept, and what survives is chosen.
void Run::begin_fading() {
  for (const size_t i : going_) network_.set_fade(i, 1);
  if (average_) average_->swap();
  if (recipe_.distill.teacher == "self") {
    reducenet::save(conclude(network_.graph()), file("teacher.safetensors"));
    make_teacher();
  }
  state_.survivors.assign(1, 'x');
  if (recipe_.select.by != Recipe::SelectBy::none) {
    message("choosing which activations survive");
    const Survivors survivors =
        choose_survivors(recipe_, {network_, feed_, validation_feed_, split_.training, split_.validation, device_});
    for (const bool survives : survivors) state_.survivors += survives ? '1' : '0';
    message(fmt::format("{} of {} activations survive: {}", std::ranges::count(survivors, true), survivors.size(),
                        state_.survivors.substr(1)));
  }
  if (average_) average_->swap();
  state_.begun = 1;
  know_survivors();
}

void Run::know_survivors() {
  const std::vector<size_t> candidates = candidate_fades(graph_);
  std::erase_if(going_, [&](size_t fade) {
    const auto found = std::ranges::find(candidates, fade);
    return found != candidates.end() && state_.survivors.at(1 + static_cast<size_t>(found - candidates.begin())) == '1';
  });
  control_->begin(static_cast<int64_t>(going_.size()));
}

FadeSummary Run::set_fades(int64_t step) {
  if (going_.empty()) return {};
  FadeSummary summary{1, 0, 0};
  for (size_t i = 0; i < going_.size(); ++i) {
    const double lambda = state_.begun ? control_->lambda(step, static_cast<int64_t>(i)) : 1;
    network_.set_fade(going_[i], lambda);
    summary = {std::min(summary.min, lambda), summary.mean + lambda / static_cast<double>(going_.size()),
               std::max(summary.max, lambda)};
  }
  return summary;
}

Result Run::go() {
  start_or_resume();
  while (state_.step < steps_) {
    if (train_epoch()) continue;
    save();
    return interrupted();
  }
  return finish();
}

Result Run::interrupted() const {
  return {.interrupted = true,
          .epochs = state_.step / steps_per_epoch_,
          .seconds = seconds_before_ + clock_.seconds(),
          .history = metrics_->history()};
}

/// The network as it will be deployed takes the place of the deep one.
void Run::merge_for_finetuning() {
  if (!state_.begun) begin_fading();
  set_fades(state_.step);
  const int64_t batches = std::clamp<int64_t>(recipe_.train.batch_norm_batches, 1, steps_per_epoch_);
  const int64_t epoch = state_.step / steps_per_epoch_;
  const std::vector<int32_t> order = epoch_order(split_.training, seed(), epoch);
  Loader loader = feed_.loader(order, augmentation(), seed(), epoch);
  const Graph deep = network_.graph();
  graph_ = merge(
      deep, [&] { return feed_.tensors(loader.next()).pixels; }, batches, recipe_.finetune.identity, device_);
  network_ = Network(graph_, {}, device_);
  optimizer_ = Optimizer(network_, recipe_.optimizer);
  gates_ = Gates(graph_, recipe_.gate);
  control_ = make_control(fade_plan());
  follow_network();
  if (teacher_) make_teacher();
  message(fmt::format("fine-tuning what the network collapses into: {:.2f} M MACs, {:.2f} M before",
                      static_cast<double>(count_macs(graph_)) / 1e6, static_cast<double>(count_macs(deep)) / 1e6));
}

/// The rest of the current epoch; false when asked to stop.
bool Run::train_epoch() {
  if (recipe_.finetune.merge && state_.step >= main_steps() && !is_merged(graph_)) merge_for_finetuning();
  if (!state_.begun && state_.step >= first_fading_step(fade_plan())) begin_fading();
  const int64_t epoch = state_.step / steps_per_epoch_;
  const std::vector<int32_t> order = epoch_order(split_.training, seed(), epoch);
  const double seconds_before = state_.epoch_seconds;
  const Stopwatch epoch_clock;
  // Fading that begins inside the epoch needs the feed for a moment.
  const int64_t begins = state_.begun ? steps_ : first_fading_step(fade_plan());
  std::unique_ptr<Loader> loader;
  do {
    if (!state_.begun && state_.step == begins) {
      loader.reset();
      begin_fading();
    }
    if (!loader) {
      loader.reset(new Loader(feed_.loader(order, augmentation(), seed(), epoch, state_.step % steps_per_epoch_)));
    }
    const Stopwatch step_clock;
    const FadeSummary fade = set_fades(state_.step);
    follow_averages(state_.step, fade);
    train_step(loader->next());
    state_.epoch_train_seconds += step_clock.seconds();
    state_.train_seconds += step_clock.seconds();
    state_.epoch_seconds = seconds_before + epoch_clock.seconds();
    if (options_.on_step) {
      const auto seen = static_cast<double>(state_.seen);
      options_.on_step({.epoch = epoch,
                        .epochs = recipe_.train.epochs,
                        .step = state_.step,
                        .steps = steps_,
                        .loss = state_.loss_sum / seen,
                        .accuracy = static_cast<double>(state_.correct) / seen,
                        .fade = fade,
                        .images_per_s = seen / state_.epoch_train_seconds,
                        .seconds_left = clock_.seconds() / static_cast<double>(state_.step - first_step_) *
                                        static_cast<double>(steps_ - state_.step)});
    }
    const bool stop = options_.stop != nullptr && *options_.stop;
    if (stop && state_.step % steps_per_epoch_ != 0) return false;
  } while (state_.step % steps_per_epoch_ != 0);
  loader.reset();
  end_epoch();
  return state_.step == steps_ || options_.stop == nullptr || !*options_.stop;
}

/// The average starts again where a fade has ended: it forgets the network as it was.
void Run::follow_averages(int64_t step, const FadeSummary& fade) {
  const bool moving = std::ranges::any_of(going_, [&](size_t i) {
    const double lambda = network_.fade(i);
    return lambda > 0 && lambda < 1;
  });
  if (average_ && step > 0 && fade.mean < state_.lambda && !moving) average_->restart();
  state_.lambda = fade.mean;
}

at::Tensor Run::loss_of(const Labelled& in, const at::Tensor& scores, const at::Tensor& cross_entropy) {
  if (!teacher_) return cross_entropy;
  const Recipe::Distill& distill = recipe_.distill;
  if (teacher_average_) {
    teacher_average_->copy_to(teacher_->network());
    for (size_t i = 0; i < network_.fade_count(); ++i) teacher_->network().set_fade(i, network_.fade(i));
  }
  const at::Tensor target = teacher_->scores(in.pixels);
  at::Tensor loss =
      cross_entropy * (1 - distill.alpha) + distillation_loss(scores, target, distill.temperature) * distill.alpha;
  if (distill.hints > 0) loss = loss + teacher_->hint_loss(network_) * distill.hints;
  return loss;
}

void Run::stop_at_last_good(const std::string& what) const {
  throw Error(ErrorKind::check_failed,
              fmt::format("{}; the last good checkpoint is {}", what, checkpoint_path(options_).string()));
}

void Run::train_step(const Batch& batch) {
  const int64_t step = state_.step;
  const double lr = learning_rate(recipe_, at(step));
  const Labelled in = feed_.tensors(batch);
  at::Tensor scores, cross_entropy, loss;
  if (gates_.learn()) gates_.watch(network_, static_cast<double>(step) / static_cast<double>(steps_));
  {
    const Autocast cast(device_, recipe_.train.precision == Recipe::Precision::bf16);
    network_.set_noise(random_bits(seed(), ~uint64_t{0}, static_cast<uint64_t>(step)));
    scores = network_.forward(in.pixels, true);
    network_.set_noise(std::nullopt);
    cross_entropy = at::cross_entropy_loss(scores.to(at::kFloat), in.labels, {}, at::Reduction::Mean, -100,
                                           recipe_.optimizer.label_smoothing);
    loss = loss_of(in, scores.to(at::kFloat), cross_entropy);
    if (gates_.learn()) {
      const at::Tensor losses = at::cross_entropy_loss(scores.detach().to(at::kFloat), in.labels, {},
                                                       at::Reduction::None, -100, recipe_.optimizer.label_smoothing);
      loss = loss + gates_.loss(network_, losses);
    }
  }
  const auto value = loss.item<double>();
  if (!std::isfinite(value)) {
    stop_at_last_good(fmt::format("the loss is {} at epoch {}, step {} (learning rate {:.4g})", value,
                                  step / steps_per_epoch_ + 1, step + 1, lr));
  }
  loss.backward();
  optimizer_.step(lr, is_merged(graph_) ? step - main_steps() : step);
  if (average_) average_->update();
  if (teacher_average_) teacher_average_->update();
  control_->after_step(step + 1, cross_entropy.item<double>());
  state_.loss_sum += value * static_cast<double>(batch.count());
  state_.correct += scores.detach().argmax(1).eq(in.labels).sum().item<int64_t>();
  state_.seen += batch.count();
  ++state_.step;
}

/// Hands the accuracy to the control of the fades, and does what it says.
std::string Run::decide(int64_t epoch, double top1) {
  if (state_.step > main_steps()) return "";
  if (!state_.begun && state_.step >= first_fading_step(fade_plan())) begin_fading();
  if (!state_.begun) return "";
  const FadeDecision decision = control_->after_epoch(state_.step, top1);
  switch (decision.act) {
    case FadeDecision::Act::none:
      break;
    case FadeDecision::Act::snapshot:
      save("snapshot.safetensors");
      break;
    case FadeDecision::Act::roll_back: {
      RunState then;
      load_state(file("snapshot.safetensors"), then);
      break;
    }
  }
  if (!decision.why.empty()) message(fmt::format("epoch {}: {}", epoch, decision.why));
  return decision.why;
}

void Run::end_epoch() {
  const int64_t epoch = state_.step / steps_per_epoch_;
  if (!is_finite(network_)) {
    stop_at_last_good(fmt::format("a weight is not finite after epoch {}, step {}", epoch, state_.step));
  }
  const Stopwatch evaluation;
  EpochMetrics metrics{.epoch = epoch,
                       .loss = state_.loss_sum / static_cast<double>(state_.seen),
                       .accuracy = static_cast<double>(state_.correct) / static_cast<double>(state_.seen),
                       .fade = set_fades(state_.step),
                       .lr = learning_rate(recipe_, at(state_.step - 1)),
                       .images_per_s = static_cast<double>(state_.seen) / state_.epoch_train_seconds};
  const bool gate = recipe_.fade.control == Recipe::Control::gate;
  const bool due = epoch % recipe_.train.eval_every == 0 || epoch == recipe_.train.epochs;
  if (!split_.validation.empty() && (due || gate)) {
    if (average_) average_->swap();
    metrics.val_top1 = score(validation_feed_, split_.validation);
    if (average_) average_->swap();
  }
  const double seconds = state_.epoch_seconds;
  state_.loss_sum = state_.epoch_seconds = state_.epoch_train_seconds = 0;
  state_.correct = state_.seen = 0;
  if (gate) metrics.note = decide(epoch, metrics.val_top1);
  metrics.seconds = seconds + evaluation.seconds();
  metrics_->add(metrics);
  std::vector<std::pair<std::string_view, double>> scalars{{"loss/train", metrics.loss},
                                                           {"accuracy/train", metrics.accuracy},
                                                           {"fade/lambda", metrics.fade.mean},
                                                           {"optimizer/lr", metrics.lr},
                                                           {"speed/images_per_s", metrics.images_per_s}};
  if (metrics.val_top1 >= 0) scalars.emplace_back("accuracy/validation", metrics.val_top1);
  events_->scalars(epoch, scalars);
  save();
  if (options_.on_epoch) options_.on_epoch(metrics);
}

/// Mean and variance of every BatchNorm, averaged over training batches that the network as it stands has not seen.
void Run::estimate_statistics() {
  const int64_t batches = std::min(recipe_.train.batch_norm_batches, steps_per_epoch_);
  if (batches == 0 || !has_batch_norm(graph_)) return;
  const c10::AutoGradMode no_grad(false);
  const int64_t epoch = recipe_.train.epochs;
  const std::vector<int32_t> order = epoch_order(split_.training, seed(), epoch);
  Loader loader = feed_.loader(order, augmentation(), seed(), epoch);
  network_.reset_statistics();
  for (int64_t k = 1; k <= batches; ++k) {
    network_.set_momentum(1 / static_cast<double>(k));
    network_.forward(feed_.tensors(loader.next()).pixels, true);
  }
  network_.set_momentum(std::nullopt);
}

/// By ridge regression, with the best penalty on held-out images; false when asked to stop.
bool Run::solve_last_matrix() {
  const std::vector<double>& penalties = recipe_.ridge.penalties;
  RidgeRegression regression(network_);
  const Stopwatch clock;
  const auto images = static_cast<int64_t>(split_.training.size() + split_.validation.size());
  int64_t before = 0;
  const auto progress = [&](int64_t batch, int64_t) {
    if (!options_.on_step) return;
    const int64_t done = std::min(images, before + batch * batch_);
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

double Run::test_accuracy() {
  std::vector<int32_t> all(static_cast<size_t>(test_.count()));
  std::iota(all.begin(), all.end(), 0);
  Feed feed(test_, preprocessing_, validation_feed_.batch(), device_);
  return score(feed, all);
}

Result Run::finish() {
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

}  // namespace

Result run(const Recipe& recipe, const Options& options) {
  return Run(recipe, options).go();
}

}  // namespace reducenet::train
