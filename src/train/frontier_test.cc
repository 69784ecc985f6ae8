#include "train/frontier.h"

#include <gtest/gtest.h>

#include <set>

#include "reducenet/error.h"
#include "train/recipe_check.h"
#include "train/weights.h"

namespace reducenet::train {
namespace {

Recipe example() {
  return parse_recipe(R"(
[model]
arch = "reduce20"
[train]
epochs = 10
[select]
by = "dp"
[finetune]
epochs = 2
[distill]
teacher = "self"
[frontier]
survivors = [9, 5, 1]
epochs = 4
lr = 0.02
seeds = [0, 7]
controls = ["plain11", "plain11 model.branches=1x1,identity-bn optimizer.weight_decay=0.001"]
lrs = [0.05, 0.1]
)");
}

TEST(Frontier, DeclaresAFixedGrid) {
  const auto cells = frontier_cells(example());
  EXPECT_EQ(cells.size(), 2 * (1 + 3 + 3 + 2 * 2));
  std::set<std::string> before;
  for (const FrontierCell& cell : cells) {
    EXPECT_TRUE(cell.after.empty() || before.contains(cell.after)) << cell.name;
    EXPECT_TRUE(cell.deep.empty() || before.contains(cell.deep)) << cell.name;
    EXPECT_TRUE(before.insert(cell.name).second) << cell.name;
    EXPECT_TRUE(cell.recipe.frontier.survivors.empty());
    EXPECT_EQ(cell.recipe.train.seed, cell.seed);
    EXPECT_EQ(cell.recipe.distill.teacher, cell.kind == FrontierCell::Kind::deep ? "" : "self");
  }
  const auto again = frontier_cells(example());
  for (size_t i = 0; i < cells.size(); ++i) EXPECT_EQ(print(cells[i].recipe), print(again[i].recipe));
}

TEST(Frontier, EveryCellCanBeRunWhateverTheBeginningIsMadeOf) {
  for (const char* beginning : {"model.whiten=true", "model.filters=patches"}) {
    Recipe recipe = example();
    recipe.data.path = "generated";
    recipe.distill = {};
    set(recipe, beginning);
    for (const FrontierCell& cell : frontier_cells(recipe)) {
      EXPECT_NO_THROW(check_recipe(cell.recipe, {.from = "model.safetensors"})) << cell.name;
    }
  }
}

TEST(Frontier, EpochsAreEqual) {
  int64_t steps = 0;
  for (const FrontierCell& cell : frontier_cells(example())) {
    switch (cell.kind) {
      case FrontierCell::Kind::trunk:
        FAIL() << "a chain has no trunk";
      case FrontierCell::Kind::deep:
        EXPECT_EQ(cell.epochs, 10);
        steps = 10;
        break;
      case FrontierCell::Kind::step:
        EXPECT_EQ(cell.recipe.train.epochs, 4);
        EXPECT_EQ(cell.epochs, steps += 4);
        EXPECT_EQ(cell.recipe.select.by, Recipe::SelectBy::dp);
        EXPECT_EQ(cell.recipe.select.count, cell.survivors);
        EXPECT_EQ(cell.recipe.finetune.epochs, 0);
        break;
      case FrontierCell::Kind::direct:
        EXPECT_EQ(cell.recipe.train.epochs, cell.survivors == 9 ? 14 : cell.survivors == 5 ? 18 : 22);
        EXPECT_EQ(cell.recipe.select.by, Recipe::SelectBy::none);
        break;
      case FrontierCell::Kind::control:
        EXPECT_EQ(cell.recipe.train.epochs, 22);
        EXPECT_EQ(cell.recipe.model.arch, "plain11");
        break;
    }
  }
}

TEST(Frontier, InAFanEveryNetworkLearnsForEquallyLong) {
  Recipe recipe = example();
  set(recipe, "frontier.way=fan");
  const auto cells = frontier_cells(recipe);
  EXPECT_EQ(cells.size(), 2 * (2 + 3 + 3 + 2 * 2));
  std::set<std::string> before;
  for (const FrontierCell& cell : cells) {
    const std::string trunk = cell.seed == 0 ? "trunk-s0" : "trunk-s7";
    const bool from_trunk = cell.kind == FrontierCell::Kind::deep || cell.kind == FrontierCell::Kind::step;
    if (cell.kind == FrontierCell::Kind::trunk) {
      EXPECT_EQ(cell.name, trunk);
      EXPECT_EQ(cell.epochs, 10);
      EXPECT_EQ(cell.recipe.train.epochs, 10);
      EXPECT_EQ(cell.recipe.train.after, 4);
    } else {
      EXPECT_EQ(cell.epochs, 14) << cell.name;
      EXPECT_EQ(cell.after == trunk, from_trunk) << cell.name;
      EXPECT_EQ(cell.recipe.train.epochs, from_trunk ? 4 : 14) << cell.name;
      EXPECT_EQ(cell.recipe.train.before, from_trunk ? 10 : 0) << cell.name;
      EXPECT_EQ(cell.recipe.finetune.epochs, from_trunk ? 2 : 0) << cell.name;
    }
    EXPECT_EQ(cell.recipe.distill.teacher, cell.deep.empty() ? "" : "self") << cell.name;
    EXPECT_TRUE(cell.after.empty() || before.contains(cell.after)) << cell.name;
    EXPECT_TRUE(cell.deep.empty() || before.contains(cell.deep)) << cell.name;
    before.insert(cell.name);
  }
}

TEST(Frontier, ControlsHaveTheirSettings) {
  int found = 0;
  for (const FrontierCell& cell : frontier_cells(example())) {
    if (cell.name != "control2-lr0.05-s7") continue;
    ++found;
    EXPECT_EQ(cell.recipe.model.options.branches, (std::vector<std::string>{"1x1", "identity-bn"}));
    EXPECT_EQ(cell.recipe.optimizer.weight_decay, 0.001);
    EXPECT_EQ(cell.recipe.optimizer.lr, 0.05);
  }
  EXPECT_EQ(found, 1);
}

TEST(Frontier, NonsenseIsRefused) {
  EXPECT_THROW(frontier_cells(Recipe{}), Error);
  Recipe rising = example();
  set(rising, "frontier.survivors=3,5");
  EXPECT_THROW(frontier_cells(rising), Error);
  Recipe gateless = example();
  set(gateless, "select.by=usage");
  EXPECT_THROW(frontier_cells(gateless), Error);
  Recipe many = example();
  set(many, "frontier.survivors=40,3");
  EXPECT_THROW(frontier_cells(many), Error);
  Recipe unknown = example();
  unknown.frontier.controls = {"plain11 model.branch=1x1"};
  EXPECT_THROW(frontier_cells(unknown), Error);
  Recipe twice = example();
  set(twice, "model.branches=1x1");
  twice.frontier.controls = {"plain11", "plain11 model.branches=1x1"};  // the first has the recipe's branches too
  EXPECT_THROW(frontier_cells(twice), Error);
  twice.frontier.controls = {"plain11", "plain11 model.branches="};
  EXPECT_NO_THROW(frontier_cells(twice));
}

TEST(Frontier, NewWeightsAreNewAndOfTheSameShape) {
  const Graph graph = build("reduce", {.modules = 1, .widths = {4, 8}, .height = 8, .width = 8});
  const Graph a = with_new_weights(graph, 1), b = with_new_weights(graph, 1), c = with_new_weights(graph, 2);
  int64_t drawn = 0;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (!graph.values[i].constant) continue;
    EXPECT_EQ(a.values[i].constant->shape(), graph.values[i].constant->shape());
    EXPECT_TRUE(*a.values[i].constant == *b.values[i].constant);
    drawn += !(*a.values[i].constant == *c.values[i].constant);
  }
  EXPECT_EQ(drawn, 1 + 4 + 1);  // stem, two convolutions in each of two modules, fc
}

}  // namespace
}  // namespace reducenet::train
