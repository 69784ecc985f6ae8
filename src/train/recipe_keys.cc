#include "train/recipe_keys.h"

namespace reducenet::train {
namespace {

template <class Enum>
Field choice(std::string_view names, Enum& value) {
  return Choice{names, reinterpret_cast<uint8_t*>(&value)};
}

constexpr double kMost = 1e18;

constexpr Key kKeys[] = {
    {"model", "arch", "architecture, with a depth where it applies: reduce20, plain11, resnet56, softmax",
     [](Recipe& r) -> Field { return &r.model.arch; }},
    {"model", "modules", "modules a stage, where arch gives no depth",
     [](Recipe& r) -> Field { return &r.model.options.modules; }, 1},
    {"model", "widths", "channels of each stage", [](Recipe& r) -> Field { return &r.model.options.widths; }, 1},
    {"model", "expansion", "width of a module's vanishing middle, as a multiple of its output",
     [](Recipe& r) -> Field { return &r.model.options.expansion; }, 1},
    {"model", "branches", "linear training-time branches beside each 3x3: 1x1, 3x3, identity-bn",
     [](Recipe& r) -> Field { return &r.model.options.branches; }},
    {"model", "activation", "relu, gelu, silu, hard_swish, …",
     [](Recipe& r) -> Field { return &r.model.options.activation; }},
    {"model", "second_activation", "resnet: the activation after the sum",
     [](Recipe& r) -> Field { return &r.model.options.second_activation; }},
    {"model", "head", "pool (average pool + FC) or flatten (flatten + FC)",
     [](Recipe& r) -> Field { return &r.model.options.head; }},
    {"model", "padding", "each (every conv pads) or input (all padding at the input)",
     [](Recipe& r) -> Field { return &r.model.options.padding; }},
    {"model", "linear", "leave every activation out", [](Recipe& r) -> Field { return &r.model.options.linear; }},
    {"model", "channels", "of the images; 0: as the data are",
     [](Recipe& r) -> Field { return &r.model.options.channels; }, 0},
    {"model", "height", "images are resized to it; 0: as the data are",
     [](Recipe& r) -> Field { return &r.model.options.height; }, 0},
    {"model", "width", "images are resized to it; 0: as the data are",
     [](Recipe& r) -> Field { return &r.model.options.width; }, 0},
    {"model", "classes", "0: as the data are", [](Recipe& r) -> Field { return &r.model.options.classes; }, 0},

    {"data", "path", "CIFAR binary, IDX, folders by class, an archive of either, or generated[:COUNT]",
     [](Recipe& r) -> Field { return &r.data.path; }},
    {"data", "validation", "training images held out; they alone steer anything",
     [](Recipe& r) -> Field { return &r.data.validation; }, 0},
    {"data", "split_seed", "which images are held out", [](Recipe& r) -> Field { return &r.data.split_seed; }, 0},
    {"data", "crop", "random crop after padding by so many pixels; 0: none",
     [](Recipe& r) -> Field { return &r.data.crop; }, 0, 4096},
    {"data", "flip", "random horizontal mirror", [](Recipe& r) -> Field { return &r.data.flip; }},
    {"data", "cutout", "side of a random square set to the mean; 0: none",
     [](Recipe& r) -> Field { return &r.data.cutout; }, 0, 4096},
    {"data", "skip_corrupt", "leave out images that cannot be decoded",
     [](Recipe& r) -> Field { return &r.data.skip_corrupt; }},

    {"optimizer", "algorithm", "stochastic gradient descent with Nesterov momentum, or AdamW",
     [](Recipe& r) { return choice("sgd|adamw", r.optimizer.algorithm); }},
    {"optimizer", "lr", "learning rate, the schedule's peak", [](Recipe& r) -> Field { return &r.optimizer.lr; }, 0},
    {"optimizer", "momentum", "of sgd; beta1 of adamw", [](Recipe& r) -> Field { return &r.optimizer.momentum; }, 0, 1},
    {"optimizer", "beta2", "of adamw", [](Recipe& r) -> Field { return &r.optimizer.beta2; }, 0, 1},
    {"optimizer", "weight_decay", "not on batch normalisation and bias",
     [](Recipe& r) -> Field { return &r.optimizer.weight_decay; }, 0},
    {"optimizer", "batch", "images a step", [](Recipe& r) -> Field { return &r.optimizer.batch; }, 1, 1 << 20},
    {"optimizer", "schedule", "of the learning rate",
     [](Recipe& r) { return choice("cosine|onecycle|step|constant", r.optimizer.schedule); }},
    {"optimizer", "warmup", "epochs of linear rise", [](Recipe& r) -> Field { return &r.optimizer.warmup; }, 0},
    {"optimizer", "milestones", "schedule step: fractions of the run at which lr is multiplied by gamma",
     [](Recipe& r) -> Field { return &r.optimizer.milestones; }, 0, 1},
    {"optimizer", "gamma", "schedule step: the factor", [](Recipe& r) -> Field { return &r.optimizer.gamma; }, 0},
    {"optimizer", "label_smoothing", "share of the target spread over all classes",
     [](Recipe& r) -> Field { return &r.optimizer.label_smoothing; }, 0, 1},
    {"optimizer", "ema", "decay of the weights' moving average, which is then what counts; 0: none",
     [](Recipe& r) -> Field { return &r.optimizer.ema; }, 0, 1},
    {"optimizer", "clip", "largest gradient norm; 0: any", [](Recipe& r) -> Field { return &r.optimizer.clip; }, 0},

    {"train", "epochs", "passes over the training images", [](Recipe& r) -> Field { return &r.train.epochs; }, 1},
    {"train", "seed", "of weights, order and augmentation", [](Recipe& r) -> Field { return &r.train.seed; }, 0, kMost},
    {"train", "threads", "0: one a core", [](Recipe& r) -> Field { return &r.train.threads; }, 0, 4096},
    {"train", "eval_every", "epochs between two looks at the validation images",
     [](Recipe& r) -> Field { return &r.train.eval_every; }, 1},
    {"train", "batch_norm_batches",
     "training batches that re-estimate BN statistics at the end; 0: keep the running ones",
     [](Recipe& r) -> Field { return &r.train.batch_norm_batches; }, 0},

    {"fade", "schedule", "of lambda from 1 to 0", [](Recipe& r) { return choice("cosine|linear", r.fade.schedule); }},
    {"fade", "per", "how often lambda moves", [](Recipe& r) { return choice("iteration|epoch", r.fade.per); }},
    {"fade", "start", "fraction of the run before which lambda is 1", [](Recipe& r) -> Field { return &r.fade.start; },
     0, 1},
    {"fade", "end", "fraction of the run after which lambda is 0", [](Recipe& r) -> Field { return &r.fade.end; }, 0,
     1},
    {"fade", "order", "all at once, or layer by layer from the input (forward) or the output (backward)",
     [](Recipe& r) { return choice("together|forward|backward", r.fade.order); }},
    {"fade", "overlap", "of neighbouring layers' windows, as a share of a window",
     [](Recipe& r) -> Field { return &r.fade.overlap; }, 0, 1},
};

}  // namespace

std::span<const Key> keys() {
  return kKeys;
}

}  // namespace reducenet::train
