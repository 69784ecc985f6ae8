#include "reducenet/arch.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "reducenet/error.h"

namespace reducenet {
namespace {

int64_t count_convs(const Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                       [](const Node& node) { return std::holds_alternative<Conv2d>(node.op); });
}

Shape output_shape(const Graph& graph) {
  return *graph[graph.outputs[0]].shape;
}

/// Networks of 3×3 convs, or without any.
bool takes_padding_at_input(std::string_view name) {
  constexpr std::string_view mixed[] = {"vanillanet",  "vanillanet-cifar", "resnet-bottleneck", "vgg",
                                        "mobilenetv2", "densenet",         "convnext"};
  return std::ranges::find(mixed, name) == std::end(mixed);
}

TEST(Arch, EveryRowBuildsAndIsWellFormed) {
  for (const Architecture& row : architectures()) {
    for (const char* padding : {"each", "module", "input"}) {
      for (const char* head : {"pool", "flatten"}) {
        ArchOptions options{.modules = 2, .widths = {4, 6}, .expansion = 2, .branches = {"1x1", "3x3", "identity-bn"}};
        options.head = head;
        options.padding = padding;
        options.width = 20;
        options.height = 16;
        if (options.padding == "input" && !takes_padding_at_input(row.name)) {
          EXPECT_THROW(row.build(options), Error) << row.name;
          continue;
        }
        const Graph graph = row.build(options);
        EXPECT_NO_THROW(check(graph)) << row.name;
        EXPECT_EQ(output_shape(graph), (Shape{-1, 10})) << row.name << "\n" << print(graph);
      }
    }
  }
}

TEST(Arch, SlopesTakeThePlaceOfTheActivationsThatStay) {
  const auto count = [](const Graph& graph, auto is) {
    return std::ranges::count_if(graph.nodes, [&](const Node& node) { return is(node.op); });
  };
  const auto prelu = [](const Op& op) { return std::holds_alternative<PRelu>(op); };
  const auto fade = [](const Op& op) { return std::holds_alternative<Fade>(op); };
  const auto relu = [](const Op& op) { return std::holds_alternative<Activation>(op); };
  const ArchOptions options{.fades = {"inner"}, .slopes = true};
  const Graph graph = build("resnet20", options);
  EXPECT_EQ(count(graph, prelu), 10);
  EXPECT_EQ(count(graph, fade), 9);
  EXPECT_EQ(count(graph, relu), 0);
  for (const Node& node : graph.nodes) {
    if (!prelu(node.op)) continue;
    EXPECT_EQ(graph.constant(node.inputs[1])->shape(), (Shape{(*graph[node.inputs[0]].shape)[1], 1, 1}));
    EXPECT_EQ(graph.constant(node.inputs[1])->to_doubles()[0], 0) << "at the start it is a ReLU";
  }
  EXPECT_THROW(build("plain11", {.activation = {Activation::Kind::gelu}, .slopes = true}), Error);
}

TEST(Arch, NamesCarryDepths) {
  EXPECT_EQ(count_convs(build("reduce20", {})), 19);
  EXPECT_EQ(count_convs(build("reduce56", {})), 55);
  EXPECT_EQ(count_convs(build("plain29", {})), 28);
  EXPECT_EQ(count_convs(build("resnet29-article", {})), 28);
  EXPECT_EQ(count_convs(build("gen2-29", {})), 28);
  for (const Architecture& row : architectures()) {
    ArchOptions options;
    EXPECT_EQ(find_architecture(row.name, options).name, row.name);
  }
  EXPECT_EQ(count_convs(build("gen3-20", {.bottleneck = false})), 19 + 2);
  EXPECT_EQ(count_convs(build("vgg11", {})), 10);
  EXPECT_EQ(count_convs(build("resnet29-bottleneck", {})), 28 + 3);
  EXPECT_EQ(count_convs(build("vanillanet-cifar6", {.series = 0})), 2 * 5);
  EXPECT_EQ(count_convs(build("resnet56", {})), 55 + 2);  // with two projections
  EXPECT_THROW(build("reduce21", {}), Error);
  EXPECT_THROW(build("softmax7", {}), Error);
  EXPECT_THROW(build("nonsense", {}), Error);
}

TEST(Arch, ShortcutsOfAModuleCanBeLeftOut) {
  for (const char* name : {"reduce20", "article20", "gen2-29"}) {
    const auto sums = [&](bool shortcut) {
      const Graph graph = build(name, {.shortcut = shortcut});
      return std::ranges::count_if(graph.nodes, [](const Node& node) { return node.name.ends_with(".add"); });
    };
    EXPECT_EQ(sums(true), 7) << name << ": of nine modules two change the size";
    EXPECT_EQ(sums(false), 0) << name;
  }
}

TEST(Arch, PaddingAtTheInputGivesTheSameSizes) {
  for (const char* name : {"reduce20", "resnet20"}) {
    const Graph each = build(name, {.head = "flatten"});
    const Graph input = build(name, {.head = "flatten", .padding = "input"});
    const auto features = [](const Graph& g) { return *g[g.find_value("flatten")].shape; };
    EXPECT_EQ(features(each), features(input)) << print(input);
  }
}

TEST(Arch, NonlinearLayersAreCounted) {
  EXPECT_EQ(count_nonlinear(build("reduce20", {})), 10 + 9);
  EXPECT_EQ(count_nonlinear(build("article20", {})), 10);
  EXPECT_EQ(count_nonlinear(build("article20", {.linear = true})), 0);
  EXPECT_EQ(count_nonlinear(build("plain11", {})), 10);
}

TEST(Arch, ExpansionWidensOnlyTheMiddle) {
  const Graph wide = build("reduce20", {.expansion = 4});
  EXPECT_EQ(*wide[wide.find_value("stage1.module1.conv1")].shape, (Shape{-1, 64, 32, 32}));
  EXPECT_EQ(*wide[wide.find_value("stage1.module1.conv2")].shape, (Shape{-1, 16, 32, 32}));
}

TEST(Arch, SeedDecidesTheWeights) {
  const auto first_weight = [](uint64_t seed) {
    const Graph graph = build("plain11", {.seed = seed});
    return *graph.constant(graph.find_value("stem.weight"));
  };
  EXPECT_EQ(first_weight(3), first_weight(3));
  EXPECT_FALSE(first_weight(3) == first_weight(4));
}

TEST(Arch, NonsenseIsRefusedByName) {
  EXPECT_THROW(build("plain", {.modules = 0}), Error);
  EXPECT_THROW(build("plain", {.branches = {"5x5"}}), Error);
  EXPECT_THROW(build("plain", {.head = "maxpool"}), Error);
  EXPECT_THROW(build("resnet", {.fades = {"everywhere"}}), Error);
  EXPECT_THROW(build("vanillanet", {.modules = 1}), Error);
}

}  // namespace
}  // namespace reducenet
