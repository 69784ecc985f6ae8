#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "train/device.h"
#include "train/graphs.h"
#include "train/records.h"
#include "train/run.h"
#include "train/schedule.h"
#include "train/selection.h"
#include "train/sources.h"

namespace reducenet::train {

RecordedStep::RecordedStep(at::Device device)
    : recording(device),
      numbers(at::zeros({3}, at::TensorOptions(at::kDouble).device(device))),
      report(at::zeros_like(numbers)) {}

/// Every λ is 1: the deep self is kept, and what survives is chosen.
void Training::begin_fading() {
  for (const size_t i : going_) network_.set_fade(i, 1);
  if (average_) average_->swap();
  if (recipe_.distill.teacher == "self") {
    reducenet::save(conclude(network_.graph()), file("teacher.safetensors"));
    make_teacher();
  }
  state_.survivors.assign(1, 'x');
  if (recipe_.select.by != Recipe::SelectBy::none) {
    message("choosing which activations survive");
    const Selection selection = choose_survivors(
        recipe_, {network_, feed_, validation_feed_, split_.training, split_.validation, device_, options_});
    for (const bool survives : selection.survive) state_.survivors += survives ? '1' : '0';
    write_selection(file("survivors.json"), recipe_.select, candidate_names(graph_), selection);
    message(fmt::format("{} of {} activations survive: {} (survivors.json says which they are)",
                        std::ranges::count(selection.survive, true), selection.survive.size(),
                        state_.survivors.substr(1)));
  }
  if (average_) average_->swap();
  state_.begun = 1;
  know_survivors();
  if (recorded_) recorded_->recording.forget();
}

void Training::know_survivors() {
  const std::vector<size_t> candidates = candidate_fades(graph_);
  std::erase_if(going_, [&](size_t fade) {
    const auto found = std::ranges::find(candidates, fade);
    return found != candidates.end() && state_.survivors.at(1 + static_cast<size_t>(found - candidates.begin())) == '1';
  });
  control_->begin(static_cast<int64_t>(going_.size()));
}

FadeSummary Training::set_fades(int64_t step) {
  if (going_.empty()) return {};
  FadeSummary summary{1, 0, 0};
  for (size_t i = 0; i < going_.size(); ++i) {
    const double lambda = state_.begun ? control_->lambda(step, static_cast<int64_t>(i)) : 1;
    const bool ends = (lambda == 0) != (network_.fade(going_[i]) == 0);
    if (recorded_ && ends) recorded_->recording.forget();  // the network is another
    network_.set_fade(going_[i], lambda);
    summary = {std::min(summary.min, lambda), summary.mean + lambda / static_cast<double>(going_.size()),
               std::max(summary.max, lambda)};
  }
  if (recorded_) place_fades();
  return summary;
}

void Training::place_fades() {
  std::vector<double> lambdas;
  for (size_t i = 0; i < network_.fade_count(); ++i) lambdas.push_back(network_.fade(i));
  recorded_->lambdas.copy_(at::tensor(lambdas, at::kDouble));
}

Loader Training::epoch_loader(int64_t epoch, int64_t first) {
  epoch += recipe_.train.before;
  order_ = epoch_order(split_.training, seed(), epoch);
  return feed_.loader(order_, augmentation(), seed(), epoch, first);
}

/// The network as it will be deployed takes the place of the deep one.
void Training::merge_for_finetuning() {
  if (!state_.begun) begin_fading();
  set_fades(state_.step);
  const int64_t batches = std::clamp<int64_t>(recipe_.train.batch_norm_batches, 1, steps_per_epoch_);
  Loader loader = epoch_loader(state_.step / steps_per_epoch_);
  const Graph deep = network_.graph();
  graph_ = merge(
      deep, [&] { return feed_.tensors(loader.next()).pixels; }, batches, recipe_.finetune.identity, device_);
  network_ = Network(graph_, network_options(recipe_), device_);
  optimizer_ = Optimizer(network_, recipe_.optimizer);
  gates_ = Gates(graph_, recipe_.gate);
  control_ = make_control(fade_plan());
  follow_network();
  if (teacher_) make_teacher();
  message(fmt::format("fine-tuning what the network collapses into: {:.2f} M MACs, {:.2f} M before",
                      static_cast<double>(count_macs(graph_)) / 1e6, static_cast<double>(count_macs(deep)) / 1e6));
}

/// The rest of the current epoch; false when asked to stop.
bool Training::train_epoch() {
  if (recipe_.finetune.merge && state_.step >= main_steps() && !is_merged(graph_)) merge_for_finetuning();
  if (!state_.begun && state_.step >= first_fading_step(fade_plan())) begin_fading();
  const int64_t epoch = state_.step / steps_per_epoch_;
  const double seconds_before = state_.epoch_seconds;
  const Stopwatch epoch_clock;
  // Fading that begins inside the epoch needs the feed for a moment.
  const int64_t begins = state_.begun ? steps_ : first_fading_step(fade_plan());
  std::unique_ptr<Loader> loader;
  do {
    if (!state_.begun && state_.step == begins) {
      loader.reset();
      if (state_.step % steps_per_epoch_ != 0) save();  // nothing is lost when the choice of survivors is interrupted
      begin_fading();
    }
    if (!loader) loader.reset(new Loader(epoch_loader(epoch, state_.step % steps_per_epoch_)));
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
void Training::follow_averages(int64_t step, const FadeSummary& fade) {
  const bool moving = std::ranges::any_of(going_, [&](size_t i) {
    const double lambda = network_.fade(i);
    return lambda > 0 && lambda < 1;
  });
  if (average_ && step > 0 && fade.mean < state_.lambda && !moving) average_->restart();
  state_.lambda = fade.mean;
}

at::Tensor Training::loss_of(const Labelled& in, const at::Tensor& scores, const at::Tensor& cross_entropy) {
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

void Training::stop_at_last_good(const std::string& what) const {
  std::string advice;
  if (!has_batch_norm(graph_)) {
    advice = "; without batch normalisation, lower the learning rate or set optimizer.clip";
    if (imports(recipe_)) advice += " or model.batch_norm";
  }
  throw Error(ErrorKind::check_failed,
              fmt::format("{}{}; the last good checkpoint is {}", what, advice, checkpoint_path(options_).string()));
}

Losses Training::forward(const Labelled& in) {
  const double smoothing = recipe_.optimizer.label_smoothing;
  const Autocast cast(device_, recipe_.train.precision == Recipe::Precision::bf16);
  const at::Tensor scores = network_.forward(in.pixels, true).to(at::kFloat);
  const at::Tensor cross_entropy = at::cross_entropy_loss(scores, in.labels, {}, at::Reduction::Mean, -100, smoothing);
  at::Tensor loss = loss_of(in, scores, cross_entropy);
  if (gates_.learn()) {
    const at::Tensor losses =
        at::cross_entropy_loss(scores.detach(), in.labels, {}, at::Reduction::None, -100, smoothing);
    loss = loss + gates_.loss(network_, losses);
  }
  return {scores.detach(), cross_entropy, loss};
}

void Training::check_finite(double loss, double lr) const {
  if (std::isfinite(loss)) return;
  stop_at_last_good(fmt::format("the loss is {} at epoch {}, step {} (learning rate {:.4g})", std::abs(loss),
                                state_.step / steps_per_epoch_ + 1, state_.step + 1, lr));
}

StepReport Training::direct_step(const Labelled& in, double lr) {
  const Losses losses = forward(in);
  const auto loss = losses.loss.item<double>();
  check_finite(loss, lr);
  losses.loss.backward();
  optimizer_.step(lr, update());
  if (average_) average_->update();
  if (teacher_average_) teacher_average_->update();
  return {loss, losses.cross_entropy.item<double>(), right(losses.scores, in.labels).item<int64_t>()};
}

/// The same, its numbers read from and left on the device.
StepReport Training::recorded_step(const Labelled& in, double lr) {
  RecordedStep& step = *recorded_;
  if (!step.in) step.in = {at::empty_like(in.pixels), at::empty_like(in.labels)};
  step.in.pixels.copy_(in.pixels);
  step.in.labels.copy_(in.labels);
  step.numbers.copy_(at::tensor({lr, static_cast<double>(update()), average_ ? average_->decay() : 0}, at::kDouble));
  step.recording.run([&] {
    const Losses losses = forward(step.in);
    losses.loss.backward();
    optimizer_.step(step.numbers[0], step.numbers[1]);
    if (average_) average_->update(step.numbers[2]);
    const c10::AutoGradMode no_grad(false);
    step.report.copy_(at::stack({losses.loss.to(at::kDouble), losses.cross_entropy.to(at::kDouble),
                                 right(losses.scores, step.in.labels).to(at::kDouble)}));
  });
  if (average_) average_->set_updates(average_->updates() + 1);
  const at::Tensor report = step.report.cpu();
  const auto* const said = report.data_ptr<double>();
  check_finite(said[0], lr);
  return {said[0], said[1], static_cast<int64_t>(said[2])};
}

void Training::train_step(const Batch& batch) {
  const int64_t step = state_.step;
  const double lr = learning_rate(recipe_, at(step));
  const Labelled in = feed_.tensors(batch);
  if (gates_.learn()) gates_.watch(network_, static_cast<double>(step) / static_cast<double>(steps_));
  network_.set_noise(random_bits(seed(), ~uint64_t{0}, static_cast<uint64_t>(step)));
  const StepReport report = recorded_ ? recorded_step(in, lr) : direct_step(in, lr);
  network_.set_noise(std::nullopt);
  control_->after_step(step + 1, report.cross_entropy);
  state_.loss_sum += report.loss * static_cast<double>(batch.count());
  state_.correct += report.correct;
  state_.seen += batch.count();
  ++state_.step;
}

/// Hands the accuracy to the control of the fades, and does what it says.
std::string Training::decide(int64_t epoch, double top1) {
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

void Training::end_epoch() {
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

}  // namespace reducenet::train
