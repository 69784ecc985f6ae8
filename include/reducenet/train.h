#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/data.h"

namespace reducenet::train {

/// Everything that defines a run. Written as TOML, one table per member below; `recipe_keys()` lists every key.
struct Recipe {
  enum class Filters : uint8_t { drawn, patches };
  struct Model {
    std::string arch = "reduce20";  ///< of architectures(), or "import": the network in Options::from itself
    /// channels, height, width, classes: 0 stands for "as the data are"; seed is train.seed.
    ArchOptions options{.channels = 0, .height = 0, .width = 0, .classes = 0};
    bool batch_norm = false;           ///< import: a BatchNorm behind every convolution that has none
    bool whiten = false;               ///< a fixed linear layer in front that whitens the image's patches
    Filters filters = Filters::drawn;  ///< patches: the first convolution's are patches of the training images …
    double threshold = 0.7;            ///< … and let through what lies above this quantile
  } model;

  struct Data {
    std::string path;             ///< as load_images takes it
    int64_t validation = kTenth;  ///< training images held out; they alone steer anything
    int64_t split_seed = 0;       ///< which ones
    int64_t crop = 4;             ///< random crop after padding by so many black pixels; 0: none
    bool flip = true;             ///< random horizontal mirror
    int64_t cutout = 0;           ///< side of a random square set to the mean; 0: none
    bool skip_corrupt = false;    ///< leave out images that cannot be decoded
  } data;

  enum class Algorithm : uint8_t { sgd, adamw };
  enum class Schedule : uint8_t { cosine, onecycle, step, constant };
  struct Optimizer {
    Algorithm algorithm = Algorithm::sgd;
    double lr = 0.1;             ///< the schedule's peak
    double momentum = 0.9;       ///< Nesterov's; for adamw β₁
    double beta2 = 0.999;        ///< adamw
    double weight_decay = 5e-4;  ///< not on batch normalisation and bias
    int64_t batch = 128;
    Schedule schedule = Schedule::cosine;
    double warmup = 0;                          ///< epochs of linear rise
    std::vector<double> milestones{0.5, 0.75};  ///< `step`: fractions of the run at which lr is multiplied by gamma
    double gamma = 0.1;
    double label_smoothing = 0;
    double ema = 0;   ///< decay of the weights' moving average, which is then what is evaluated; 0: none
    double clip = 0;  ///< largest gradient norm; 0: any
  } optimizer;

  enum class Precision : uint8_t { f32, bf16 };
  struct Train {
    int64_t epochs = 10;  ///< 0: nothing is trained, the last matrix is solved for
    /// Epochs of one longer training, this run being its middle: those behind the network that it starts from, and
    /// those to come. Learning rate and order of the images go on accordingly.
    int64_t before = 0, after = 0;
    int64_t seed = 0;
    int64_t threads = 0;     ///< 0: one per core
    int64_t eval_every = 1;  ///< epochs between two looks at the validation images
    int64_t batch_norm_batches =
        100;  ///< training batches that re-estimate BN statistics at the end; 0: keep the running ones
    Precision precision =
        Precision::f32;     ///< bf16: convolutions and matrix products in bfloat16 (autocast); weights stay f32
    bool recorded = false;  ///< a step reads λ and learning rate on the device; a GPU repeats it as a CUDA graph
  } train;

  enum class Curve : uint8_t { cosine, linear, geometric };
  enum class Per : uint8_t { iteration, epoch };
  enum class Order : uint8_t { together, forward, backward };
  enum class Control : uint8_t { schedule, gate, loss, slope };
  /// Fractions are of the run before its fine-tuning. See train/schedule.h and train/control.h for the formulas.
  struct Fade {
    Curve schedule = Curve::cosine;
    Per per = Per::iteration;
    double start = 0, end = 0.8;          ///< fractions of the run; λ is exactly 1 before and exactly 0 after
    Order order = Order::together;        ///< forward: the fade next to the input goes first
    double overlap = 0;                   ///< of neighbouring windows when staggered, as a share of a window, in [0, 1)
    Control control = Control::schedule;  ///< what moves λ between start and end
    double speed = 2;            ///< loss, slope: of the fade while it may go on, as a multiple of the schedule
    double tolerance = 0.05;     ///< loss, slope: relative rise of the smoothed loss at which the fade waits
    int64_t groups = 0;          ///< gate: fades go in so many groups; 0: as many as there is time for
    int64_t ramp = 1, hold = 1;  ///< gate: epochs in which a group fades, and in which it then settles
    double bound = 0.01;  ///< gate: a group goes back when validation top-1 is by more than this below the best before
    int64_t retries = 1;  ///< gate: a group that went back is tried again so often, each time twice as slowly

    /// False: the network stays deep.
    bool begins() const { return start < 1; }
  } fade;

  struct Finetune {
    int64_t epochs = 0;  ///< the last epochs of the run, after every fade, with a learning-rate schedule of their own
    double lr = 0.02;    ///< its peak; 0: the run's own schedule goes on
    double warmup = 0;   ///< epochs of linear rise to it
    bool merge = false;  ///< they train what the network collapses into, with BatchNorm
    bool identity = false;  ///< and with a shortcut beside every convolution that keeps its input's shape
  } finetune;

  struct Distill {
    std::string teacher;     ///< empty: none; "self": the network as it is when fading begins; "ema"; or a model's path
    double temperature = 4;  ///< T of the softened scores
    double alpha = 0.7;      ///< weight of the teacher's scores; 1 − alpha is the labels'
    double hints = 0;        ///< weight of the feature hints: attention maps where each resolution ends; 0: none
    double ema = 0.999;      ///< decay of the teacher "ema"
  } distill;

  /// After all training the last matrix is solved for: least squares from its inputs to the classes, one for the label
  /// and zero for the others.
  struct Ridge {
    std::vector<double>
        penalties{};  ///< of inputs at spread 1, each tried, the best on held-out images stays; empty: none
  } ridge;

  enum class SelectBy : uint8_t { none, uniform, trailing, sensitivity, learned, dp, usage };
  /// Which of the network's own activations survive (usage: of its gated blocks); the others fade like its fades.
  struct Select {
    SelectBy by = SelectBy::none;
    int64_t count = -1;       ///< survivors; −1: as the milliseconds allow
    double milliseconds = 0;  ///< of the deployed network at batch 1 on one thread; 0: any
    int64_t images = 1000;    ///< held-out images that importance is measured on
    int64_t steps = 200;      ///< learned: training steps of the masks
    double lr = 0.01;         ///< learned: of the weights beside the masks, in a copy of the network
    int64_t span = 6;         ///< dp: longest run of neighbouring activations that may vanish together; 0: any
  } select;

  enum class GateBy : uint8_t { straight_through, policy };
  /// Gates that decide for each image whether a block runs: weight·(mean gate − budget)² joins the loss. See
  /// train/gates.h for the gradients.
  struct Gate {
    GateBy by = GateBy::straight_through;
    double weight = 0;    ///< 0: gates cost nothing
    double budget = 0.5;  ///< share of the gates that should be open
  } gate;

  enum class Way : uint8_t { chain, fan };
  /// `reducenet frontier`: the recipe's network is trained deep; then its activations go, step by step.
  struct Frontier {
    std::vector<int64_t> survivors{};  ///< non-linear layers that are left after each step, from many to few
    /// chain: each step goes on from the one before. fan: each from the deep network after train.epochs (the trunk), in
    /// one schedule of train.epochs + frontier.epochs.
    Way way = Way::chain;
    int64_t epochs = 5;             ///< of each step
    double lr = 0.05;               ///< chain: its learning rate's peak
    double start = 0.1, end = 0.6;  ///< its fade, as fractions of the step
    std::vector<int64_t> seeds{0};
    bool direct = true;  ///< also: each step's network trained from scratch, for as many epochs as it has behind it
    /// Trained directly for as many epochs as the last step has behind it: an architecture and settings each, as in
    /// "plain11 model.branches=1x1,identity-bn".
    std::vector<std::string> controls{};
    std::vector<double>
        lrs{};  ///< with which each control is tried; the best on held-out images counts. Empty: optimizer.lr
  } frontier;

  /// `reducenet squeeze`: the middle of each module is widened until it no longer helps, then its ends.
  struct Squeeze {
    std::vector<int64_t> expansions{1, 2, 4, 8};  ///< of the middle, in turn
    std::vector<double> ends{1, 1.5, 2};          ///< multiples of model.widths, in turn
    std::vector<int64_t> seeds{0};                ///< means over these are compared
    double gain = 0.002;                          ///< validation top-1 by which a wider network must be better to go on
    double milliseconds = 0;  ///< most that the deployed network may take, batch 1, one thread; 0: any
    double hours = 0;         ///< of training in all; 0: any
  } squeeze;
};

/// From TOML; `file` names it in messages. Error(bad_input) names file, key and the nearest known key.
Recipe parse_recipe(std::string_view toml, std::string_view file = "recipe");
Recipe load_recipe(const std::filesystem::path& path);
/// "section.key=value". Error(usage) names the key and the nearest known one.
void set(Recipe& recipe, std::string_view assignment);
/// The whole recipe as TOML; parse_recipe(print(r)) gives r back.
std::string print(const Recipe& recipe);

struct RecipeKey {
  std::string name, help, value;  ///< "optimizer.lr", what it does, its default as TOML
};
std::vector<RecipeKey> recipe_keys();

/// Smallest, mean and largest λ; all 0 without fades.
struct FadeSummary {
  double min = 0, mean = 0, max = 0;
};

/// State after a training step.
struct Progress {
  int64_t epoch = 0, epochs = 0;  ///< epoch counts from 0
  int64_t step = 0, steps = 0;    ///< steps done of the whole run
  double loss = 0, accuracy = 0;  ///< means over the epoch so far
  FadeSummary fade;
  double images_per_s = 0, seconds_left = 0;
  std::string stage{};  ///< what takes time beside training, step of steps being its own; empty: training
};

/// One finished epoch, as in metrics.jsonl.
struct EpochMetrics {
  int64_t epoch = 0;  ///< counts from 1
  double loss = 0, accuracy = 0;
  double val_top1 = -1;  ///< −1 where it was not measured
  FadeSummary fade;
  double lr = 0, images_per_s = 0, seconds = 0;  ///< seconds of the epoch, validation included
  std::string note{};  ///< what the control of the fades decided at the epoch's end; empty: nothing
};

struct Options {
  std::filesystem::path out = "run";  ///< folder for all results; made when absent
  /// Model whose weights are taken where names and shapes agree (arch "import": the network itself); empty: none.
  std::filesystem::path from{};
  bool resume = false;         ///< go on from out/checkpoint.safetensors, bit for bit
  bool locked = false;         ///< the caller keeps other runs out of `out`; false: the run does, as long as it trains
  bool test = true;            ///< the test images are read, at the end; false: never, and there is no top1
  std::string device = "cpu";  ///< "cpu" or "cuda"
  std::filesystem::path cache{};  ///< folder for decoded images (see load_images); empty: none
  std::function<void(const Progress&)> on_step{};
  std::function<void(const EpochMetrics&)> on_epoch{};
  std::function<void(const std::string&)> on_message{};
  const std::atomic<bool>* stop = nullptr;  ///< once true: finish the step, write the checkpoint, return
};

struct Result {
  bool interrupted = false;
  int64_t epochs = 0;       ///< finished
  double val_top1 = -1;     ///< of the final network; −1 without validation images
  double top1 = -1;         ///< on the test images, read once, at the end; −1 when interrupted, or without test
  double seconds = 0;       ///< wall clock, all parts of a resumed run
  double images_per_s = 0;  ///< over training steps
  std::vector<EpochMetrics> history{};
};

/// Trains and writes into options.out: model.safetensors (settled), checkpoint.safetensors (resumable), metrics.jsonl,
/// result.json and a TensorBoard event file; teacher.safetensors with distill.teacher = "self", snapshot.safetensors
/// with fade.control = gate.
/// Errors: usage (a recipe or options that make no sense, a resumed recipe that differs), bad_input (data or
/// checkpoint), io (missing data, unwritable folder), check_failed (the loss is not finite; names epoch and step and
/// leaves the last good checkpoint).
Result run(const Recipe& recipe, const Options& options);

}  // namespace reducenet::train
