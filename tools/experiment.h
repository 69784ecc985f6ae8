#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli.h"
#include "records.h"
#include "reducenet/graph.h"
#include "reducenet/train.h"

namespace reducenet::cli {

/// One training of a series, kept in a folder of its own: checkpoint, model.safetensors, deployed.onnx and
/// deployed.safetensors, and, once all is measured, result.json beside the folder.
struct Experiment {
  std::string name;
  train::Recipe recipe;
  std::filesystem::path folder, from;  ///< `from`: model to start with; empty: none
};

struct ExperimentOptions {
  std::string device = "cpu";
  std::filesystem::path cache;
  bool locked = false;  ///< the caller keeps other runs out of the folder
  std::function<void(const train::Progress&)> on_step;
  std::function<void(const std::string&)> on_message;
  const std::atomic<bool>* stop = nullptr;
};

/// Trains (or goes on from the checkpoint), collapses, certifies, measures. Nothing when asked to stop. The figures:
/// {val_top1, deployed_top1, nonlinear, layers, macs, params, ms, p90_ms, max_abs_error, train_seconds, images_per_s,
/// recipe, machine}, and selection, what survivors.json says, where the recipe chooses; deployed_top1 and ms are the
/// runtime's, at batch 1 on one thread. Where the training diverges or the collapse is not certified: {failed: why,
/// recipe, machine}.
std::optional<Json> run_experiment(const Experiment& experiment, const ExperimentOptions& options);

/// The command with settings over its recipe, as a shell reads it.
std::string with_settings(std::string command, const std::vector<std::string>& settings);

/// Where the figures of a cell lie: CELL.json among the cells of the experiment's folder.
std::filesystem::path result_file(const std::filesystem::path& out, const std::string& cell);
/// "(to have it tried again, delete CELL.json)": what to do about a cell that failed and is kept.
std::string how_to_retry(const std::filesystem::path& result);
/// The figures in a file, or null when it is not there. Error(bad_input) naming the file when it is no object,
/// Error(usage) naming the file and the setting when they are of another recipe; where data and teacher lie does not
/// matter.
Json read_figures(const std::filesystem::path& file, const train::Recipe& recipe);

}  // namespace reducenet::cli
