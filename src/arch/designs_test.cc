#include <gtest/gtest.h>

#include <map>

#include "collapse/testing.h"
#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/verify.h"

namespace reducenet {
namespace {

template <class T>
int64_t count(const Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                       [](const Node& node) { return std::holds_alternative<T>(node.op); });
}

/// Random weights, random statistics, every fade at its end; collapsed, and certified.
Collapsed certified(const Graph& built, Target target) {
  const Graph graph = testing::as_trained(built);
  Collapsed result = collapse(graph, {.target = target});
  const Certificate certificate = verify(graph, result, {.samples = 1});
  EXPECT_TRUE(certificate.verified) << graph.name << ": " << certificate.why;
  EXPECT_LE(result.graph.nodes.size(), graph.nodes.size()) << graph.name;
  return result;
}

struct Case {
  const char* arch;
  std::vector<std::string> fades;
  const char* padding;
  Target target;
  int64_t nodes, convs, nonlinear;  // after the collapse
  int64_t modules = 1, expansion = 1;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.arch << (c.fades.empty() ? "" : " without " + c.fades.front()) << ", padding " << c.padding;
}

Graph network_of(const Case& c) {
  ArchOptions options{.modules = c.modules, .widths = {4, 6}, .expansion = c.expansion, .fades = c.fades};
  options.padding = c.padding;
  options.height = options.width = 16;
  return build(c.arch, options);
}

class WhatCollapses : public ::testing::TestWithParam<Case> {};

TEST_P(WhatCollapses, IsExactAndCounted) {
  const Case& c = GetParam();
  const Graph result = certified(network_of(c), c.target).graph;
  EXPECT_EQ(static_cast<int64_t>(result.nodes.size()), c.nodes) << print(result);
  EXPECT_EQ(count<Conv2d>(result), c.convs) << print(result);
  EXPECT_EQ(count_nonlinear(result), c.nonlinear) << print(result);
}

// Two stages of widths 4 and 6 and one module each (two where the last numbers say so), stem and head included.
const Case kCases[] = {
    // Existing designs as they are: only BN joins its convolution; DenseNet's stands before an activation, and stays.
    {"resnet", {}, "each", Target::module, 16, 6, 5},
    {"resnet-bottleneck", {}, "each", Target::module, 21, 9, 7},
    {"vgg", {}, "each", Target::module, 14, 5, 6, 2},
    {"mobilenetv2", {}, "each", Target::module, 30, 14, 10, 2, 6},
    {"densenet", {}, "each", Target::module, 26, 6, 6, 2},
    {"convnext", {}, "each", Target::module, 15, 8, 2, 1, 4},
    {"gen3", {}, "each", Target::module, 26, 10, 7},
    // Inner activations gone: a shift before zero padding keeps convs apart, and two 3×3 cost less than one 5×5.
    {"resnet", {"inner"}, "each", Target::module, 14, 6, 3},
    {"resnet", {"inner"}, "module", Target::module, 14, 6, 3},
    {"resnet-bottleneck", {"inner"}, "each", Target::module, 17, 9, 3},
    {"resnet-bottleneck", {"inner"}, "module", Target::module, 16, 8, 3},
    {"vgg", {"inner"}, "module", Target::module, 11, 4, 4, 2},
    {"densenet", {"inner"}, "each", Target::module, 20, 6, 1, 2},
    {"densenet", {"inner"}, "module", Target::module, 16, 6, 1, 2},
    // 7×7 depthwise stays; the two 1×1 with their wide middle are one.
    {"convnext", {"inner"}, "each", Target::module, 11, 6, 0, 1, 4},
    // Inverted residuals: with the padding where the module begins, each is one 3×3, its shortcut inside.
    {"mobilenetv2", {"inner"}, "each", Target::plan, 22, 14, 2, 2, 6},
    {"mobilenetv2", {"inner"}, "module", Target::plan, 11, 6, 2, 2, 6},
    // stem, three blocks and classifier: one layer each, and the sum of each series activation.
    {"vanillanet-cifar", {}, "each", Target::module, 16, 8, 5, 3},
};

INSTANTIATE_TEST_SUITE_P(Designs, WhatCollapses, ::testing::ValuesIn(kCases));

TEST(Gen3, FadedBranchLeavesTheStudent) {
  ArchOptions options{.modules = 1, .widths = {4, 6}, .expansion = 2, .branches = {"1x1"}, .height = 8, .width = 8};
  options.fades = {"bottleneck"};
  const Graph faded = certified(build("gen3", options), Target::module).graph;
  options.fades = {};
  options.bottleneck = false;
  const Graph student = certified(build("gen3", options), Target::module).graph;
  EXPECT_EQ(faded.nodes.size(), student.nodes.size()) << print(faded);
  EXPECT_EQ(count_macs(faded), count_macs(student));
}

TEST(Blocks, ThatFadeLeaveTheirShortcut) {
  // Three blocks a stage; of the second stage's the first has a projection and stays.
  for (const char* arch :
       {"resnet", "resnet-article", "reduce", "mobilenetv2", "convnext", "gen2", "resnet-bottleneck"}) {
    ArchOptions options{.modules = 3, .widths = {4, 6}, .expansion = 2, .fades = {"block"}, .height = 8, .width = 8};
    const Graph deep = build(arch, options);
    const Graph left = certified(deep, Target::module).graph;
    options.modules = 1;
    options.fades = {};
    const Graph one_block = certified(build(arch, options), Target::module).graph;
    EXPECT_LE(count<Conv2d>(left), count<Conv2d>(one_block)) << arch << print(left);
    EXPECT_LE(count_nonlinear(left), count_nonlinear(one_block)) << arch << print(left);
    EXPECT_LT(count_macs(left), count_macs(deep) / 2) << arch;
    EXPECT_GT(count_nonlinear(deep), count_nonlinear(left)) << arch;
  }
}

TEST(Residuals, ThatFadeLeaveThePlainNetwork) {
  for (const char* arch : {"resnet", "resnet-article", "mobilenetv2", "gen2"}) {
    ArchOptions options{.modules = 2, .widths = {4, 6}, .expansion = 2, .fades = {"residual"}, .height = 8, .width = 8};
    const Graph left = certified(build(arch, options), Target::module).graph;
    options.fades = {};
    const Graph whole = certified(build(arch, options), Target::module).graph;
    EXPECT_LE(count<Conv2d>(left), count<Conv2d>(whole)) << arch;  // a 1x1 may meet the next module's 1x1
    EXPECT_EQ(count<Binary>(left), count<Binary>(whole) - 3) << arch << print(left);
  }
}

TEST(StochasticDepth, FoldsItsExpectationIntoTheBlock) {
  for (const char* arch : {"resnet", "reduce", "mobilenetv2", "convnext", "gen2", "gen3"}) {
    ArchOptions options{.modules = 3, .widths = {4, 6}, .expansion = 2, .height = 8, .width = 8};
    const Graph whole = certified(build(arch, options), Target::module).graph;
    options.survival = 0.5;
    const Graph dropping = build(arch, options);
    std::vector<double> survival;
    for (const Node& node : dropping.nodes) {
      if (const auto* fade = std::get_if<Fade>(&node.op); fade && fade->kind == "drop")
        survival.push_back(fade->lambda);
    }
    ASSERT_GE(survival.size(), 4U) << arch;
    for (size_t l = 0; l < survival.size(); ++l) {
      EXPECT_DOUBLE_EQ(survival[l], 1 - 0.5 * static_cast<double>(l + 1) / static_cast<double>(survival.size()));
    }
    const Graph folded = certified(dropping, Target::module).graph;
    EXPECT_EQ(folded.nodes.size(), whole.nodes.size()) << arch << print(folded);
    EXPECT_EQ(count_macs(folded), count_macs(whole)) << arch;
  }
}

TEST(Places, ThatAnArchitectureLacksAreNamed) {
  EXPECT_THROW(build("vgg", {.fades = {"block"}}), Error);
  EXPECT_THROW(build("plain", {.fades = {"inner"}}), Error);
  EXPECT_THROW(build("resnet", {.fades = {"bottleneck"}}), Error);
  EXPECT_THROW(build("vgg", {.survival = 0.5}), Error);
}

TEST(Gen3, StudentIsTheTeacherWithoutItsBranch) {
  const ArchOptions options{
      .modules = 1, .widths = {4, 6}, .expansion = 2, .branches = {"1x1"}, .height = 8, .width = 8};
  ArchOptions without = options;
  without.bottleneck = false;
  const Graph teacher = build("gen3", options), student = build("gen3", without);
  for (const Value& value : student.values) {
    EXPECT_TRUE(teacher.find_value(value.name)) << value.name << " has no weights to start from";
  }
  const Graph deployed = certified(student, Target::module).graph;
  EXPECT_EQ(count<Conv2d>(deployed), 1 + 2 * 2 + 1) << print(deployed);  // stem, two a module, one projection
}

TEST(VanillaNet, HalvesWhereThePaperDoes) {
  // Strides of table 1's networks with 5 to 13 layers.
  const char* const published[] = {"222",      "2221",      "12221",      "122121",     "1221121",
                                   "12211121", "122111121", "1221111121", "12211111121"};
  for (int64_t depth = 5; depth <= 13; ++depth) {
    const Graph graph =
        build("vanillanet" + std::to_string(depth), {.widths = {1, 2, 3, 4}, .height = 64, .width = 64});
    std::string strides;
    for (int64_t i = 1; i <= depth - 2; ++i) {
      const std::string block = "block" + std::to_string(i);
      ASSERT_TRUE(graph.find_node(block + ".conv2"));
      strides += graph.find_node(block + ".pool") ? '2' : '1';
    }
    EXPECT_EQ(strides, published[depth - 5]);
    EXPECT_FALSE(graph.find_node("block" + std::to_string(depth - 1) + ".conv2"));
    EXPECT_EQ((*graph[graph.find_value("flatten")].shape)[1], 4);
    const auto pooled = *graph[graph[graph.find_node("pool")].inputs[0]].shape;
    EXPECT_EQ(pooled, (Shape{-1, 4, 2, 2})) << "64/4/8";
  }
}

TEST(VanillaNet, SeriesActivationIsTheSumOfShiftedOnes) {
  const Graph graph = build("vanillanet-cifar4", {.widths = {2, 2}, .series = 1, .height = 4, .width = 4});
  const std::vector<Tensor> image = testing::random_inputs(graph, 1);
  std::map<std::string, Tensor> seen;
  evaluate(graph, image, {}, [&](ValueId id, const Tensor& value) { seen[graph[id].name] = value; });
  const std::vector<double> x = seen.at("stem.conv2.bn").to_doubles(), y = seen.at("stem.series").to_doubles();
  const std::vector<double> a = graph.constant(graph.find_value("stem.series.weight"))->to_doubles();
  const auto at = [](int64_t c, int64_t h, int64_t w) { return static_cast<size_t>((c * 4 + h) * 4 + w); };
  for (int64_t c = 0; c < 2; ++c) {
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t w = 0; w < 4; ++w) {
        double sum = 0;
        for (int64_t i = -1; i <= 1; ++i) {
          for (int64_t j = -1; j <= 1; ++j) {
            if (h + i < 0 || h + i > 3 || w + j < 0 || w + j > 3) continue;
            sum += a[static_cast<size_t>(c * 9 + (i + 1) * 3 + j + 1)] * std::max(0.0, x[at(c, h + i, w + j)]);
          }
        }
        EXPECT_NEAR(y[at(c, h, w)], sum, 1e-6);
      }
    }
  }
}

struct BranchCase {
  const char* arch;
  int64_t kernel;
  const char* padding;
};

// Every kind of branch, beside every kind of convolution, is gone after the collapse, and was there before it.
TEST(Branches, EveryKindJoinsTheConvolution) {
  const BranchCase cases[] = {{"plain", 3, "each"},
                              {"plain", 3, "module"},
                              {"plain", 3, "input"},
                              {"resnet", 3, "each"},
                              {"resnet", 3, "module"},
                              {"resnet", 3, "input"},
                              {"gen3", 3, "each"},
                              {"reduce", 3, "each"},
                              {"resnet-bottleneck", 3, "each"},
                              {"vanillanet-cifar", 1, "each"},
                              {"mobilenetv2", 3, "each"},
                              {"convnext", 7, "each"},
                              {"convnext", 7, "module"},
                              {"densenet", 3, "each"},
                              {"vgg", 3, "module"},
                              {"resnet-article", 3, "each"}};
  for (const BranchCase& c : cases) {
    ArchOptions options{.modules = 1, .widths = {4, 6}, .expansion = 2, .bottleneck = false};
    options.padding = c.padding;
    options.height = options.width = 10;
    const Graph bare = build(c.arch, options);
    const Graph deployed = certified(bare, Target::module).graph;
    for (const ArchChoice& kind : branch_kinds()) {
      if (c.kernel == 1 && kind.name != "kxk" && kind.name != "1x1") continue;
      SCOPED_TRACE(std::string(kind.name) + " in " + c.arch + ", padding " + c.padding);
      options.branches = {std::string(kind.name) + "*2"};
      const Graph branched = build(c.arch, options);
      EXPECT_GT(branched.nodes.size(), bare.nodes.size() + 1);
      const Graph result = certified(branched, Target::module).graph;
      EXPECT_EQ(result.nodes.size(), deployed.nodes.size()) << print(result);
      EXPECT_EQ(count<Conv2d>(result), count<Conv2d>(deployed));
      EXPECT_EQ(count_macs(result), count_macs(deployed));
    }
  }
}

// Branches that are scaled and added before one BN, as outputs or as kernels, are the same network of the same weights.
TEST(Branches, SumsOfKernelsAreSumsOfOutputs) {
  for (const char* arch : {"plain", "resnet", "reduce", "vgg", "mobilenetv2", "convnext"}) {
    for (const ArchChoice& kind : branch_kinds()) {
      SCOPED_TRACE(std::string(kind.name) + " in " + arch);
      ArchOptions options{.modules = 1, .widths = {4, 6}, .expansion = 2, .branches = {std::string(kind.name), "1x1"}};
      options.height = options.width = 8;
      options.branch_sum = "scaled";
      Graph outputs, kernels;
      try {
        outputs = build(arch, options);
        options.branch_sum = "kernels";
        kernels = build(arch, options);
      } catch (const Error& error) {  // of several groups: two steps of one branch
        EXPECT_EQ(error.kind(), ErrorKind::usage);
        EXPECT_TRUE(kind.name == "1x1-kxk" || kind.name == "expand") << error.what();
        continue;
      }
      // Scales far from 1, the same in both.
      for (Graph* graph : {&outputs, &kernels}) {
        for (Value& value : graph->values) {
          if (!value.constant || !value.name.ends_with(".scale")) continue;
          std::vector<double> scale = value.constant->to_doubles();
          for (size_t i = 0; i < scale.size(); ++i) scale[i] = 0.3 + 0.2 * static_cast<double>(i);
          value.constant = Tensor::from_doubles(value.constant->shape(), scale, DType::f32);
        }
      }
      EXPECT_LT(testing::relative_error(outputs, kernels, 5), 1e-12);
      certified(outputs, Target::module);
      const Graph deployed = certified(kernels, Target::module).graph;
      options.branches = {};
      const Graph bare = certified(build(arch, options), Target::module).graph;
      EXPECT_EQ(deployed.nodes.size(), bare.nodes.size()) << print(deployed);
      EXPECT_EQ(count_macs(deployed), count_macs(bare));
    }
  }
}

TEST(Dynamic, SettledNetworksDeployAsPlain) {
  ArchOptions options{.modules = 2, .widths = {4, 6}, .height = 8, .width = 8};
  const Graph plain = certified(build("plain", options), Target::module).graph;
  for (const auto& [arch, place] : {std::pair{"condconv", "routing"}, std::pair{"detachnet", "side"}}) {
    for (const char* padding : {"each", "module"}) {
      options.padding = padding;
      options.fades = {};
      const Graph dynamic = certified(build(arch, options), Target::module).graph;
      EXPECT_GT(count_macs(dynamic), count_macs(plain)) << arch;
      options.fades = {place};
      const Graph fading = build(arch, options);
      const Graph settled = certified(fading, Target::module).graph;
      EXPECT_EQ(count<Conv2d>(settled), count<Conv2d>(plain)) << arch << print(settled);
      EXPECT_EQ(count_nonlinear(settled), count_nonlinear(plain)) << arch;
      if (options.padding == "each") {
        EXPECT_EQ(settled.nodes.size(), plain.nodes.size()) << arch << print(settled);
        EXPECT_EQ(count_macs(settled), count_macs(plain)) << arch;
      }
      EXPECT_GT(count<Conv2d>(fading), count<Conv2d>(plain)) << arch;
    }
  }
}

TEST(Dynamic, ASideNetworkMultipliesAddsOrConvolves) {
  ArchOptions options{.modules = 2, .widths = {4, 6}, .fades = {"side"}, .experts = 3, .height = 8, .width = 8};
  const Graph plain =
      certified(build("plain", {.modules = 2, .widths = {4, 6}, .height = 8, .width = 8}), Target::module).graph;
  const auto small = [](const Graph& graph) {
    return std::ranges::count_if(graph.nodes, [](const Node& node) {
      const auto* conv = std::get_if<Conv2d>(&node.op);
      return conv && conv->groups > 1;
    });
  };
  for (const std::vector<std::string>& supplies :
       {std::vector<std::string>{"multiply"}, {"add"}, {"convolve"}, {"multiply", "add", "convolve"}}) {
    options.supplies = supplies;
    for (const char* padding : {"each", "module"}) {
      options.padding = padding;
      Graph fading = build("detachnet", options);
      for (Value& value : fading.values) {
        if (value.name.ends_with(".constant")) value.constant = Tensor::filled(value.constant->shape(), 0.7);
      }
      // Three of four modules keep the shape of what they read.
      EXPECT_EQ(small(fading), supplies.back() == "convolve" ? 3 * 3 : 0);
      const Graph settled = certified(testing::as_trained(fading), Target::module).graph;
      EXPECT_EQ(small(settled), 0) << print(settled);
      EXPECT_EQ(count<Conv2d>(settled), count<Conv2d>(plain)) << print(settled);
      EXPECT_EQ(count_macs(settled), count_macs(plain));
    }
  }
  options.supplies = {"divide"};
  EXPECT_THROW(build("detachnet", options), Error);
}

TEST(Branches, CopiesAreCounted) {
  const auto convs = [](const std::string& branch) {
    return count<Conv2d>(build("plain", {.modules = 1, .widths = {4}, .branches = {branch}}));
  };
  EXPECT_EQ(convs("kxk*4"), convs("kxk") + 3);
  EXPECT_THROW(convs("kxk*0"), Error);
  EXPECT_THROW(convs("kxk*many"), Error);
}

}  // namespace
}  // namespace reducenet
