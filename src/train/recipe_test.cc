#include <gtest/gtest.h>

#include "reducenet/error.h"
#include "reducenet/train.h"

namespace reducenet::train {
namespace {

/// Runs `body`, which must throw, and returns "kind: message".
template <class Body>
std::string error_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return std::to_string(static_cast<int>(error.kind())) + ": " + error.what();
  }
  return "no error";
}

TEST(Recipe, ReadsEveryKindOfValue) {
  const Recipe r = parse_recipe(R"(
[model]
arch = "plain11"
widths = [8, 16]
branches = ["1x1", "identity-bn"]
activation = "gelu"
linear = true
[optimizer]
algorithm = "adamw"
lr = 1
milestones = [0.25]
schedule = "onecycle"
[fade]
order = "backward"
)");
  EXPECT_EQ(r.model.arch, "plain11");
  EXPECT_EQ(r.model.options.widths, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(r.model.options.branches, (std::vector<std::string>{"1x1", "identity-bn"}));
  EXPECT_EQ(r.model.options.activation.kind, Activation::Kind::gelu);
  EXPECT_TRUE(r.model.options.linear);
  EXPECT_EQ(r.optimizer.algorithm, Recipe::Algorithm::adamw);
  EXPECT_EQ(r.optimizer.lr, 1.0);
  EXPECT_EQ(r.optimizer.milestones, std::vector<double>{0.25});
  EXPECT_EQ(r.optimizer.schedule, Recipe::Schedule::onecycle);
  EXPECT_EQ(r.fade.order, Recipe::Order::backward);
  EXPECT_EQ(r.train.epochs, Recipe{}.train.epochs);
}

TEST(Recipe, PrintsWhatItReads) {
  Recipe r;
  set(r, "optimizer.lr=0.1234567890123");
  set(r, "model.branches=1x1,3x3");
  set(r, "model.widths=4,8");
  set(r, "data.path=a \"b\" \\ c");
  set(r, "fade.per=epoch");
  set(r, "optimizer.milestones=");
  const std::string text = print(r);
  EXPECT_EQ(print(parse_recipe(text)), text);
  EXPECT_NE(text, print(Recipe{}));
  EXPECT_EQ(parse_recipe(text).optimizer.lr, 0.1234567890123);
  EXPECT_EQ(parse_recipe(text).model.options.branches, (std::vector<std::string>{"1x1", "3x3"}));
  EXPECT_EQ(parse_recipe(text).data.path, "a \"b\" \\ c");
  EXPECT_TRUE(parse_recipe(text).optimizer.milestones.empty());
}

TEST(Recipe, EveryDefaultCanBeSet) {
  for (const RecipeKey& key : recipe_keys()) {
    const size_t dot = key.name.find('.');
    const std::string toml = "[" + key.name.substr(0, dot) + "]\n" + key.name.substr(dot + 1) + " = " + key.value;
    EXPECT_EQ(print(parse_recipe(toml)), print(Recipe{})) << key.name;
    EXPECT_FALSE(key.help.empty());
  }
}

TEST(Recipe, UnknownKeysNameFileKeyAndNearest) {
  EXPECT_EQ(error_of([] { parse_recipe("[optimizer]\nlabel_smothing = 1", "a.toml"); }),
            "3: a.toml: unknown key 'optimizer.label_smothing'; the nearest is 'optimizer.label_smoothing'");
  EXPECT_EQ(error_of([] { parse_recipe("[optimiser]\nlr = 1", "a.toml"); }),
            "3: a.toml: unknown key 'optimiser.lr'; the nearest is 'optimizer.lr'");
  EXPECT_NE(error_of([] { parse_recipe("lr = 1", "a.toml"); }).find("unknown key 'lr'"), std::string::npos);
  Recipe r;
  EXPECT_EQ(error_of([&] { set(r, "train.epoch=3"); }),
            "2: --set train.epoch=3: unknown key 'train.epoch'; the nearest is 'train.epochs'");
  EXPECT_EQ(error_of([&] { set(r, "train.batch=32"); }),
            "2: --set train.batch=32: unknown key 'train.batch'; the nearest is 'optimizer.batch'");
}

TEST(Recipe, WrongValuesNameTheKey) {
  EXPECT_EQ(error_of([] { parse_recipe("[optimizer]\nlr = \"big\"", "a.toml"); }),
            "3: a.toml: optimizer.lr must be a number");
  EXPECT_EQ(error_of([] { parse_recipe("[train]\nepochs = 1.5", "a.toml"); }),
            "3: a.toml: train.epochs must be a whole number");
  EXPECT_EQ(error_of([] { parse_recipe("[train]\nepochs = -1", "a.toml"); }),
            "3: a.toml: train.epochs must be at least 0");
  EXPECT_EQ(error_of([] { parse_recipe("[fade]\nend = nan", "a.toml"); }), "3: a.toml: fade.end must be in 0 to 1");
  EXPECT_EQ(error_of([] { parse_recipe("[fade]\norder = \"sideways\"", "a.toml"); }),
            "3: a.toml: fade.order must be one of together|forward|backward");
  EXPECT_EQ(error_of([] { parse_recipe("[model]\nwidths = 3", "a.toml"); }), "3: a.toml: model.widths must be a list");
  EXPECT_EQ(error_of([] { parse_recipe("[train]\n\nepochs = = 2", "a.toml"); }).substr(0, 12), "3: a.toml:3:");
  Recipe r;
  EXPECT_EQ(error_of([&] { set(r, "data.flip=maybe"); }).substr(0, 26), "2: --set data.flip=maybe: ");
  EXPECT_EQ(error_of([&] { set(r, "data.flip"); }), "2: --set data.flip: expected section.key=value");
}

TEST(Recipe, MissingFileIsAnInputOutputError) {
  EXPECT_EQ(error_of([] { load_recipe("/nowhere/recipe.toml"); }), "4: cannot read the recipe /nowhere/recipe.toml");
}

}  // namespace
}  // namespace reducenet::train
