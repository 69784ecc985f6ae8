#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "train/optimizer.h"

namespace reducenet::train {

/// Where an interrupted run stands, beside its tensors.
struct RunState {
  int64_t step = 0;             ///< steps done
  int64_t average_updates = 0;  ///< Average::updates()
  double loss_sum = 0;          ///< over the images of the epoch so far
  int64_t correct = 0, seen = 0;
  double seconds = 0;                                 ///< of the run
  double train_seconds = 0;                           ///< of that, in training steps
  double epoch_seconds = 0, epoch_train_seconds = 0;  ///< of the current epoch
  std::string recipe;                                 ///< as TOML
  int64_t begun = 0;            ///< 1 once fading has begun: survivors are chosen, the deep self is kept
  std::string survivors = "x";  ///< then a '1' or '0' for each candidate
  std::string control = "x";    ///< FadeControl::state()
  double lambda = 1;            ///< mean λ at the last step
  int64_t teacher_updates = 0;  ///< Average::updates() of the teacher "ema"
};

/// The network (as a graph any verb can load), `extra` tensors and the state, in one safetensors file, atomically.
void save_checkpoint(const std::filesystem::path& path, const Network& network, const NamedTorch& extra,
                     const RunState& state);

/// Fills the network and `extra` from the file. Error(bad_input) names the first tensor that is missing, unknown or of
/// another shape, and leaves everything as it was.
RunState load_checkpoint(const std::filesystem::path& path, Network& network, const NamedTorch& extra);

/// The model of a file, without what a checkpoint says of its run.
Graph load_model(const std::filesystem::path& path);

/// Copies weights and statistics of a model into the network where name and shape agree; returns how many did.
/// Error(bad_input) when none does.
int64_t warm_start(const std::filesystem::path& model, Network& network);

/// False when a weight or statistic is infinite or not a number.
bool is_finite(const Network& network);

}  // namespace reducenet::train
