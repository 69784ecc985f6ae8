#include "train/frontier.h"

#include <fmt/format.h>

#include <map>
#include <sstream>

#include "reducenet/error.h"
#include "train/recipe_check.h"
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

bool fans(const Recipe& recipe) {
  return recipe.frontier.way == Recipe::Way::fan;
}

/// As many epochs as a network has behind it after `steps` steps.
int64_t epochs_after(const Recipe& recipe, size_t steps) {
  if (fans(recipe)) return recipe.train.epochs + recipe.frontier.epochs;
  return recipe.train.epochs + static_cast<int64_t>(steps) * recipe.frontier.epochs;
}

/// The deep network until it is time to fade.
Recipe trunk_recipe(const Recipe& recipe, int64_t seed) {
  Recipe trunk = base_recipe(recipe, seed);
  trunk.finetune = {};
  trunk.train.after = recipe.frontier.epochs;
  return trunk;
}

/// A step without fades. What the recipe says of its last epochs holds where there is no further step.
Recipe settling_recipe(const Recipe& recipe, int64_t seed) {
  Recipe step = base_recipe(recipe, seed);
  set_import(step);
  step.train.epochs = recipe.frontier.epochs;
  if (fans(recipe)) {
    step.train.before = recipe.train.epochs;
  } else {
    step.finetune = {};
    step.optimizer.lr = recipe.frontier.lr;
    step.optimizer.warmup = 0;
  }
  return step;
}

/// How so many survive: evenly spaced where the recipe does not say.
Recipe::Select selection(const Recipe& recipe, int64_t survivors) {
  Recipe::Select select = recipe.select;
  if (select.by == Recipe::SelectBy::none) select.by = Recipe::SelectBy::uniform;
  select.count = survivors;
  return select;
}

Recipe step_recipe(const Recipe& recipe, int64_t seed, int64_t survivors) {
  Recipe step = settling_recipe(recipe, seed);
  step.fade.start = recipe.frontier.start;
  step.fade.end = recipe.frontier.end;
  step.select = selection(recipe, survivors);
  return step;
}

/// The network of the step that is `steps`th, from scratch.
Recipe direct_recipe(const Recipe& recipe, int64_t seed, size_t steps) {
  Recipe made = base_recipe(recipe, seed);
  set_import(made);
  made.finetune = {};
  made.train.epochs = epochs_after(recipe, steps);
  return made;
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

/// Adds the cells of one seed.
class Seed {
 public:
  Seed(const Recipe& recipe, int64_t seed, std::vector<FrontierCell>& cells)
      : recipe_(recipe), seed_(seed), cells_(cells) {}

  void add_deep() {
    if (fans(recipe_)) {
      add({.kind = Kind::trunk, .name = named("trunk"), .label = "trunk", .epochs = recipe_.train.epochs},
          trunk_recipe(recipe_, seed_));
      add({.kind = Kind::deep,
           .name = named("deep"),
           .label = "deep",
           .epochs = epochs_after(recipe_, 0),
           .after = named("trunk")},
          settling_recipe(recipe_, seed_));
    } else {
      add({.kind = Kind::deep, .name = named("deep"), .label = "deep", .epochs = epochs_after(recipe_, 0)},
          base_recipe(recipe_, seed_));
    }
  }

  void add_steps() {
    std::string before = named(fans(recipe_) ? "trunk" : "deep");
    for (size_t i = 0; i < recipe_.frontier.survivors.size(); ++i) {
      const int64_t survivors = recipe_.frontier.survivors[i];
      const std::string name = named(fmt::format("k{}", survivors));
      add({.kind = Kind::step,
           .name = name,
           .label = "faded",
           .survivors = survivors,
           .epochs = epochs_after(recipe_, i + 1),
           .after = before,
           .deep = named("deep")},
          step_recipe(recipe_, seed_, survivors));
      if (!fans(recipe_)) before = name;
    }
  }

  void add_direct() {
    for (size_t i = 0; i < recipe_.frontier.survivors.size(); ++i) {
      const int64_t survivors = recipe_.frontier.survivors[i];
      const std::string step = fmt::format("k{}", survivors);
      add({.kind = Kind::direct,
           .name = named("direct-" + step),
           .label = "direct",
           .survivors = survivors,
           .epochs = epochs_after(recipe_, i + 1),
           .after = named(step),
           .deep = named("deep")},
          direct_recipe(recipe_, seed_, i + 1));
    }
  }

  void add_controls() {
    const Recipe::Frontier& frontier = recipe_.frontier;
    const std::vector<double> lrs = frontier.lrs.empty() ? std::vector{recipe_.optimizer.lr} : frontier.lrs;
    std::map<std::string, std::string> known;
    for (size_t i = 0; i < frontier.controls.size(); ++i) {
      for (const double lr : lrs) {
        const Recipe made = control_recipe(recipe_, seed_, frontier.controls[i], lr);
        const auto [same, fresh] = known.try_emplace(print(made), frontier.controls[i]);
        if (!fresh) {
          throw Error(
              ErrorKind::usage,
              fmt::format("frontier.controls: '{}' at learning rate {} is '{}' once more: a control has the recipe's "
                          "settings, those it changes excepted",
                          frontier.controls[i], lr, same->second));
        }
        add({.kind = Kind::control,
             .name = named(fmt::format("control{}-lr{}", i + 1, lr)),
             .label = frontier.controls[i],
             .epochs = made.train.epochs,
             .deep = named("deep")},
            made);
      }
    }
  }

 private:
  std::string named(const std::string& cell) const { return fmt::format("{}-s{}", cell, seed_); }

  void add(FrontierCell cell, Recipe made) {
    cell.seed = seed_;
    cell.recipe = std::move(made);
    // The finished deep network is the deep self that all others learn from.
    if (cell.deep.empty() && cell.recipe.distill.teacher == "self") cell.recipe.distill = {};
    cells_.push_back(std::move(cell));
  }

  const Recipe& recipe_;
  int64_t seed_;
  std::vector<FrontierCell>& cells_;
};

}  // namespace

std::set<std::string> needs(const FrontierCell& cell) {
  std::set<std::string> found;
  if (!cell.after.empty()) found.insert(cell.after);
  if (cell.recipe.distill.teacher == "self" && !cell.deep.empty()) found.insert(cell.deep);
  return found;
}

std::vector<FrontierCell> frontier_cells(const Recipe& recipe) {
  check(recipe.frontier);
  Recipe most = recipe;
  most.select = selection(recipe, recipe.frontier.survivors[0]);
  check_architecture(most);
  std::vector<FrontierCell> cells;
  for (const int64_t number : recipe.frontier.seeds) {
    Seed seed(recipe, number, cells);
    seed.add_deep();
    seed.add_steps();
    if (recipe.frontier.direct) seed.add_direct();
    seed.add_controls();
  }
  return cells;
}

}  // namespace reducenet::train
