#pragma once

#include <memory>
#include <optional>

#include "reducenet/data.h"
#include "reducenet/train.h"
#include "train/checkpoint.h"
#include "train/control.h"
#include "train/distill.h"
#include "train/feed.h"
#include "train/folder_lock.h"
#include "train/gates.h"
#include "train/graphs.h"
#include "train/merge.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/recording.h"
#include "train/records.h"
#include "train/stopwatch.h"
#include "train/tensorboard.h"

namespace reducenet::train {

/// What a step's forward makes of a batch, on the device.
struct Losses {
  at::Tensor scores;               ///< [N, classes], float32, without gradient
  at::Tensor cross_entropy, loss;  ///< means over the batch
};

struct StepReport {
  double loss, cross_entropy;
  int64_t correct;
};

/// The tensors in which a recorded step finds what is new in it, and leaves what it has to say.
struct RecordedStep {
  explicit RecordedStep(at::Device device);
  Recording recording;
  Labelled in;
  at::Tensor lambdas;  ///< by fade
  at::Tensor numbers;  ///< learning rate, number of the update, decay of the average
  at::Tensor report;   ///< loss, cross-entropy, right answers
};

/// Steps that are fused read λ on the host.
NetworkOptions network_options(const Recipe& recipe);

/// One training from its first or a saved step to its result. run.cc: its life; epoch.cc: what an epoch does.
class Training {
 public:
  Training(const Recipe& recipe, const Options& options);
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
  /// Batches first, first + 1, … of an epoch of this run; train.before moves it into the longer one. One such loader at
  /// a time.
  Loader epoch_loader(int64_t epoch, int64_t first = 0);

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
  void place_fades();
  void merge_for_finetuning();

  bool train_epoch();
  void train_step(const Batch& batch);
  Losses forward(const Labelled& in);
  StepReport direct_step(const Labelled& in, double lr);
  StepReport recorded_step(const Labelled& in, double lr);
  void check_finite(double loss, double lr) const;
  /// Of the optimizer, which begins anew with a merged network.
  int64_t update() const { return is_merged(graph_) ? state_.step - main_steps() : state_.step; }
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
  std::vector<int32_t> order_;  // of the epoch whose loader is in use
  std::unique_ptr<FadeControl> control_;
  Gates gates_;
  std::optional<RecordedStep> recorded_;
  std::vector<size_t> going_;  // indices of the fades that go; all until survivors are known
  RunState state_;
  std::optional<FolderLock> lock_;
  std::optional<MetricsFile> metrics_;
  std::optional<EventWriter> events_;
  Stopwatch clock_;
  double seconds_before_ = 0;
  int64_t first_step_ = 0;
};

}  // namespace reducenet::train
