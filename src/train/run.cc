#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>
#include <sstream>
#include <thread>

#include "reducenet/collapse.h"
#include "reducenet/data.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "train/checkpoint.h"
#include "train/loader.h"
#include "train/records.h"
#include "train/schedule.h"
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

at::Device device_named(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  if (name != "cuda") throw Error(ErrorKind::usage, "device '" + name + "': must be cpu or cuda");
  if (!at::globalContext().hasCUDA())
    throw Error(ErrorKind::unsupported, "device cuda: this LibTorch or machine has none");
  return at::kCUDA;
}

void check_recipe(const Recipe& recipe) {
  if (recipe.fade.start > recipe.fade.end) throw Error(ErrorKind::usage, "fade.start lies after fade.end");
  if (recipe.data.path.empty()) throw Error(ErrorKind::usage, "data.path is empty: name a data set");
}

/// Error(usage) naming the first setting that differs, except for those that do not change what is computed.
void check_same_recipe(Recipe now, const std::string& before, const std::filesystem::path& checkpoint) {
  Recipe then = parse_recipe(before, checkpoint.string());
  then.train.threads = now.train.threads;
  then.data.path = now.data.path;
  std::istringstream now_lines(print(now)), then_lines(print(then));
  for (std::string a, b, section; std::getline(now_lines, a) && std::getline(then_lines, b);) {
    if (a.starts_with('[')) section = a;
    if (a != b) {
      throw Error(ErrorKind::usage,
                  fmt::format("{} comes from another recipe: {} {}, now {}", checkpoint.string(), section, b, a));
    }
  }
}

ImageSet load_split(const Recipe& recipe, const Options& options, Split split) {
  LoadImagesOptions load;
  const ArchOptions& model = recipe.model.options;
  if ((model.height > 0) != (model.width > 0))
    throw Error(ErrorKind::usage, "set both model.height and model.width, or neither");
  if (model.height > 0) load.height = model.height, load.width = model.width;
  load.channels = model.channels;
  load.skip_corrupt = recipe.data.skip_corrupt;
  load.threads = static_cast<int>(recipe.train.threads);
  load.cache = options.cache;
  ImageSet images = load_images(recipe.data.path, split, load);
  if (images.skipped > 0 && options.on_message) {
    options.on_message(fmt::format("{}: {} corrupt images left out", recipe.data.path, images.skipped));
  }
  return images;
}

/// The architecture for these images, with names and preprocessing in its metadata.
Graph build_graph(const Recipe& recipe, const ImageSet& images, const Preprocessing& preprocessing) {
  ArchOptions arch = recipe.model.options;
  arch.channels = images.channels;
  arch.height = images.height;
  arch.width = images.width;
  arch.seed = static_cast<uint64_t>(recipe.train.seed);
  const int64_t classes =
      std::max<int64_t>(static_cast<int64_t>(images.class_names.size()), *std::ranges::max_element(images.labels) + 1);
  if (arch.classes == 0) arch.classes = classes;
  if (arch.classes < classes) {
    throw Error(ErrorKind::usage, fmt::format("model.classes = {}, but the data have {}", arch.classes, classes));
  }
  Graph graph = build(recipe.model.arch, arch);
  preprocessing.to_metadata(graph.metadata);
  set_class_names(graph.metadata, images.class_names);
  graph.metadata["recipe"] = print(recipe);
  return graph;
}

class Run {
 public:
  Run(const Recipe& recipe, const Options& options);
  Result go();

 private:
  struct Buffers {
    at::Tensor even, odd;
  };
  Buffers buffers(int64_t batch) const;
  at::Tensor tensor_of(const Batch& batch, const ImageSet& images) const;
  Loader::Source source(std::span<const int32_t> order, int64_t epoch) const;
  Position at(int64_t step) const { return {step, steps_, steps_per_epoch_}; }
  FadeSummary set_fades(int64_t step);
  bool settled(int64_t step) const;

  void start_or_resume();
  bool train_epoch();
  void train_step(const Batch& batch);
  void end_epoch();
  void save() const;
  double evaluate(const ImageSet& images, std::span<const int32_t> order);
  void estimate_statistics();
  Result finish();
  void message(const std::string& text) const {
    if (options_.on_message) options_.on_message(text);
  }

  Recipe recipe_;
  const Options& options_;
  at::Device device_;
  ImageSet images_;
  HoldOut split_;
  Preprocessing preprocessing_;
  ImageWriter writer_;
  Network network_;
  Optimizer optimizer_;
  std::optional<Average> average_;
  int64_t batch_, steps_per_epoch_, steps_;
  Buffers buffers_;
  RunState state_;
  std::optional<MetricsFile> metrics_;
  std::optional<EventWriter> events_;
  Stopwatch clock_;
  double seconds_before_ = 0;
  int64_t first_step_ = 0;
};

Recipe with_threads(Recipe recipe) {
  check_recipe(recipe);
  if (recipe.train.threads == 0) recipe.train.threads = std::max(1U, std::thread::hardware_concurrency());
  at::set_num_threads(static_cast<int>(recipe.train.threads));
  return recipe;
}

HoldOut checked_hold_out(const ImageSet& images, const Recipe& recipe) {
  if (recipe.data.validation >= images.count()) {
    throw Error(ErrorKind::usage,
                fmt::format("data.validation = {} leaves nothing to train on: {} has {} training images",
                            recipe.data.validation, recipe.data.path, images.count()));
  }
  return hold_out(images, recipe.data.validation, static_cast<uint64_t>(recipe.data.split_seed));
}

Run::Run(const Recipe& recipe, const Options& options)
    : recipe_(with_threads(recipe)),
      options_(options),
      device_(device_named(options.device)),
      images_(load_split(recipe_, options, Split::train)),
      split_(checked_hold_out(images_, recipe_)),
      preprocessing_(Preprocessing::of(images_)),
      writer_(images_, preprocessing_),
      network_(build_graph(recipe_, images_, preprocessing_), {}, device_),
      optimizer_(network_, recipe_.optimizer),
      batch_(std::min(recipe_.optimizer.batch, static_cast<int64_t>(split_.training.size()))),
      steps_per_epoch_(static_cast<int64_t>(split_.training.size()) / batch_),
      steps_(steps_per_epoch_ * recipe_.train.epochs),
      buffers_(buffers(batch_)) {
  if (recipe_.optimizer.ema > 0) average_.emplace(network_, recipe_.optimizer.ema);
}

Run::Buffers Run::buffers(int64_t batch) const {
  const auto options = at::TensorOptions(at::kFloat).pinned_memory(device_.is_cuda());
  const int64_t size = batch * images_.image_bytes();
  return {at::empty({size}, options), at::empty({size}, options)};
}

std::span<float> span_of(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

/// Channels-last strides over the loader's memory.
at::Tensor Run::tensor_of(const Batch& batch, const ImageSet& images) const {
  const int64_t row = images.width * images.channels;
  const at::Tensor pixels =
      at::from_blob(batch.pixels.data(), {batch.count(), images.channels, images.height, images.width},
                    {images.height * row, 1, row, images.channels}, at::kFloat);
  return device_.is_cuda() ? pixels.to(device_, /*non_blocking=*/true) : pixels;
}

Loader::Source Run::source(std::span<const int32_t> order, int64_t epoch) const {
  const Recipe::Data& data = recipe_.data;
  return {writer_, order, {data.crop, data.flip, data.cutout}, static_cast<uint64_t>(recipe_.train.seed), epoch};
}

FadeSummary Run::set_fades(int64_t step) {
  const auto count = static_cast<int64_t>(network_.fade_count());
  if (count == 0) return {};
  FadeSummary summary{1, 0, 0};
  for (int64_t i = 0; i < count; ++i) {
    const double lambda = fade_lambda(recipe_.fade, at(step), i, count);
    network_.set_fade(static_cast<size_t>(i), lambda);
    summary = {std::min(summary.min, lambda), summary.mean + lambda / static_cast<double>(count),
               std::max(summary.max, lambda)};
  }
  return summary;
}

/// Every λ is 0 at this step.
bool Run::settled(int64_t step) const {
  const auto count = static_cast<int64_t>(network_.fade_count());
  for (int64_t i = 0; i < count; ++i) {
    if (fade_lambda(recipe_.fade, at(step), i, count) > 0) return false;
  }
  return true;
}

void Run::start_or_resume() {
  std::error_code error;
  std::filesystem::create_directories(options_.out, error);
  if (error) throw Error(ErrorKind::io, "cannot make the folder " + options_.out.string() + ": " + error.message());
  const std::filesystem::path checkpoint = options_.out / "checkpoint.safetensors";
  if (options_.resume) {
    NamedTorch extra = optimizer_.state();
    if (average_) std::ranges::copy(average_->state(), std::back_inserter(extra));
    // The architecture is compared first: it names the tensor, which says more than a setting.
    const RunState state = load_checkpoint(checkpoint, network_, extra);
    check_same_recipe(recipe_, state.recipe, checkpoint);
    state_ = state;
    if (average_) average_->set_updates(state_.average_updates);
    message(fmt::format("going on from {}: step {} of {}", checkpoint.string(), state_.step, steps_));
  } else {
    if (!options_.from.empty()) {
      const int64_t taken = warm_start(options_.from, network_);
      if (average_) average_->restart();
      message(fmt::format("{} of {} tensors taken from {}", taken, network_.state().size(), options_.from.string()));
    }
    state_.recipe = print(recipe_);
    save();
  }
  seconds_before_ = state_.seconds;
  first_step_ = state_.step;
  metrics_.emplace(options_.out / "metrics.jsonl", state_.step / steps_per_epoch_);
  events_.emplace(options_.out);
}

void Run::save() const {
  NamedTorch extra = optimizer_.state();
  RunState state = state_;
  if (average_) {
    std::ranges::copy(average_->state(), std::back_inserter(extra));
    state.average_updates = average_->updates();
  }
  state.seconds = seconds_before_ + clock_.seconds();
  save_checkpoint(options_.out / "checkpoint.safetensors", network_, extra, state);
}

Result Run::go() {
  start_or_resume();
  while (state_.step < steps_) {
    if (train_epoch()) continue;
    save();
    return {.interrupted = true,
            .epochs = state_.step / steps_per_epoch_,
            .seconds = seconds_before_ + clock_.seconds(),
            .history = metrics_->history()};
  }
  return finish();
}

/// The rest of the current epoch; false when asked to stop.
bool Run::train_epoch() {
  const int64_t epoch = state_.step / steps_per_epoch_;
  const std::vector<int32_t> order = epoch_order(split_.training, static_cast<uint64_t>(recipe_.train.seed), epoch);
  const double seconds_before = state_.epoch_seconds;
  const Stopwatch epoch_clock;
  Loader loader(source(order, epoch), batch_, state_.step % steps_per_epoch_, span_of(buffers_.even),
                span_of(buffers_.odd));
  do {
    const Stopwatch step_clock;
    const FadeSummary fade = set_fades(state_.step);
    train_step(loader.next());
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
  end_epoch();
  return state_.step == steps_ || options_.stop == nullptr || !*options_.stop;
}

void Run::train_step(const Batch& batch) {
  const int64_t step = state_.step;
  const double lr = learning_rate(recipe_.optimizer, at(step));
  if (average_ && step > 0 && settled(step) && !settled(step - 1)) average_->restart();
  const at::Tensor labels =
      at::from_blob(batch.labels.data(), {batch.count()}, at::kLong).to(device_, /*non_blocking=*/true);
  const at::Tensor scores = network_.forward(tensor_of(batch, images_), true);
  const at::Tensor loss =
      at::cross_entropy_loss(scores, labels, {}, at::Reduction::Mean, -100, recipe_.optimizer.label_smoothing);
  const auto value = loss.item<double>();
  if (!std::isfinite(value)) {
    throw Error(
        ErrorKind::check_failed,
        fmt::format("the loss is {} at epoch {}, step {} (learning rate {:.4g}); the last good checkpoint is {}", value,
                    step / steps_per_epoch_ + 1, step + 1, lr, (options_.out / "checkpoint.safetensors").string()));
  }
  loss.backward();
  optimizer_.step(lr, step);
  if (average_) average_->update();
  state_.loss_sum += value * static_cast<double>(batch.count());
  state_.correct += scores.detach().argmax(1).eq(labels).sum().item<int64_t>();
  state_.seen += batch.count();
  ++state_.step;
}

void Run::end_epoch() {
  const int64_t epoch = state_.step / steps_per_epoch_;
  if (!is_finite(network_)) {
    throw Error(ErrorKind::check_failed,
                fmt::format("a weight is not finite after epoch {}, step {}; the last good "
                            "checkpoint is {}",
                            epoch, state_.step, (options_.out / "checkpoint.safetensors").string()));
  }
  const Stopwatch evaluation;
  EpochMetrics metrics{.epoch = epoch,
                       .loss = state_.loss_sum / static_cast<double>(state_.seen),
                       .accuracy = static_cast<double>(state_.correct) / static_cast<double>(state_.seen),
                       .fade = set_fades(state_.step),
                       .lr = learning_rate(recipe_.optimizer, at(state_.step - 1)),
                       .images_per_s = static_cast<double>(state_.seen) / state_.epoch_train_seconds};
  if (!split_.validation.empty() && (epoch % recipe_.train.eval_every == 0 || epoch == recipe_.train.epochs)) {
    if (average_) average_->swap();
    metrics.val_top1 = evaluate(images_, split_.validation);
    if (average_) average_->swap();
  }
  metrics.seconds = state_.epoch_seconds + evaluation.seconds();
  metrics_->add(metrics);
  std::vector<std::pair<std::string_view, double>> scalars{{"loss/train", metrics.loss},
                                                           {"accuracy/train", metrics.accuracy},
                                                           {"fade/lambda", metrics.fade.mean},
                                                           {"optimizer/lr", metrics.lr},
                                                           {"speed/images_per_s", metrics.images_per_s}};
  if (metrics.val_top1 >= 0) scalars.emplace_back("accuracy/validation", metrics.val_top1);
  events_->scalars(epoch, scalars);
  state_.loss_sum = state_.epoch_seconds = state_.epoch_train_seconds = 0;
  state_.correct = state_.seen = 0;
  save();
  if (options_.on_epoch) options_.on_epoch(metrics);
}

/// Top-1 of the network as it stands, without augmentation.
double Run::evaluate(const ImageSet& images, std::span<const int32_t> order) {
  const c10::AutoGradMode no_grad(false);
  const ImageWriter writer(images, preprocessing_);
  const Buffers memory = buffers(kEvaluationBatch);
  Loader loader({.images = writer, .order = order}, kEvaluationBatch, 0, span_of(memory.even), span_of(memory.odd));
  int64_t correct = 0;
  for (Batch batch = loader.next(); batch.count() > 0; batch = loader.next()) {
    const at::Tensor labels = at::from_blob(batch.labels.data(), {batch.count()}, at::kLong).to(device_);
    correct += network_.forward(tensor_of(batch, images), false).argmax(1).eq(labels).sum().item<int64_t>();
  }
  return static_cast<double>(correct) / static_cast<double>(order.size());
}

/// Mean and variance of every BatchNorm, averaged over training batches that the network as it stands has not seen.
void Run::estimate_statistics() {
  const int64_t batches = std::min(recipe_.train.batch_norm_batches, steps_per_epoch_);
  const Graph graph = network_.graph();
  const bool any =
      std::ranges::any_of(graph.nodes, [](const Node& n) { return std::holds_alternative<BatchNorm>(n.op); });
  if (batches == 0 || !any) return;
  const c10::AutoGradMode no_grad(false);
  const int64_t epoch = recipe_.train.epochs;
  const std::vector<int32_t> order = epoch_order(split_.training, static_cast<uint64_t>(recipe_.train.seed), epoch);
  Loader loader(source(order, epoch), batch_, 0, span_of(buffers_.even), span_of(buffers_.odd));
  network_.reset_statistics();
  for (int64_t k = 1; k <= batches; ++k) {
    network_.set_momentum(1 / static_cast<double>(k));
    network_.forward(tensor_of(loader.next(), images_), true);
  }
  network_.set_momentum(std::nullopt);
}

Result Run::finish() {
  set_fades(steps_);
  if (average_) average_->swap();
  estimate_statistics();
  reducenet::save(settle(network_.graph()), options_.out / "model.safetensors");
  Result result{.epochs = recipe_.train.epochs,
                .images_per_s = static_cast<double>(steps_ * batch_) / state_.train_seconds};
  if (!split_.validation.empty()) result.val_top1 = evaluate(images_, split_.validation);
  const ImageSet test = load_split(recipe_, options_, Split::test);
  if (test.class_names != images_.class_names || test.image_bytes() != images_.image_bytes()) {
    throw Error(ErrorKind::bad_input, recipe_.data.path + ": training and test images differ in classes or size");
  }
  std::vector<int32_t> all(static_cast<size_t>(test.count()));
  std::iota(all.begin(), all.end(), 0);
  result.top1 = evaluate(test, all);
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
