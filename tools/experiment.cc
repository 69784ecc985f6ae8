#include "experiment.h"

#include <fmt/format.h>

#include <limits>

#include "classifier.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"
#include "reducenet/verify.h"
#include "train/recipe_check.h"

namespace reducenet::cli {
namespace {

int64_t count_layers(const Graph& graph) {
  return std::ranges::count_if(graph.nodes, [](const Node& node) {
    return std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<ConvTranspose2d>(node.op) ||
           std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op);
  });
}

/// The recipe without where files lay on this machine.
train::Recipe shown(train::Recipe recipe) {
  recipe.data.path = std::filesystem::path(recipe.data.path).filename().string();
  recipe.distill.teacher = std::filesystem::path(recipe.distill.teacher).filename().string();
  return recipe;
}

/// The faster one here of two forms: every merge that saves multiply-accumulates, which may take more nodes, and one
/// convolution a module.
Collapsed deployed_form(const Graph& model) {
  Collapsed by_plan = collapse(model, {.target = Target::plan}), by_module = collapse(model);
  if (by_plan.graph.nodes.size() <= by_module.graph.nodes.size()) return by_plan;
  constexpr double kSeconds = 0.3, kClearly = 0.95;
  double plan_ms = std::numeric_limits<double>::infinity(), module_ms = plan_ms;
  for (int round = 0; round < 2; ++round) {
    plan_ms = std::min(plan_ms, measure_latency(by_plan.graph, kSeconds).at("ms").get<double>());
    module_ms = std::min(module_ms, measure_latency(by_module.graph, kSeconds).at("ms").get<double>());
  }
  return module_ms < kClearly * plan_ms ? by_module : by_plan;
}

/// The figures; nothing when asked to stop. Error(check_failed): it diverged, or the collapse is not certified.
std::optional<Json> figures_of(const Experiment& experiment, const ExperimentOptions& options) {
  const std::filesystem::path& folder = experiment.folder;
  const bool resume = std::filesystem::exists(folder / "checkpoint.safetensors");
  const train::Result trained = train::run(experiment.recipe, {.out = folder,
                                                               .from = experiment.from,
                                                               .resume = resume,
                                                               .locked = options.locked,
                                                               .device = options.device,
                                                               .cache = options.cache,
                                                               .on_step = options.on_step,
                                                               .on_message = options.on_message,
                                                               .stop = options.stop});
  if (trained.interrupted) return std::nullopt;
  const Graph model = load(folder / "model.safetensors");
  const Collapsed collapsed = deployed_form(model);
  const ImageSet test =
      load_for(preprocessing_of(model), experiment.recipe.data.path, Split::test, experiment.recipe.data.skip_corrupt);
  const Certificate certificate = verify(model, collapsed, {.samples = 2, .real_inputs = real_inputs(model, test, 4)});
  if (!certificate.verified) {
    throw Error(ErrorKind::check_failed, "the collapse is not certified: " + certificate.why);
  }
  save(collapsed.graph, folder / "deployed.onnx");
  save(collapsed.graph, folder / "deployed.safetensors");
  Classifier classifier(collapsed.graph, 32, 1);
  const Evaluation evaluated = evaluate_images(classifier, test);
  Json figures = Json{{"val_top1", trained.val_top1 < 0 ? Json() : Json(trained.val_top1)},
                      {"deployed_top1", evaluated.top1},
                      {"test_images", evaluated.n},
                      {"nonlinear", count_nonlinear(collapsed.graph)},
                      {"layers", count_layers(collapsed.graph)},
                      {"macs", count_macs(collapsed.graph)},
                      {"params", count_parameters(collapsed.graph)},
                      {"max_abs_error", certificate.max_abs_error},
                      {"train_epochs", trained.epochs},
                      {"train_seconds", trained.seconds},
                      {"images_per_s", trained.images_per_s}};
  if (Json selection = read_json(folder / "survivors.json"); !selection.is_null()) {
    figures["selection"] = std::move(selection);
  }
  figures.update(measure_latency(collapsed.graph));
  return figures;
}

}  // namespace

std::optional<Json> run_experiment(const Experiment& experiment, const ExperimentOptions& options) {
  std::optional<Json> figures;
  try {
    figures = figures_of(experiment, options);
    if (!figures) return figures;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::check_failed) throw;
    figures = Json{{"failed", error.what()}};
  }
  figures->update({{"recipe", print(shown(experiment.recipe))}, {"machine", machine()}});
  return figures;
}

std::string with_settings(std::string command, const std::vector<std::string>& settings) {
  for (const std::string& setting : settings) command += fmt::format(" --set '{}'", setting);
  return command;
}

std::filesystem::path result_file(const std::filesystem::path& out, const std::string& cell) {
  return out / "cells" / (cell + ".json");
}

std::string how_to_retry(const std::filesystem::path& result) {
  return fmt::format("(to have it tried again, delete {})", result.string());
}

Json read_figures(const std::filesystem::path& file, const train::Recipe& recipe) {
  Json figures = read_json(file);
  if (!figures.is_null() && !figures.is_object()) {
    throw Error(ErrorKind::bad_input, file.string() + ": not the result of a cell: delete it to have that run again");
  }
  if (!figures.is_null()) train::check_same_recipe(shown(recipe), figures.value("recipe", ""), file);
  return figures;
}

}  // namespace reducenet::cli
