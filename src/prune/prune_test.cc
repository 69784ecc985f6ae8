#include "reducenet/prune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "collapse/random_graph.h"
#include "collapse/testing.h"
#include "reducenet/arch.h"
#include "reducenet/builder.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

using testing::as_trained;
using testing::in_double;
using testing::relative_error;

/// Every unit with that chance, one of each family left.
Cut random_cut(const Channels& channels, uint64_t seed, double chance = 0.5) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform;
  std::vector<int64_t> left(static_cast<size_t>(channels.family_count()));
  for (const int32_t family : channels.family) {
    if (family >= 0) ++left[static_cast<size_t>(family)];
  }
  Cut cut(channels.family.size(), false);
  for (size_t unit = 1; unit < cut.size(); ++unit) {
    const int32_t family = channels.family[unit];
    if (family < 0 || left[static_cast<size_t>(family)] == 1 || uniform(random) >= chance) continue;
    cut[unit] = true;
    --left[static_cast<size_t>(family)];
  }
  return cut;
}

int64_t size_of_cut(const Cut& cut) {
  return std::ranges::count(cut, true);
}

/// The cut network is the masked one, which is another than the original.
void expect_exact(const Graph& graph, const Channels& channels, const Cut& cut, uint64_t seed) {
  const Graph masked = mask(graph, channels, cut), small = cut_channels(graph, channels, cut);
  EXPECT_LT(relative_error(masked, small, seed), 1e-12) << print(graph) << print(small);
}

TEST(Prune, CutIsTheMaskedNetworkOnRandomGraphs) {
  int64_t graphs = 0, units = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Graph graph = in_double(testing::RandomGraph(seed, false).build());
    const Channels channels = find_channels(graph);
    const Cut cut = random_cut(channels, seed);
    if (size_of_cut(cut) == 0) continue;
    SCOPED_TRACE(seed);
    expect_exact(graph, channels, cut, seed);
    ++graphs;
    units += size_of_cut(cut);
    if (HasFailure()) return;
  }
  EXPECT_GT(graphs, 150);
  EXPECT_GT(units, 600);
}

Graph small(const std::string& arch, ArchOptions options = {}) {
  options.modules = 2;
  options.widths = {4, 8};
  options.height = options.width = arch == "vanillanet" ? 32 : 8;
  return in_double(settle(as_trained(build(arch, options))));
}

TEST(Prune, EveryArchitecture) {
  for (const Architecture& architecture : architectures()) {
    const std::string name(architecture.name);
    const Graph graph = small(name);
    const Channels channels = find_channels(graph);
    const Cut cut = random_cut(channels, 7);
    if (name.ends_with("softmax")) {
      EXPECT_EQ(channels.unit_count(), 0) << name;
      continue;
    }
    EXPECT_GE(size_of_cut(cut), channels.unit_count() < 8 ? 1 : 4) << name;
    SCOPED_TRACE(name);
    expect_exact(graph, channels, cut, 3);
    EXPECT_LT(count_macs(cut_channels(graph, channels, cut)), count_macs(graph));
    EXPECT_GT(relative_error(graph, mask(graph, channels, cut), 3), 1e-3);
  }
}

// With ops that keep 0, zero rows, factors and shifts of what makes the channels do the same as zero columns.
TEST(Prune, ZerosThatMakeTheChannelsAreTheSame) {
  const Graph graph = small("resnet");
  const Channels channels = find_channels(graph);
  const Cut cut = random_cut(channels, 11);
  Graph zeroed = graph;
  for (const ChannelUse& use : channels.uses) {
    const Node& node = graph[use.node];
    const bool norm = std::holds_alternative<BatchNorm>(node.op);
    if (use.role == ChannelUse::Role::reads) continue;
    if (norm && use.constant != node.inputs[1] && use.constant != node.inputs[2]) continue;
    const Tensor& before = *zeroed[use.constant].constant;
    std::vector<double> values = before.to_doubles();
    ASSERT_EQ(use.axis, 0);
    const size_t row = values.size() / use.units.size();
    for (size_t i = 0; i < use.units.size(); ++i) {
      if (cut[static_cast<size_t>(use.units[i])]) std::fill_n(values.begin() + static_cast<int64_t>(i * row), row, 0.0);
    }
    zeroed[use.constant].constant = Tensor::from_doubles(before.shape(), values);
  }
  EXPECT_GT(size_of_cut(cut), 5);
  EXPECT_LT(relative_error(zeroed, cut_channels(graph, channels, cut), 1), 1e-12);
}

struct Built {
  Graph graph;
  Channels channels;
};
Built followed(Example&& e) {
  Graph graph = in_double(std::move(e).finish());
  Channels channels = find_channels(graph);
  return {std::move(graph), std::move(channels)};
}

TEST(Prune, GroupsGoAsAWhole) {
  Example e(1);
  const ValueId x = e.conv(e.image(), {.out = 6, .groups = 1});
  const ValueId y = e.conv(x, {.out = 12, .stride = 1, .groups = 3});
  e.output(e.conv(y, {.out = 2, .groups = 1}));
  const auto [graph, channels] = followed(std::move(e));
  EXPECT_EQ(channels.unit_count(), 3);
  Cut cut(4, false);
  cut[2] = true;
  expect_exact(graph, channels, cut, 5);
  const Graph small = cut_channels(graph, channels, cut);
  EXPECT_EQ(std::get<Conv2d>(small.nodes[1].op).groups, 2);
  EXPECT_EQ((*small[small.nodes[1].outputs[0]].shape)[1], 8);
}

// A shortcut that pads channels (ResNet, option A): what is padded is tied to what it meets.
TEST(Prune, PaddedChannels) {
  Example e(2);
  const ValueId x = e.node(Activation{}, {e.conv(e.image(), {.out = 3, .groups = 1})});
  const ValueId wide = e.conv(x, {.out = 7, .kernel = 1, .stride = 1, .groups = 1, .padding = Padding{}});
  const ValueId padded = e.node(Pad{.begin = {0, 2, 0, 0}, .end = {0, 2, 0, 0}}, {x});
  e.output(e.conv(e.add(wide, padded), {.out = 2, .groups = 1}));
  const auto [graph, channels] = followed(std::move(e));
  EXPECT_EQ(channels.unit_count(), 7);
  for (uint64_t seed = 0; seed < 8; ++seed) expect_exact(graph, channels, random_cut(channels, seed), seed);
}

TEST(Prune, FlattenMeetsTheMatrix) {
  Example e(3);
  const ValueId x = e.conv(e.image(), {.out = 5, .kernel = 3, .stride = 2, .groups = 1});
  e.output(e.gemm(e.node(Flatten{}, {x}), 4));
  const auto [graph, channels] = followed(std::move(e));
  EXPECT_EQ(channels.unit_count(), 5);
  for (uint64_t seed = 0; seed < 4; ++seed) expect_exact(graph, channels, random_cut(channels, seed), seed);
}

TEST(Prune, ReshapeToAFixedSize) {
  GraphBuilder b("reshape", 4);
  const ValueId image = b.input("image", {2, 3, 4, 4});
  const ValueId x = b.conv("conv", image, 6, {3, 3}, {.padding = {1, 1, 1, 1}});
  const int64_t to[] = {2, 96};
  const ValueId flat = b.node("flat", Reshape{}, {x, b.constant("to", Tensor::of({2}, std::span<const int64_t>(to)))});
  b.output(b.gemm("fc", flat, 3));
  const Graph graph = in_double(std::move(b).finish());
  const Channels channels = find_channels(graph);
  EXPECT_EQ(channels.unit_count(), 6);
  const Cut cut = random_cut(channels, 3);
  ASSERT_GT(size_of_cut(cut), 0);
  expect_exact(graph, channels, cut, 1);
}

TEST(Prune, WhatIsNotFollowedStaysAndSaysWhy) {
  Example e(5);
  const ValueId x = e.conv(e.image(), {.out = 4, .groups = 1});
  const ValueId y = e.node(Softmax{.axis = 1}, {x});
  e.output(e.conv(y, {.out = 3}));
  const auto [graph, channels] = followed(std::move(e));
  EXPECT_EQ(channels.unit_count(), 0);
  ASSERT_EQ(channels.kept.size(), 1U);
  EXPECT_EQ(channels.kept[0].op, "Softmax");
  EXPECT_NE(channels.kept[0].why.find("over all channels"), std::string::npos);
}

TEST(Prune, RefusesToEmptyAValueOrToCutWhatIsKept) {
  const Graph graph = small("plain");
  const Channels channels = find_channels(graph);
  Cut all(channels.family.size(), true);
  EXPECT_THROW(cut_channels(graph, channels, all), Error);
  all[0] = false;
  EXPECT_THROW(cut_channels(graph, channels, all), Error);
}

/// x → conv₂(relu(conv₁(x))) + x behind a ReLU, with its residual in reserved channels.
Graph reserved() {
  const Graph graph = small("resnet");
  return collapse(graph, {.reserve = true}).graph;
}

TEST(Prune, ReservedChannelsFollowWhatTheyCarry) {
  const Graph graph = reserved();
  EXPECT_EQ(std::ranges::count_if(graph.nodes, [](const Node& n) { return std::holds_alternative<Binary>(n.op); }), 0);
  const Channels channels = find_channels(graph);
  int64_t carriers = 0;
  for (size_t unit = 1; unit < channels.carries.size(); ++unit) {
    const Unit source = channels.carries[unit];
    if (source == 0) continue;
    ++carriers;
    Cut cut(channels.family.size(), false);
    cut[static_cast<size_t>(source)] = true;
    EXPECT_TRUE(with_dead(graph, channels, cut)[unit]) << unit;
    expect_exact(graph, channels, cut, unit);
  }
  EXPECT_EQ(carriers, 4 + 4 + 4 + 8);  // two modules of 4 channels, then 4 projected to 8, then 8
  for (uint64_t seed = 0; seed < 5; ++seed) {
    Cut cut = random_cut(channels, seed);
    for (size_t unit = 1; unit < cut.size(); ++unit) cut[unit] = cut[unit] && channels.carries[unit] == 0;
    expect_exact(graph, channels, cut, seed);
    EXPECT_GT(size_of_cut(with_dead(graph, channels, cut)), size_of_cut(cut));
  }
}

// Beyond what the residual network allows: without its sums, each block's channels go by themselves.
TEST(Prune, ReservingUntiesTheBlocks) {
  EXPECT_GT(find_channels(reserved()).unit_count(), find_channels(small("resnet")).unit_count());
}

TEST(Prune, BlocksGiveWayToTheIdentity) {
  const Graph graph = small("resnet");
  const std::vector<Block> blocks = find_blocks(graph);
  ASSERT_EQ(blocks.size(), 3U);  // of four; the third changes its shape
  EXPECT_EQ(blocks[0].name, "stage1.module1.add");
  const Graph none = drop_blocks(graph, blocks, {true, true, true});
  EXPECT_FALSE(none.find_node("stage1.module2.conv1"));
  EXPECT_TRUE(none.find_node("stage2.module1.conv1"));
  // The same function as with the blocks' last batch norms at zero.
  Graph zeroed = graph;
  for (const char* name : {"stage1.module1.conv2.bn", "stage1.module2.conv2.bn", "stage2.module2.conv2.bn"}) {
    const Node& norm = graph[graph.find_node(name)];
    for (const size_t i : {size_t{1}, size_t{2}}) {
      zeroed[norm.inputs[i]].constant = Tensor::filled(graph.constant(norm.inputs[i])->shape(), 0, DType::f64);
    }
  }
  EXPECT_LT(relative_error(zeroed, none, 2), 1e-12);
}

TEST(Prune, ChoosesByScoreWithinTheBudget) {
  const Graph graph = small("resnet");
  const Channels channels = find_channels(graph);
  for (const Criterion& criterion : criteria()) {
    if (criterion.needs_gradients) continue;
    const std::vector<double> scores = criterion.score({graph, channels, {}});
    for (const bool per_layer : {false, true}) {
      for (const double ratio : {0.2, 0.6}) {
        const Cut cut = choose_cut(graph, channels, criterion, scores, {.ratio = ratio, .per_layer = per_layer});
        const auto left = static_cast<double>(count_macs(cut_channels(graph, channels, cut)));
        EXPECT_LE(left, (1 - ratio) * static_cast<double>(count_macs(graph))) << criterion.name;
        EXPECT_GT(left, 0.6 * (1 - ratio) * static_cast<double>(count_macs(graph))) << criterion.name;
        EXPECT_EQ(cut, choose_cut(graph, channels, criterion, scores, {.ratio = ratio, .per_layer = per_layer}));
      }
    }
  }
  EXPECT_THROW(
      choose_cut(graph, channels, criteria()[0], std::vector<double>(channels.family.size(), 1.0), {.ratio = 0.999}),
      Error);
}

TEST(Prune, TheSmallestNormGoesFirst) {
  Example e(6);
  const ValueId x = e.conv(e.image(), {.out = 5, .groups = 1, .bias = false});
  e.output(e.conv(e.node(Activation{}, {x}), {.out = 3, .groups = 1}));
  auto [graph, channels] = followed(std::move(e));
  Value& weight = graph[graph.nodes[0].inputs[1]];
  std::vector<double> w = weight.constant->to_doubles();
  const size_t row = w.size() / 5;
  for (size_t i = 0; i < row; ++i) w[3 * row + i] *= 1e-3;
  weight.constant = Tensor::from_doubles(weight.constant->shape(), w);
  for (const char* name : {"l1", "l2"}) {
    const Criterion& criterion = find_criterion(name);
    const Cut cut = choose_cut(graph, channels, criterion, criterion.score({graph, channels, {}}), {.ratio = 0.1});
    EXPECT_EQ(size_of_cut(cut), 1) << name;
    EXPECT_TRUE(cut[4]) << name;
  }
  EXPECT_THROW(find_criterion("l3"), Error);
  const Criterion& gamma = find_criterion("bn-gamma");
  EXPECT_THROW(choose_cut(graph, channels, gamma, gamma.score({graph, channels, {}}), {.ratio = 0.1}), Error);
  EXPECT_THROW(find_criterion("taylor").score({graph, channels, {}}), Error);
}

// A unit with twice the score stays twice as often, where one of two stays.
TEST(Prune, DrawsInProportionToTheScore) {
  Example e(7);
  e.output(e.conv(e.conv(e.image(), {.out = 2, .groups = 1}), {.out = 3, .groups = 1}));
  const auto [graph, channels] = followed(std::move(e));
  const Criterion& criterion = find_criterion("random");
  int64_t first_stays = 0;
  constexpr int64_t draws = 3000;
  for (uint64_t seed = 0; seed < draws; ++seed) {
    first_stays += !choose_cut(graph, channels, criterion, {0, 2, 1}, {.ratio = 0.4, .draw = seed})[1];
  }
  EXPECT_NEAR(static_cast<double>(first_stays) / draws, 2.0 / 3, 0.03);  // 3.5 standard deviations
}

// Σ w·∂L/∂w over the columns of a unit, L = ½Σy²: the gradients are made here, the score is checked by hand.
TEST(Prune, TaylorIsTheFirstOrderChange) {
  Example e(8);
  const ValueId x = e.conv(e.image(), {.out = 3, .groups = 1});
  e.output(e.conv(x, {.out = 2, .kernel = 1, .groups = 1}));
  const auto [graph, channels] = followed(std::move(e));
  const ValueId weight = graph.nodes[1].inputs[1];
  const std::vector<double> w = graph.constant(weight)->to_doubles();  // [2][3]
  const std::vector<double> g{1, 2, 3, -4, 5, 0.5};
  const auto gradients = [&](const auto& each) {
    each({{weight.index, Tensor::from_doubles({2, 3, 1, 1}, g)}});
    each({{weight.index, Tensor::filled({2, 3, 1, 1}, 0)}});
  };
  const std::vector<double> scores = find_criterion("taylor").score({graph, channels, gradients});
  for (size_t unit = 0; unit < 3; ++unit) {
    const double change = w[unit] * g[unit] + w[3 + unit] * g[3 + unit];
    EXPECT_NEAR(scores[unit + 1], change * change / 2, 1e-12);
  }
}

TEST(Prune, BlocksAreDrawnToABudget) {
  const Graph graph = small("resnet");
  const std::vector<Block> blocks = find_blocks(graph);
  const auto macs = static_cast<double>(count_macs(graph));
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const std::vector<bool> dropped = draw_blocks(graph, blocks, 0.3, seed);
    EXPECT_LE(static_cast<double>(count_macs(drop_blocks(graph, blocks, dropped))), 0.7 * macs);
    EXPECT_LT(std::ranges::count(dropped, true), 3);
  }
  EXPECT_THROW(draw_blocks(graph, blocks, 0.9, 0), Error);
}

}  // namespace
}  // namespace reducenet
