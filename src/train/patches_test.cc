#include "train/patches.h"

#include <ATen/ATen.h>

#include "reducenet/collapse.h"
#include "reducenet/formats.h"
#include "reducenet/verify.h"
#include "train/network.h"
#include "train/testing.h"
#include "train/weights.h"

namespace reducenet::train {
namespace {

const Tensor& constant(const Graph& graph, const char* name) {
  return *graph.constant(graph.find_value(name));
}

TEST(Whiten, ChannelsAreUncorrelatedAndOfOneSpread) {
  const ImageSet images = generate_images(2000, 1);
  Graph graph = build("single-layer", {.widths = {8}});
  whiten(graph, images, 3);
  const Preprocessing preprocessing = Preprocessing::of(images);
  const int64_t count = 400;
  at::Tensor x = at::empty({count, images.channels, images.height, images.width});
  for (int64_t i = 0; i < count; ++i) preprocessing.apply(images.image(i), x[i].data_ptr<float>());
  Network network(graph);
  network.watch({graph.find_value("features.whiten")});
  network.forward(x, false);
  const at::Tensor y = network.watched().at(0);
  ASSERT_EQ(y.size(1), 3 * 6 * 6);
  const at::Tensor rows = y.permute({0, 2, 3, 1}).reshape({-1, y.size(1)});
  const at::Tensor centred = rows - rows.mean(0);
  const at::Tensor covariance = centred.t().mm(centred) / rows.size(0), variance = covariance.diagonal();
  const at::Tensor correlation = covariance / (variance.unsqueeze(0) * variance.unsqueeze(1)).sqrt();
  // The filters come from patches of all 2,000 images; these are every patch of the first 400.
  EXPECT_LT((correlation - at::eye(y.size(1))).abs().slice(0, 0, 8).slice(1, 0, 8).max().item<double>(), 0.2);
  EXPECT_NEAR(variance[0].item<double>(), 1, 0.2);                     // far above the ridge
  EXPECT_LT(variance.max().item<double>(), 1.3);                       // which nothing exceeds
  EXPECT_GT(variance[0].item<double>(), variance[-1].item<double>());  // the rest is damped
}

TEST(Whiten, TheSameImagesMakeTheSameLayerAndTheSeedTheNext) {
  const ImageSet images = generate_images(200, 1);
  const auto made = [&](uint64_t seed) {
    Graph graph = build("plain", {.modules = 1, .widths = {4, 8}});
    whiten(graph, images, seed);
    return graph;
  };
  const Graph a = made(1), b = made(1), c = made(2);
  EXPECT_EQ(constant(a, "stem.weight").shape(), (Shape{4, 27, 1, 1}));
  EXPECT_EQ(constant(a, "stem.whiten.weight").to_doubles(), constant(c, "stem.whiten.weight").to_doubles());
  EXPECT_EQ(constant(a, "stem.weight").to_doubles(), constant(b, "stem.weight").to_doubles());
  EXPECT_NE(constant(a, "stem.weight").to_doubles(), constant(c, "stem.weight").to_doubles());
}

TEST(Whiten, NewWeightsLeaveItAsItIs) {
  Graph graph = build("plain", {.modules = 1, .widths = {4, 8}});
  whiten(graph, generate_images(200, 1), 0);
  const Graph renewed = with_new_weights(graph, 5);
  EXPECT_EQ(constant(graph, "stem.whiten.weight").to_doubles(), constant(renewed, "stem.whiten.weight").to_doubles());
  EXPECT_NE(constant(graph, "stem.weight").to_doubles(), constant(renewed, "stem.weight").to_doubles());
}

TEST(Whiten, WhatHasNoFirstConvolutionIsRefused) {
  const ImageSet images = generate_images(20, 1);
  const auto refused = [&](Graph graph, const ImageSet& set, const char* why) {
    try {
      whiten(graph, set, 0);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  };
  refused(build("softmax", {}), images, "no single convolution of 'softmax' reads the image");
  const ImageSet tiny{.height = 5, .width = 5, .channels = 3, .pixels = std::vector<uint8_t>(75), .labels = {0}};
  refused(build("single-layer", {}), tiny, "images of 5x5 have no patches of 6x6");
}

TEST(PatchFilters, AreQuartersOfOppositesAndMirrorImages) {
  const ImageSet images = generate_images(500, 1, 16);
  const auto made = [&](uint64_t seed) {
    Graph graph = build("patch-grid", {.widths = {16}, .height = 16, .width = 16});
    draw_filters(graph, images, 0.8, seed);
    return graph;
  };
  const Graph graph = made(1);
  const at::Tensor weight = to_torch(constant(graph, "features.weight"));
  const at::Tensor drawn = weight.slice(0, 0, 4), bias = to_torch(constant(graph, "features.bias"));
  EXPECT_TRUE(weight.slice(0, 4, 8).equal(-drawn));
  EXPECT_TRUE(weight.slice(0, 8, 16).equal(weight.slice(0, 0, 8).flip(3)));
  EXPECT_TRUE(bias.slice(0, 8, 16).equal(bias.slice(0, 0, 8)));
  EXPECT_EQ(constant(graph, "features.weight").to_doubles(), constant(made(1), "features.weight").to_doubles());
  EXPECT_NE(constant(graph, "features.weight").to_doubles(), constant(made(2), "features.weight").to_doubles());
  // A fifth of the answers passes, whichever filter it is.
  const Preprocessing preprocessing = Preprocessing::of(images);
  at::Tensor x = at::empty({500, 3, 16, 16});
  for (int64_t i = 0; i < 500; ++i) preprocessing.apply(images.image(i), x[i].data_ptr<float>());
  Network network(graph);
  network.watch({graph.find_value("features")});
  network.forward(x, false);
  const at::Tensor passes = network.watched().at(0).gt(0).to(at::kDouble).mean({0, 2, 3});
  EXPECT_NEAR(passes.min().item<double>(), 0.2, 0.03);
  EXPECT_NEAR(passes.max().item<double>(), 0.2, 0.03);
}

TEST(PatchFilters, OfImagesOfOneColourSayNothing) {
  const ImageSet grey{
      .height = 9, .width = 9, .channels = 1, .pixels = std::vector<uint8_t>(3 * 81, 90), .labels = {0, 1, 0}};
  Graph graph = build("patch-grid", {.widths = {8}, .channels = 1, .height = 9, .width = 9});
  Preprocessing{.height = 9, .width = 9, .channels = 1, .mean = {0.5}, .std = {0.2}}.to_metadata(graph.metadata);
  draw_filters(graph, grey, 0.7, 0);
  for (const double value : constant(graph, "features.weight").to_doubles()) EXPECT_NEAR(value, 0, 1e-3);
}

TEST(PatchFilters, NeedABiasAndQuarters) {
  const ImageSet images = generate_images(20, 1);
  const auto refused = [&](Graph graph, const char* why) {
    try {
      draw_filters(graph, images, 0.7, 0);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      expect_contains(error.what(), why);
    }
  };
  refused(build("single-layer", {.widths = {8}}), "model.filters: convolution 'features' has no bias");
  refused(build("patch-grid", {.widths = {6}}), "6 channels cannot be quarters");
  refused(build("softmax", {}), "model.filters: no single convolution");
}

class Whitened : public Run {};

TEST_F(Whitened, TheLayerStaysAndCollapsesAway) {
  const auto settings = {"model.arch=single-layer", "model.branches=[]", "model.whiten=true", "train.epochs=2"};
  run(small(settings), {.out = out("run")});
  const Graph graph = load(out("run") / "model.safetensors");
  const ImageSet images = load_images("generated:512", Split::train, {.height = 16, .width = 16});
  Graph before = build("single-layer", {.widths = {4}, .height = 16, .width = 16});
  whiten(before, images, 0);
  EXPECT_EQ(constant(graph, "features.whiten.weight").to_doubles(),
            constant(before, "features.whiten.weight").to_doubles());
  EXPECT_NE(constant(graph, "features.weight").to_doubles(), constant(before, "features.weight").to_doubles());
  const Collapsed collapsed = collapse(graph);
  EXPECT_TRUE(verify(graph, collapsed, {.samples = 1}).verified);
  EXPECT_EQ(
      std::ranges::count_if(collapsed.graph.nodes, [](const Node& n) { return std::holds_alternative<Conv2d>(n.op); }),
      1);
  EXPECT_TRUE(run_steps(small(settings), {.out = out("parts")}, 7).interrupted);
  run(small(settings), {.out = out("parts"), .resume = true});
  EXPECT_EQ(bytes_of(out("run") / "model.safetensors"), bytes_of(out("parts") / "model.safetensors"));
}

TEST_F(Whitened, ImportedNetworksKeepTheirFirstLayer) {
  const auto [kind, why] = failure(small({"model.arch=import", "model.whiten=true"}), {.out = out("run")});
  EXPECT_EQ(kind, ErrorKind::usage);
  EXPECT_NE(why.find("model.whiten"), std::string::npos) << why;
}

}  // namespace
}  // namespace reducenet::train
