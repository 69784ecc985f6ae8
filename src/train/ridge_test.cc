#include "train/ridge.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <numeric>

#include "reducenet/formats.h"
#include "train/patches.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

std::vector<int32_t> all_of(const ImageSet& images) {
  std::vector<int32_t> order(images.labels.size());
  std::iota(order.begin(), order.end(), 0);
  return order;
}

/// Pixels [N,C,H,W] and labels of all images.
Labelled tensors_of(const ImageSet& images) {
  Feed feed(images, Preprocessing::of(images), images.count(), at::kCPU);
  const std::vector<int32_t> order = all_of(images);
  Loader loader = feed.loader(order);
  const Labelled in = feed.tensors(loader.next());
  return {in.pixels.clone(), in.labels.clone()};
}

Network solved(const Graph& graph, const ImageSet& images, double penalty, bool mirror) {
  Network network(graph);
  RidgeRegression regression(network);
  Feed feed(images, Preprocessing::of(images), 32, at::kCPU);
  const std::vector<int32_t> order = all_of(images);
  EXPECT_TRUE(regression.learn(feed, {order}, mirror));
  regression.apply(regression.solve(penalty));
  return network;
}

at::Tensor weight_of(const Network& network, const std::string& name) {
  for (const auto& [value, tensor] : network.state()) {
    if (value == name) return tensor.detach();
  }
  return {};
}

/// Mean squared distance of the scores from one for the label and zero for the others.
double distance(Network& network, const Labelled& in) {
  const c10::AutoGradMode no_grad(false);
  const at::Tensor scores = network.forward(in.pixels, false);
  return (scores - at::one_hot(in.labels, scores.size(1))).square().sum(1).mean().item<double>();
}

// The same problem by QR in float64: rows √(λn)·spread below the images.
TEST(Ridge, IsTheLeastSquaresSolution) {
  const ImageSet images = generate_images(300, 2, 8);
  constexpr double penalty = 0.02;
  const Network network = solved(build("softmax", {.height = 8, .width = 8}), images, penalty, false);
  const Labelled in = tensors_of(images);
  const at::Tensor x = in.pixels.flatten(1).to(at::kDouble), y = at::one_hot(in.labels, 10).to(at::kDouble);
  const at::Tensor spread = x.std(0, /*unbiased=*/false);
  const at::Tensor a = at::cat({x - x.mean(0), at::diag(spread) * std::sqrt(penalty * 300)});
  const at::Tensor b = at::cat({y - y.mean(0), at::zeros({x.size(1), 10}, y.options())});
  const at::Tensor expected = std::get<0>(at::linalg_lstsq(a, b)).t();
  const at::Tensor weight = weight_of(network, "fc.weight").to(at::kDouble);
  EXPECT_LT(((weight - expected).norm() / expected.norm()).item<double>(), 1e-4);
  const at::Tensor bias = y.mean(0) - expected.mv(x.mean(0));
  EXPECT_LT((weight_of(network, "fc.bias") - bias).abs().max().item<double>(), 1e-4);
}

TEST(Ridge, HalvesThatMirrorNeedHalfTheProblem) {
  const ImageSet images = generate_images(400, 2, 10);
  Graph graph = build("patch-grid", {.widths = {16}, .height = 10, .width = 10});
  draw_filters(graph, images, 0.6, 1);
  // The same channels in another order, so that halves do not mirror each other: images and mirror images, one by one.
  Graph shuffled = graph;
  for (const char* name : {"features.weight", "features.bias"}) {
    Value& value = shuffled[shuffled.find_value(name)];
    value.constant = from_torch(to_torch(*value.constant).roll(3, 0));
  }
  constexpr double penalty = 1e-5;
  Network half = solved(graph, images, penalty, true), whole = solved(shuffled, images, penalty, true);
  Network unmirrored = solved(graph, images, penalty, false);
  const Labelled in = tensors_of(images), mirrored{in.pixels.flip(3), in.labels};
  const double expected = (distance(whole, in) + distance(whole, mirrored)) / 2;
  EXPECT_NEAR(distance(half, in), expected, 1e-3);
  EXPECT_NEAR(distance(half, mirrored), expected, 1e-3);
  EXPECT_LT(distance(unmirrored, in), expected - 0.02);
  EXPECT_GT(distance(unmirrored, mirrored), expected + 0.02);
}

TEST(Ridge, WhatCannotBeSolvedIsRefused) {
  const auto refused = [](const Graph& graph, const ImageSet& images, const char* why) {
    try {
      solved(graph, images, 1, false);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      expect_contains(error.what(), why);
    }
  };
  refused(build("phase-softmax", {.height = 8, .width = 8}), generate_images(4, 1, 8),
          "'phase-softmax' does not end in a matrix and a bias of its own");
  refused(build("softmax", {.height = 512, .width = 512}), generate_images(2, 1, 512),
          "786432 inputs of the last matrix need 9216.0 GiB of memory");
}

class RidgeRun : public Run {
 protected:
  static Recipe closed_form(std::initializer_list<const char*> settings = {}) {
    Recipe recipe = small({"model.arch=patch-grid", "model.branches=[]", "model.widths=64", "model.filters=patches",
                           "optimizer.ema=0", "fade.end=0", "train.epochs=0", "ridge.penalties=[100, 0.01, 1]"});
    for (const char* setting : settings) set(recipe, setting);
    return recipe;
  }
};

TEST_F(RidgeRun, TrainsNothingAndTakesTheBestPenalty) {
  std::vector<std::string> messages;
  const Result result =
      run(closed_form(), {.out = out("run"), .on_message = [&](const std::string& m) { messages.push_back(m); }});
  EXPECT_EQ(result.epochs, 0);
  EXPECT_GT(result.top1, 0.3);
  ASSERT_EQ(messages.size(), 3);
  double best = 0;
  for (const std::string& m : messages) best = std::max(best, std::stod(m.substr(m.find("validation") + 10)));
  EXPECT_NEAR(100 * result.val_top1, best, 0.01);  // of the saved network, the best and not the last
  const Graph graph = load(out("run") / "model.safetensors");
  const ImageSet images = load_images("generated:512", Split::train, {.height = 16, .width = 16});
  Graph before = build("patch-grid", {.widths = {64}, .height = 16, .width = 16});
  draw_filters(before, images, 0.7, 0);
  EXPECT_TRUE(*graph.constant(graph.find_value("features.weight")) ==
              *before.constant(before.find_value("features.weight")));
}

TEST_F(RidgeRun, WithoutStepsEveryFadeIsOver) {
  for (const char* control : {"fade.control=schedule", "fade.control=loss", "fade.control=slope"}) {
    for (const char* per : {"fade.per=iteration", "fade.per=epoch"}) {
      const Recipe recipe = small({"train.epochs=0", "ridge.penalties=[1]", "select.by=sensitivity", "select.count=1",
                                   "select.images=32", "fade.start=0.3", control, per});
      run(recipe, {.out = out("run")});
      EXPECT_EQ(count_nonlinear(load(out("run") / "model.safetensors")), 1) << control << ", " << per;
      fs::remove_all(out("run"));
    }
  }
}

TEST_F(RidgeRun, SolvesAfterTraining) {
  const Recipe trained = small({"ridge.penalties=[0.01]"});
  run(trained, {.out = out("solved")});
  run(small(), {.out = out("trained")});
  const NamedTensors a = read_safetensors(out("trained") / "model.safetensors"),
                     b = read_safetensors(out("solved") / "model.safetensors");
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    const bool last = a.tensors[i].first.starts_with("fc.");
    EXPECT_NE(a.tensors[i].second == b.tensors[i].second, last) << a.tensors[i].first;
  }
}

TEST_F(RidgeRun, GoesOnAfterAStop) {
  run(closed_form(), {.out = out("run")});
  EXPECT_TRUE(run_steps(closed_form(), {.out = out("parts")}, 3).interrupted);
  EXPECT_FALSE(fs::exists(out("parts") / "model.safetensors"));
  EXPECT_FALSE(run(closed_form(), {.out = out("parts"), .resume = true}).interrupted);
  EXPECT_EQ(bytes_of(out("run") / "model.safetensors"), bytes_of(out("parts") / "model.safetensors"));
}

TEST_F(RidgeRun, RecipesThatMakeNoSense) {
  const auto refused = [&](std::initializer_list<const char*> settings, const char* why) {
    const auto [kind, message] = failure(closed_form(settings), {.out = out("run")});
    EXPECT_EQ(kind, ErrorKind::usage);
    expect_contains(message, why);
    EXPECT_FALSE(fs::exists(out("run")));
  };
  refused({"ridge.penalties=[]"}, "train.epochs = 0 trains nothing");
  refused({"data.validation=0"}, "needs held-out images");
  refused({"model.whiten=true"}, "not both");
  refused({"model.arch=import"}, "cannot be set for an imported model");
}

}  // namespace
}  // namespace reducenet::train
