#pragma once

#include "reducenet/train.h"

namespace reducenet::train {

/// Error(usage) when the recipe's settings contradict one another, the options, or what the architecture can be.
void check_recipe(const Recipe& recipe, const Options& options);

/// Error(usage) when the architecture cannot be built as the recipe wants it, or lacks the blocks that it asks for.
/// Where that leaves sizes to the images, usual ones; what only those of the images can tell is not asked.
void check_architecture(const Recipe& recipe);

/// Error(usage) naming the first setting in which the recipe differs from `before`, the one in a file (a checkpoint,
/// the figures of an experiment), except for those that do not change what is computed.
void check_same_recipe(Recipe now, const std::string& before, const std::filesystem::path& file);

}  // namespace reducenet::train
