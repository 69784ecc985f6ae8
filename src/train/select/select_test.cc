#include "train/select/select.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "reducenet/arch.h"
#include "reducenet/builder.h"
#include "reducenet/collapse.h"
#include "reducenet/formats.h"
#include "reducenet/verify.h"
#include "train/graphs.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

/// Losses and milliseconds by formula: activation i alone costs `weight[i]` loss, two neighbours that vanish together
/// cost `together` more, and each that vanishes saves a millisecond of `candidates`.
SelectionContext example(std::vector<double> weight, int64_t count, double milliseconds = 0, double together = 0) {
  SelectionContext context{.recipe = {.count = count, .milliseconds = milliseconds}, .candidates = weight.size()};
  context.loss = [weight, together](const Survivors& s) {
    double loss = 1;
    for (size_t i = 0; i < s.size(); ++i) {
      if (!s[i]) loss += weight[i] + (i > 0 && !s[i - 1] ? together : 0);
    }
    return loss;
  };
  context.milliseconds = [](const Survivors& s) { return static_cast<double>(std::ranges::count(s, true)); };
  return context;
}

Survivors choose(Recipe::SelectBy by, SelectionContext context) {
  context.recipe.by = by;
  return select(context).survive;
}

Survivors of(const char* text) {
  Survivors survivors;
  for (; *text; ++text) survivors.push_back(*text == '1');
  return survivors;
}

using By = Recipe::SelectBy;

TEST(Select, TableFollowsTheRecipe) {
  ASSERT_EQ(selectors().size(), 6U);
  for (const RecipeKey& key : recipe_keys()) {
    if (key.name != "select.by") continue;
    for (const Selector& selector : selectors()) expect_contains(key.help, std::string(selector.name));
  }
}

TEST(Select, UniformIsEvenlySpaced) {
  EXPECT_EQ(choose(By::uniform, example({1, 1, 1, 1, 1, 1}, 2)), of("010010"));
  EXPECT_EQ(choose(By::uniform, example({1, 1, 1, 1, 1, 1}, 0)), of("000000"));
  EXPECT_EQ(choose(By::uniform, example({1, 1, 1}, 9)), of("111"));
  for (int64_t k = 0; k <= 28; ++k) {
    EXPECT_EQ(std::ranges::count(choose(By::uniform, example(std::vector<double>(28, 1), k)), true), k);
  }
}

TEST(Select, TrailingIsEvenlySpacedUpToTheLast) {
  EXPECT_EQ(choose(By::trailing, example({1, 1, 1, 1, 1, 1}, 2)), of("001001"));
  EXPECT_EQ(choose(By::trailing, example(std::vector<double>(10, 1), 3)), of("0001001001"));  // the last of each stage
  EXPECT_EQ(choose(By::trailing, example({1, 1, 1, 1, 1, 1}, 0)), of("000000"));
  EXPECT_EQ(choose(By::trailing, example({1, 1, 1}, 9)), of("111"));
  for (int64_t k = 1; k <= 28; ++k) {
    const Survivors survivors = choose(By::trailing, example(std::vector<double>(28, 1), k));
    EXPECT_EQ(std::ranges::count(survivors, true), k);
    EXPECT_TRUE(survivors.back());
  }
}

TEST(Select, SensitivityKeepsTheDearest) {
  EXPECT_EQ(choose(By::sensitivity, example({0.1, 0.5, 0.2, 0.4}, 2)), of("0101"));
}

TEST(Select, SaysWhatEachIsWorth) {
  const std::vector<double> weight{0.1, 0.5, 0.2, 0.4};
  for (const By by : {By::sensitivity, By::dp}) {
    auto context = example(weight, 2);
    context.recipe.by = by;
    const Selection selection = select(context);
    ASSERT_EQ(selection.importance.size(), weight.size());
    for (size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(selection.importance[i], weight[i], 1e-12);
    EXPECT_NE(selector_of(context.recipe).importance, "");
  }
  auto context = example(weight, 2);
  context.recipe.by = By::uniform;
  EXPECT_TRUE(select(context).importance.empty());
  EXPECT_EQ(selector_of(context.recipe).importance, "");
}

TEST(Select, BudgetsOfMillisecondsHold) {
  EXPECT_EQ(choose(By::sensitivity, example({0.1, 0.5, 0.2, 0.4}, -1, 3)), of("0111"));
  EXPECT_EQ(choose(By::uniform, example({1, 1, 1, 1}, -1, 1.5)), of("0010"));
  EXPECT_EQ(choose(By::dp, example({0.1, 0.5, 0.2, 0.4}, -1, 2)), of("0101"));
  auto never = example({1, 1}, -1, 0.5);
  never.milliseconds = [](const Survivors&) { return 1.0; };
  EXPECT_THROW(choose(By::uniform, never), Error);
  EXPECT_THROW(choose(By::dp, never), Error);
}

// What vanishes saves nothing beside something else that vanishes: savings do not add up.
TEST(Select, WhatIsChosenIsTimedAsAWhole) {
  auto context = example({0.1, 0.5, 0.2}, -1, 1.5);
  context.milliseconds = [](const Survivors& s) {
    return s == of("000") ? 0.5 : s == of("010") || std::ranges::count(s, false) == 1 ? 2.0 : 3.0;
  };
  EXPECT_EQ(choose(By::dp, context), of("000"));
  context.milliseconds = [](const Survivors& s) { return s == of("000") ? 1.0 : s == of("010") ? 2.0 : 3.0; };
  EXPECT_EQ(choose(By::dp, context), of("000"));
  // The most important alone is too slow.
  auto dear = example({0.1, 0.5, 0.2}, -1, 1.5);
  dear.milliseconds = [](const Survivors& s) { return s[1] ? 2.0 : 1.0; };
  EXPECT_EQ(choose(By::sensitivity, dear), of("101"));
  EXPECT_EQ(choose(By::dp, dear), of("101"));
}

/// The best of all choices by exhaustion, under the loss itself (gaps add up in the examples).
Survivors best_of_all(const SelectionContext& context, int64_t count) {
  Survivors best;
  const size_t n = context.candidates;
  for (size_t bits = 0; bits < (size_t{1} << n); ++bits) {
    Survivors s;
    for (size_t i = 0; i < n; ++i) s.push_back((bits >> i & 1) != 0);
    if (std::ranges::count(s, true) != count) continue;
    if (best.empty() || context.loss(s) < context.loss(best)) best = s;
  }
  return best;
}

TEST(Select, DynamicProgrammingIsOptimal) {
  const std::vector<double> weight{0.11, 0.52, 0.23, 0.47, 0.31, 0.05, 0.29, 0.61};
  for (const double together : {0.0, 0.17, 1.0}) {
    for (int64_t count = 0; count <= 8; ++count) {
      auto context = example(weight, count, 0, together);
      context.recipe.span = 0;
      const Survivors chosen = choose(By::dp, context);
      EXPECT_EQ(std::ranges::count(chosen, true), count);
      EXPECT_NEAR(context.loss(chosen), context.loss(best_of_all(context, count)), 1e-12) << count;
    }
  }
  // Where neighbours are dear together, one at a time is not enough to know.
  const auto context = example({0.10, 0.11, 0.12, 0.13}, 2, 0, 1);
  EXPECT_EQ(choose(By::sensitivity, context), of("0011"));
  EXPECT_EQ(choose(By::dp, context), of("0101"));
}

TEST(Select, DynamicProgrammingSpansWhatItMust) {
  auto context = example(std::vector<double>(9, 1), 1);
  context.recipe.span = 1;
  EXPECT_EQ(std::ranges::count(choose(By::dp, context), true), 1);
}

/// Images of noise in two classes that only a non-linearity separates: small or large. The first activation sees
/// positive values only and does nothing; the second is the one that matters.
struct Toy {
  Network network;
  std::vector<size_t> fades;
};

Graph toy_graph() {
  GraphBuilder b("toy", 5);
  ValueId x = b.input("x", {-1, 3, 4, 4});
  x = b.batch_norm("a.bn", b.conv("a", x, 6, {1, 1}, {}));
  x = b.activation("idle", x, {Activation::Kind::relu});
  x = b.batch_norm("b.bn", b.conv("b", x, 6, {1, 1}, {}));
  x = b.activation("busy", x, {Activation::Kind::relu});
  b.output(b.gemm("fc", b.node("flat", Flatten{}, {b.node("pool", GlobalAveragePool{}, {x})}), 2));
  Graph graph = std::move(b).finish();
  graph[graph.find_value("a.bn.bias")].constant = Tensor::filled({6}, 20);
  open_candidates(graph);
  return graph;
}

Labelled toy_batch() {
  const at::Tensor labels = at::randint(2, {64}, at::kLong);
  const at::Tensor scale = (labels * 2 + 1).to(at::kFloat).view({64, 1, 1, 1});
  return {(at::randn({64, 3, 4, 4}) * scale).contiguous(at::MemoryFormat::ChannelsLast), labels};
}

TEST(Select, LearnedMasksKeepTheActivationThatMatters) {
  at::manual_seed(7);
  SelectionContext context{.recipe = {.count = 1, .steps = 80, .lr = 0.05}, .candidates = 2};
  context.copy = [] { return Network(toy_graph(), {.fused = false}); };
  context.fades = {0, 1};
  context.next_batch = toy_batch;
  context.optimizer.weight_decay = 0;
  EXPECT_EQ(choose(By::learned, context), of("01"));
  // The same under measured milliseconds; and where the one that matters takes too long.
  context.recipe.count = -1;
  context.recipe.milliseconds = 1.5;
  context.milliseconds = [](const Survivors& s) { return static_cast<double>(std::ranges::count(s, true)); };
  EXPECT_EQ(choose(By::learned, context), of("01"));
  context.milliseconds = [](const Survivors& s) { return s[1] ? 2.0 : 1.0; };
  EXPECT_EQ(choose(By::learned, context), of("10"));
}

class Selected : public Run {};

TEST_F(Selected, EveryWayLeavesSoManyAndResumesBitForBit) {
  for (const char* by :
       {"select.by=uniform", "select.by=trailing", "select.by=sensitivity", "select.by=learned", "select.by=dp"}) {
    // plain with two modules a stage: five activations, two survive.
    const Recipe recipe = small({"model.arch=plain", "model.modules=2", by, "select.count=2", "select.steps=6",
                                 "select.images=64", "fade.start=0.4", "fade.end=0.8", "train.epochs=2"});
    run(recipe, {.out = out("whole")});
    EXPECT_EQ(count_nonlinear(load(out("whole") / "model.safetensors")), 2) << by;
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts")}, 7).interrupted);
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts"), .resume = true}, 6).interrupted);
    run(recipe, {.out = out("parts"), .resume = true});
    expect_same_tensors(out("whole") / "model.safetensors", out("parts") / "model.safetensors");
  }
}

TEST_F(Selected, LearnedSlopesAreCandidatesToo) {
  for (const char* by : {"select.by=sensitivity", "select.by=learned"}) {
    const Recipe recipe =
        small({"model.arch=plain", "model.modules=2", "model.slopes=true", by, "select.count=2", "select.steps=6",
               "select.images=64", "fade.start=0.4", "fade.end=0.8", "train.epochs=2"});
    run(recipe, {.out = out("a")});
    const Graph graph = load(out("a") / "model.safetensors");
    EXPECT_EQ(count_nonlinear(graph), 2) << by;
    EXPECT_EQ(
        std::ranges::count_if(graph.nodes, [](const Node& node) { return std::holds_alternative<PRelu>(node.op); }), 2)
        << by;
  }
}

TEST_F(Selected, ByMeasuredMilliseconds) {
  for (const char* by :
       {"select.by=uniform", "select.by=trailing", "select.by=sensitivity", "select.by=learned", "select.by=dp"}) {
    const Recipe recipe = small({"model.arch=plain", by, "select.milliseconds=1000", "select.steps=4",
                                 "select.images=32", "fade.start=0.4", "train.epochs=1"});
    run(recipe, {.out = out("a")});
    EXPECT_EQ(count_nonlinear(load(out("a") / "model.safetensors")), 3) << by;
    const auto [kind, text] = failure(small({"model.arch=plain", by, "select.milliseconds=1e-9", "select.steps=4",
                                             "select.images=32", "fade.start=0.4", "train.epochs=1"}),
                                      {.out = out("b")});
    EXPECT_EQ(kind, ErrorKind::usage) << by;
    expect_contains(text, "even with no activation left");
  }
}

TEST_F(Selected, AnImportedModelFadesCollapsesAndIsExported) {
  for (const char* activation : {"relu6", "hard_swish", "silu"}) {
    ArchOptions options{
        .modules = 1, .widths = {4, 8}, .activation = activation_named(activation), .height = 16, .width = 16};
    const fs::path model = out("model.onnx");
    save(build("resnet", options), model);
    // resnet with one module a stage: a stem and two activations a module.
    const Recipe recipe = small({"model.arch=import", "model.height=0", "model.width=0", "select.by=sensitivity",
                                 "select.count=1", "select.images=64", "train.epochs=2", "optimizer.lr=0.02"});
    run(recipe, {.out = out("a"), .from = model});
    EXPECT_TRUE(run_steps(recipe, {.out = out("b"), .from = model}, 9).interrupted);
    run(recipe, {.out = out("b"), .resume = true});
    EXPECT_EQ(bytes_of(out("a") / "model.safetensors"), bytes_of(out("b") / "model.safetensors"));
    const Graph trained = load(out("a") / "model.safetensors");
    EXPECT_EQ(count_nonlinear(trained), 1) << activation;
    const Collapsed collapsed = collapse(trained);
    EXPECT_LT(collapsed.graph.nodes.size(), trained.nodes.size());
    EXPECT_TRUE(verify(trained, collapsed).verified);
    save(collapsed.graph, out("deployed.onnx"));
    EXPECT_TRUE(verify(collapsed.graph, load(out("deployed.onnx"))).verified);
  }
}

// Exporters write equal vectors once: here every zero and every one of the batch norms, some behind an Identity.
TEST_F(Selected, AnImportedModelsParametersAreItsOwn) {
  Graph graph = build("resnet", {.modules = 1, .widths = {4, 8}, .height = 16, .width = 16});
  std::vector<ValueId> first(2);
  for (Node& node : graph.nodes) {
    if (!std::holds_alternative<BatchNorm>(node.op) || graph.constant(node.inputs[1])->shape()[0] != 4) continue;
    for (size_t i = 1; i < 5; ++i) {
      ValueId& same = first[i == 1 || i == 4 ? 1 : 0];
      if (!same) same = node.inputs[i];
      node.inputs[i] = same;
    }
  }
  const ValueId copy = graph.add_value({.name = "copy", .shape = Shape{4}});
  for (Node& node : graph.nodes) {
    if (node.name == "stage1.module1.conv1.bn") node.inputs[3] = copy;
  }
  graph.nodes.insert(graph.nodes.begin(), Node{"copied", Identity{}, {first[0]}, {copy}, ""});
  remove_dead(graph);
  save(graph, out("model.onnx"));
  run(small({"model.arch=import", "model.height=0", "model.width=0", "train.epochs=1", "data.cutout=0"}),
      {.out = out("a"), .from = out("model.onnx")});
  const Graph trained = load(out("a") / "model.safetensors");
  std::set<std::vector<double>> means;
  int64_t norms = 0;
  for (const Node& node : trained.nodes) {
    if (!std::holds_alternative<BatchNorm>(node.op) ||
        !means.insert(trained.constant(node.inputs[3])->to_doubles()).second)
      continue;
    ++norms;
    EXPECT_NE(trained.constant(node.inputs[2])->to_doubles(), trained.constant(node.inputs[3])->to_doubles());
  }
  EXPECT_EQ(norms, 6);  // stem, two modules of two, one projection
}

// Channels split and shuffled, as ShuffleNet does, with the exporter's batch of one in the shapes.
TEST_F(Selected, AnImportedModelSplitsAndShufflesItsChannels) {
  GraphBuilder b("shuffle", 5);
  const auto shape = [&](const char* name, std::vector<int64_t> sizes) {
    return b.constant(name, Tensor::of({std::ssize(sizes)}, std::span<const int64_t>(sizes)));
  };
  const ValueId x = b.input("x", {1, 3, 16, 16});
  const ValueId stem = b.activation("stem.act", b.conv("stem", x, 8, {3, 3}, {.padding = {1, 1, 1, 1}}), {});
  const auto part = [&](const char* name, int64_t from, int64_t to) {
    return b.node(name, Slice{.starts = {from}, .ends = {to}, .axes = {1}, .steps = {1}}, {stem});
  };
  const ValueId left = part("left", 0, 3), rest = part("rest", 3, 8);
  ValueId y = b.activation("right.act", b.conv("right", rest, 5, {1, 1}, {}), {Activation::Kind::relu});
  y = b.node("joined", Concat{.axis = 1}, {y, left});
  y = b.node("apart", Reshape{}, {y, shape("apart.shape", {1, 2, 4, 16, 16})});
  y = b.node("turned", Transpose{{0, 2, 1, 3, 4}}, {y});
  y = b.node("together", Reshape{}, {y, shape("together.shape", {1, -1, 16, 16})});
  y = b.node("pool", GlobalAveragePool{}, {y});
  const ValueId batch =
      b.node("batch", Slice{.starts = {0}, .ends = {1}, .axes = {0}, .steps = {1}}, {b.node("sizes", ShapeOf{}, {y})});
  const ValueId flat = b.node("flat.shape", Concat{.axis = 0}, {batch, shape("features", {-1})});
  y = b.node("flat", Reshape{}, {y, flat});
  b.output(b.node("fc", Gemm{.trans_b = true}, {y, b.constant("fc.weight", Tensor::filled({10, 8}, 0.1))}));
  Graph graph = std::move(b).finish();
  Node& split = graph.nodes[static_cast<size_t>(graph.find_node("left").index)];
  split.op = SplitAxis{.axis = 1, .sizes = {3, 5}};
  split.outputs.push_back(rest);
  graph.nodes.erase(graph.nodes.begin() + graph.find_node("rest").index);
  save(graph, out("model.onnx"));
  run(small({"model.arch=import", "model.height=0", "model.width=0", "train.epochs=1"}),
      {.out = out("a"), .from = out("model.onnx")});
  const Graph trained = load(out("a") / "model.safetensors");
  const Tensor input = Tensor::filled({3, 3, 16, 16}, 0.5);
  EXPECT_EQ(evaluate(trained, {&input, 1}).front().shape(), (Shape{3, 10}));
  EXPECT_TRUE(verify(trained, collapse(trained)).verified);
}

TEST_F(Selected, AnImportedHeadForOtherClassesIsReplaced) {
  save(build("plain", {.modules = 1, .widths = {4}, .height = 16, .width = 16, .classes = 17}), out("model.onnx"));
  const Result result = run(small({"model.arch=import", "model.height=0", "model.width=0", "train.epochs=1"}),
                            {.out = out("a"), .from = out("model.onnx")});
  EXPECT_GE(result.top1, 0);
  EXPECT_EQ(load(out("a") / "model.safetensors").metadata.contains("names"), true);
  const auto [kind, text] = failure(small({"model.arch=import", "model.height=0", "model.width=12"}),
                                    {.out = out("b"), .from = out("model.onnx")});
  EXPECT_EQ(kind, ErrorKind::usage);
  expect_contains(text, "set model.channels, height and width");
}

}  // namespace
}  // namespace reducenet::train
