#pragma once

#include "reducenet/train.h"
#include "train/loader.h"

namespace reducenet::train {

std::filesystem::path checkpoint_path(const Options& options);
/// The images of the recipe, in the size that the recipe or an imported model wants.
ImageSet load_split(const Recipe& recipe, const Options& options, Split split);
/// The test images; Error(bad_input) when their classes or size are not those of the training images.
ImageSet load_test(const Recipe& recipe, const Options& options, const ImageSet& training);
/// Error(usage) when nothing is left to train on.
HoldOut checked_hold_out(const ImageSet& images, const Recipe& recipe);

}  // namespace reducenet::train
