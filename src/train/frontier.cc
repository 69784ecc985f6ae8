#include "train/frontier.h"

#include <fmt/format.h>

#include <sstream>

#include "reducenet/error.h"
#include "train/weights.h"

namespace reducenet::train {
namespace {

using Kind = FrontierCell::Kind;

void check(const Recipe::Frontier& frontier) {
  const auto require = [](bool holds, const char* why) {
    if (!holds) throw Error(ErrorKind::usage, why);
  };
  require(!frontier.survivors.empty(), "frontier.survivors is empty: how many activations are left after each step?");
  require(!frontier.seeds.empty(), "frontier.seeds is empty");
  require(frontier.start <= frontier.end, "frontier.start lies after frontier.end");
  for (size_t i = 1; i < frontier.survivors.size(); ++i) {
    require(frontier.survivors[i] < frontier.survivors[i - 1], "frontier.survivors must fall from step to step");
  }
}

/// What every cell of the seed starts from.
Recipe base_recipe(const Recipe& recipe, int64_t seed) {
  Recipe base = recipe;
  base.frontier = {};
  base.squeeze = {};
  base.train.seed = seed;
  base.select = {};
  return base;
}

/// Of a network that is there already: what makes its beginning is over.
void set_import(Recipe& recipe) {
  recipe.model.arch = "import";
  recipe.model.whiten = false;
  recipe.model.filters = Recipe::Filters::drawn;
}

/// As many epochs as the step of index `steps` has behind it, the first step having one.
int64_t epochs_after(const Recipe& recipe, size_t steps) {
  return recipe.train.epochs + static_cast<int64_t>(steps) * recipe.frontier.epochs;
}

Recipe step_recipe(const Recipe& recipe, int64_t seed, int64_t survivors) {
  Recipe step = base_recipe(recipe, seed);
  set_import(step);
  step.train.epochs = recipe.frontier.epochs;
  step.finetune = {};
  step.optimizer.lr = recipe.frontier.lr;
  step.optimizer.warmup = 0;
  step.fade.start = recipe.frontier.start;
  step.fade.end = recipe.frontier.end;
  step.select = recipe.select;
  if (step.select.by == Recipe::SelectBy::none) step.select.by = Recipe::SelectBy::uniform;
  step.select.count = survivors;
  return step;
}

/// "plain11 model.branches=1x1": the architecture, then settings.
Recipe control_recipe(const Recipe& recipe, int64_t seed, const std::string& control, double lr) {
  Recipe made = base_recipe(recipe, seed);
  made.finetune = {};
  made.train.epochs = epochs_after(recipe, recipe.frontier.survivors.size());
  made.optimizer.lr = lr;
  std::istringstream words(control);
  words >> made.model.arch;
  for (std::string setting; words >> setting;) set(made, setting);
  return made;
}

}  // namespace

std::vector<FrontierCell> frontier_cells(const Recipe& recipe) {
  const Recipe::Frontier& frontier = recipe.frontier;
  check(frontier);
  std::vector<double> lrs = frontier.lrs;
  if (lrs.empty()) lrs.push_back(recipe.optimizer.lr);
  std::vector<FrontierCell> cells;
  for (const int64_t seed : frontier.seeds) {
    const std::string suffix = fmt::format("-s{}", seed), deep = "deep" + suffix;
    cells.push_back({.kind = Kind::deep,
                     .name = deep,
                     .label = "deep",
                     .seed = seed,
                     .epochs = recipe.train.epochs,
                     .recipe = base_recipe(recipe, seed)});
    // Its finished network is the deep self that the others learn from.
    if (recipe.distill.teacher == "self") cells.back().recipe.distill = {};
    std::string before = deep;
    for (size_t i = 0; i < frontier.survivors.size(); ++i) {
      const int64_t survivors = frontier.survivors[i];
      const std::string name = fmt::format("k{}{}", survivors, suffix);
      cells.push_back({.kind = Kind::step,
                       .name = name,
                       .label = "faded",
                       .seed = seed,
                       .survivors = survivors,
                       .epochs = epochs_after(recipe, i + 1),
                       .recipe = step_recipe(recipe, seed, survivors),
                       .after = before,
                       .deep = deep});
      before = name;
    }
    for (size_t i = 0; frontier.direct && i < frontier.survivors.size(); ++i) {
      const int64_t survivors = frontier.survivors[i];
      FrontierCell cell{.kind = Kind::direct,
                        .name = fmt::format("direct-k{}{}", survivors, suffix),
                        .label = "direct",
                        .seed = seed,
                        .survivors = survivors,
                        .epochs = epochs_after(recipe, i + 1),
                        .recipe = base_recipe(recipe, seed),
                        .after = fmt::format("k{}{}", survivors, suffix),
                        .deep = deep};
      set_import(cell.recipe);
      cell.recipe.finetune = {};
      cell.recipe.train.epochs = cell.epochs;
      cells.push_back(std::move(cell));
    }
    for (size_t i = 0; i < frontier.controls.size(); ++i) {
      for (const double lr : lrs) {
        FrontierCell cell{.kind = Kind::control,
                          .name = fmt::format("control{}-lr{}{}", i + 1, lr, suffix),
                          .label = frontier.controls[i],
                          .seed = seed,
                          .recipe = control_recipe(recipe, seed, frontier.controls[i], lr),
                          .deep = deep};
        cell.epochs = cell.recipe.train.epochs;
        cells.push_back(std::move(cell));
      }
    }
  }
  return cells;
}

}  // namespace reducenet::train
