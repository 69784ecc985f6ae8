#include "train/sources.h"

#include <fmt/format.h>

#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "train/graphs.h"

namespace reducenet::train {
namespace {

/// The recipe, with the size of images that an imported model wants where it says none.
Recipe::Model image_size(const Recipe& recipe, const Options& options) {
  Recipe::Model model = recipe.model;
  if (!imports(recipe) || (options.from.empty() && !options.resume)) return model;
  const Graph graph = load(options.resume ? checkpoint_path(options) : options.from);
  const auto& shape = graph[graph.inputs.at(0)].shape;
  if (!shape || shape->size() != 4) return model;
  const auto take = [&](int64_t& field, size_t axis) {
    if (field == 0 && (*shape)[axis] > 0) field = (*shape)[axis];
  };
  take(model.options.channels, 1);
  take(model.options.height, 2);
  take(model.options.width, 3);
  return model;
}

}  // namespace

std::filesystem::path checkpoint_path(const Options& options) {
  return options.out / "checkpoint.safetensors";
}

ImageSet load_split(const Recipe& recipe, const Options& options, Split split) {
  LoadImagesOptions load;
  const ArchOptions model = image_size(recipe, options).options;
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

ImageSet load_test(const Recipe& recipe, const Options& options, const ImageSet& training) {
  ImageSet test = load_split(recipe, options, Split::test);
  if (test.class_names != training.class_names || test.image_bytes() != training.image_bytes()) {
    throw Error(ErrorKind::bad_input, recipe.data.path + ": training and test images differ in classes or size");
  }
  return test;
}

HoldOut checked_hold_out(const ImageSet& images, const Recipe& recipe) {
  if (recipe.data.validation >= images.count()) {
    throw Error(ErrorKind::usage,
                fmt::format("data.validation = {} leaves nothing to train on: {} has {} training images",
                            recipe.data.validation, recipe.data.path, images.count()));
  }
  return hold_out(images, recipe.data.validation, static_cast<uint64_t>(recipe.data.split_seed));
}

}  // namespace reducenet::train
