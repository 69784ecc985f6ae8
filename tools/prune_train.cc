#include <filesystem>

#include "prune.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/train.h"
#include "train/refit.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

namespace fs = std::filesystem;

train::Sample sample_of(const FitImages& fit) {
  return {fit.images, fit.training, fit.batches, fit.batch, fit.seed, fit.threads};
}

Gradients gradients(const Graph& graph, const FitImages& fit) {
  return [&graph, fit](const auto& each) {
    const train::Sample sample = sample_of(fit);
    train::loss_gradients(graph, sample)(each);
  };
}

Graph estimate(const Graph& graph, const FitImages& fit) {
  return train::estimate_statistics(graph, sample_of(fit));
}

std::optional<Graph> finetune(const Graph& graph, const PruneOptions& options, const std::string& folder,
                              const std::function<void(double, double)>& progress, const std::atomic<bool>* stop) {
  train::Recipe recipe;
  recipe.model.arch = "import";
  recipe.data.path = options.data;
  recipe.data.skip_corrupt = options.skip_corrupt;
  recipe.data.validation = options.validation;
  recipe.optimizer.lr = options.lr;
  recipe.optimizer.batch = options.batch;
  recipe.train.epochs = options.finetune;
  recipe.train.seed = options.seed;
  recipe.train.threads = options.threads;
  recipe.fade.end = recipe.fade.start;
  for (const std::string& setting : options.settings) train::set(recipe, setting);
  fs::create_directories(folder);
  const fs::path start = fs::path(folder) / "start.safetensors";
  const bool resume = fs::exists(fs::path(folder) / "checkpoint.safetensors");
  if (!resume) save(graph, start);
  const train::Result trained = train::run(
      recipe,
      {.out = folder,
       .from = start,
       .resume = resume,
       .test = false,
       .on_step =
           [&](const train::Progress& p) { progress(static_cast<double>(p.step), static_cast<double>(p.steps)); },
       .stop = stop});
  if (trained.interrupted) return std::nullopt;
  return load(fs::path(folder) / "model.safetensors");
}

constexpr PruneTraining kTraining{gradients, estimate, finetune};

}  // namespace

Action declare_prune(CLI::App& app) {
  return declare_prune_with(app, &kTraining);
}

}  // namespace reducenet::cli
