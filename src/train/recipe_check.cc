#include "train/recipe_check.h"

#include <fmt/format.h>

#include <sstream>

#include "reducenet/arch.h"
#include "reducenet/error.h"
#include "train/graphs.h"
#include "train/select/select.h"

namespace reducenet::train {
void check_architecture(const Recipe& recipe) {
  if (imports(recipe)) return;
  const ArchOptions usual;
  ArchOptions options = recipe.model.options;
  const auto fill = [&](int64_t ArchOptions::*size) {
    if (options.*size == 0) options.*size = usual.*size;
  };
  fill(&ArchOptions::channels);
  fill(&ArchOptions::height);
  fill(&ArchOptions::width);
  fill(&ArchOptions::classes);
  try {
    Graph graph = build(recipe.model.arch, options);
    open_survivors(graph, recipe.select);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
  }
}

void check_recipe(const Recipe& recipe, const Options& options) {
  const auto require = [](bool holds, const std::string& why) {
    if (!holds) throw Error(ErrorKind::usage, why);
  };
  const bool fades = recipe.fade.begins();
  require(!fades || recipe.fade.start <= recipe.fade.end, "fade.start lies after fade.end");
  require(fades || recipe.distill.teacher != "self",
          "distill.teacher = self is the network when its fading begins, and with fade.start = 1 it never does");
  require(fades || recipe.select.by == Recipe::SelectBy::none,
          "select.by: survivors are chosen when fading begins, and with fade.start = 1 it never does");
  require(!recipe.data.path.empty(), "data.path is empty: name a data set");
  const bool solves = !recipe.ridge.penalties.empty();
  require(recipe.train.epochs > 0 || solves, "train.epochs = 0 trains nothing: set ridge.penalties, or epochs");
  require(recipe.ridge.penalties.size() < 2 || recipe.data.validation != 0,
          "ridge.penalties: the best of them needs held-out images: set data.validation");
  require(recipe.finetune.epochs == 0 || recipe.finetune.epochs < recipe.train.epochs,
          fmt::format("finetune.epochs = {} leaves none of the {} epochs to train", recipe.finetune.epochs,
                      recipe.train.epochs));
  require(!recipe.finetune.merge || recipe.finetune.epochs > 0,
          "finetune.merge: how many epochs are left for the collapsed network? Set finetune.epochs");
  require(recipe.finetune.merge || !recipe.finetune.identity,
          "finetune.identity is of the collapsed network: set finetune.merge");
  require(!recipe.model.batch_norm || imports(recipe),
          "model.batch_norm is for imported models: the built-in ones have theirs");
  require(!recipe.model.whiten || !imports(recipe),
          "model.whiten draws the first convolution's weights anew: it cannot be set for an imported model");
  require(recipe.model.filters == Recipe::Filters::drawn || !imports(recipe),
          "model.filters are of a network's beginning: they cannot be set for an imported model");
  require(recipe.model.filters == Recipe::Filters::drawn || !recipe.model.whiten,
          "model.whiten draws the filters anew: set it, or model.filters, not both");
  const bool gate = recipe.fade.control == Recipe::Control::gate;
  require(!gate || recipe.data.validation != 0, "fade.control = gate needs held-out images: set data.validation");
  const bool trained = recipe.fade.start > 0 || gate || !options.from.empty() || options.resume;
  require(recipe.distill.teacher != "self" || trained,
          "distill.teacher = self: the network has learnt nothing when its fading begins: set fade.start above 0");
  const bool watches = recipe.gate.weight > 0 || recipe.gate.by == Recipe::GateBy::policy;
  require(!recipe.train.recorded || (!watches && recipe.distill.teacher != "ema"),
          "train.recorded: what a step learns from must not change: leave out gate.weight, gate.by and "
          "distill.teacher = ema");
  check_architecture(recipe);
  if (recipe.select.by == Recipe::SelectBy::none) return;
  require(recipe.select.count >= 0 || recipe.select.milliseconds > 0,
          "select: how many activations survive? Set select.count or select.milliseconds");
  const bool measures = !selector_of(recipe.select).importance.empty();
  require(!measures || recipe.data.validation != 0, "select.by needs held-out images: set data.validation");
  require(!measures || trained,
          "select.by: the network has learnt nothing when survivors are chosen: set fade.start above 0");
}

void check_same_recipe(Recipe now, const std::string& before, const std::filesystem::path& file) {
  Recipe then = parse_recipe(before, file.string());
  then.train.threads = now.train.threads;
  then.data.path = now.data.path;
  std::istringstream now_lines(print(now)), then_lines(print(then));
  for (std::string a, b, section; std::getline(now_lines, a) && std::getline(then_lines, b);) {
    if (a.starts_with('[')) section = a;
    if (a != b) {
      throw Error(ErrorKind::usage,
                  fmt::format("{} comes from another recipe: {} {}, now {}", file.string(), section, b, a));
    }
  }
}

}  // namespace reducenet::train
