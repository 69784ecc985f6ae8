#include "reducenet/train.h"

#include <fmt/format.h>

#include <atomic>
#include <optional>

#include "progress.h"
#include "reducenet/error.h"
#include "signals.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string recipe, data;
  std::vector<std::string> settings;
  std::optional<int64_t> epochs;
  train::Options run;
  bool keys = false;
};

train::Recipe recipe_of(const Options& options) {
  train::Recipe recipe = train::load_recipe(options.recipe);
  if (!options.data.empty()) recipe.data.path = options.data;
  if (options.epochs) recipe.train.epochs = *options.epochs;
  for (const std::string& setting : options.settings) train::set(recipe, setting);
  return recipe;
}

std::string progress_note(const train::Progress& p) {
  if (!p.stage.empty()) return p.stage + (p.images_per_s > 0 ? fmt::format("  {:.0f} images/s", p.images_per_s) : "");
  std::string note =
      fmt::format("epoch {}/{}  loss {:.3f}  top-1 {:.1f} %", p.epoch + 1, p.epochs, p.loss, 100 * p.accuracy);
  if (p.fade.max > 0) note += fmt::format("  λ {:.2f}", p.fade.mean);
  return note + fmt::format("  {:.0f} images/s", p.images_per_s);
}

std::string epoch_line(const train::EpochMetrics& m) {
  std::string line = fmt::format("epoch {:3}  loss {:.4f}  train {:5.2f} %", m.epoch, m.loss, 100 * m.accuracy);
  if (m.val_top1 >= 0) line += fmt::format("  validation {:5.2f} %", 100 * m.val_top1);
  return line + fmt::format("  λ {:.3f}  lr {:.4g}  {:.0f} images/s  {}", m.fade.mean, m.lr, m.images_per_s,
                            clock_time(m.seconds));
}

std::string percent(double top1) {
  return top1 < 0 ? "not measured" : fmt::format("{:.2f} %", 100 * top1);
}

Json measured(double value) {
  return value < 0 ? Json() : Json(value);
}

Result train_network(Options options) {
  if (options.keys) {
    Result listing;
    for (const train::RecipeKey& key : train::recipe_keys()) {
      listing.json[key.name] = {{"default", key.value}, {"help", key.help}};
      listing.text += fmt::format("{:28} {:18} {}\n", key.name, key.value, key.help);
    }
    return listing;
  }
  if (options.recipe.empty()) throw Error(ErrorKind::usage, "train: name a recipe (.toml)");
  const train::Recipe recipe = recipe_of(options);
  Progress bar("training");
  options.run.on_step = [&](const train::Progress& p) {
    bar.update(p.step, p.steps, progress_note(p), p.seconds_left);
  };
  options.run.on_epoch = [&bar](const train::EpochMetrics& m) { bar.line(epoch_line(m)); };
  options.run.on_message = [&bar](const std::string& message) { bar.line(message); };
  const StopOnSignal guard;
  options.run.stop = &guard.requested();
  const train::Result trained = train::run(recipe, options.run);
  Result result;
  result.json = {{"epochs", trained.epochs},
                 {"top1", measured(trained.top1)},
                 {"val_top1", measured(trained.val_top1)},
                 {"images_per_s", trained.images_per_s},
                 {"seconds", trained.seconds},
                 {"out", options.run.out.string()},
                 {"interrupted", trained.interrupted}};
  if (trained.interrupted) {
    warn(fmt::format("interrupted after {} epochs; continue with --resume --out {}", trained.epochs,
                     options.run.out.string()));
    result.exit_code = 128 + guard.signal();
    return result;
  }
  result.text =
      fmt::format("{} epochs in {}: validation {}, test {}\n{}\n", trained.epochs, clock_time(trained.seconds),
                  percent(trained.val_top1), percent(trained.top1), (options.run.out / "model.safetensors").string());
  return result;
}

}  // namespace

Action declare_train(CLI::App& app) {
  auto options = std::make_shared<Options>();
  auto* const recipe = app.add_option("recipe", options->recipe, "Recipe (.toml)");
  app.add_option("--from", options->run.from, "Model whose weights to start from, where names and shapes agree");
  app.add_option("--set", options->settings, "section.key=value, over the recipe; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--data", options->data, "Images, over the recipe's data.path");
  app.add_option("--epochs", options->epochs, "Over the recipe's train.epochs")->check(CLI::NonNegativeNumber);
  app.add_option("--out", options->run.out,
                 "Folder for the results (run); what another run left there is kept in its before-N");
  app.add_flag("--resume", options->run.resume, "Go on from the checkpoint in the folder, bit for bit");
  app.add_option("--device", options->run.device, "Where to compute (cpu)")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--cache", options->run.cache, "Folder for decoded images");
  auto* const keys = app.add_flag("--keys", options->keys, "List every key of a recipe, and stop");
  recipe->excludes(keys);
  return [options] { return train_network(*options); };
}

}  // namespace reducenet::cli
