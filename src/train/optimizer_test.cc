#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "reducenet/builder.h"

namespace reducenet::train {
namespace {

/// y = W·x + b with one weight and one bias.
Graph line() {
  GraphBuilder b("line");
  b.output(b.gemm("fc", b.input("x", {-1, 1}), 1));
  return std::move(b).finish();
}

/// A weight (decayed) and a bias (not), in double, fed with chosen gradients.
struct Rig {
  explicit Rig(const Recipe::Optimizer& recipe) : network(line()), optimizer(network, recipe) {}

  at::Tensor weight() const { return network.decayed_parameters().at(0); }
  at::Tensor bias() const { return network.undecayed_parameters().at(0); }
  void start(double w, double b) const {
    const c10::AutoGradMode no_grad(false);
    weight().fill_(w);
    bias().fill_(b);
  }
  void step(double gradient_w, double gradient_b, double lr, int64_t update) {
    weight().mutable_grad() = at::full_like(weight(), gradient_w).detach();
    bias().mutable_grad() = at::full_like(bias(), gradient_b).detach();
    optimizer.step(lr, update);
  }

  Network network;
  Optimizer optimizer;
};

TEST(Optimizer, NesterovSgdFollowsItsFormula) {
  Recipe::Optimizer recipe;
  recipe.weight_decay = 0.1;
  Rig rig(recipe);
  rig.start(1, 1);
  double w = 1, b = 1, mw = 0, mb = 0;
  for (int64_t t = 0; t < 5; ++t) {
    const double lr = 0.1 / static_cast<double>(t + 1), gw = 0.5 * static_cast<double>(t) - 1, gb = 2;
    const double decayed = gw + 0.1 * w;
    mw = 0.9 * mw + decayed;
    mb = 0.9 * mb + gb;
    w -= lr * (decayed + 0.9 * mw);
    b -= lr * (gb + 0.9 * mb);
    rig.step(gw, gb, lr, t);
    EXPECT_NEAR(rig.weight().item<double>(), w, 1e-6);
    EXPECT_NEAR(rig.bias().item<double>(), b, 1e-6);
    EXPECT_FALSE(rig.weight().grad().defined());
  }
}

TEST(Optimizer, AdamWFollowsItsFormula) {
  Recipe::Optimizer recipe;
  recipe.algorithm = Recipe::Algorithm::adamw;
  recipe.weight_decay = 0.1;
  Rig rig(recipe);
  rig.start(1, 1);
  double w = 1, b = 1, mw = 0, mb = 0, vw = 0, vb = 0;
  for (int64_t t = 0; t < 5; ++t) {
    const double lr = 0.05, gw = 0.5 * static_cast<double>(t) - 1, gb = 2;
    const auto updated = [&](double p, double g, double& m, double& v) {
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      const double n = static_cast<double>(t + 1);
      return p - lr * (m / (1 - std::pow(0.9, n))) / (std::sqrt(v / (1 - std::pow(0.999, n))) + 1e-8);
    };
    w = updated(w * (1 - lr * 0.1), gw, mw, vw);
    b = updated(b, gb, mb, vb);
    rig.step(gw, gb, lr, t);
    EXPECT_NEAR(rig.weight().item<double>(), w, 1e-5);
    EXPECT_NEAR(rig.bias().item<double>(), b, 1e-5);
  }
}

TEST(Optimizer, ClipsTheNormOfAllGradientsTogether) {
  Recipe::Optimizer recipe;
  recipe.momentum = 0;
  recipe.weight_decay = 0;
  recipe.clip = 1;
  Rig rig(recipe);
  rig.start(0, 0);
  rig.step(3, 4, 1, 0);
  EXPECT_NEAR(rig.weight().item<double>(), -0.6, 1e-6);
  EXPECT_NEAR(rig.bias().item<double>(), -0.8, 1e-6);
  rig.start(0, 0);
  rig.step(0.3, 0.4, 1, 1);
  EXPECT_NEAR(rig.weight().item<double>(), -0.3, 1e-6);
}

TEST(Average, FollowsItsFormulaAndRestarts) {
  Rig rig({});
  rig.start(0, 0);
  Average average(rig.network, 0.5);
  double a = 0;
  for (int64_t n = 0; n < 20; ++n) {
    rig.start(static_cast<double>(n + 1), 0);
    average.update();
    const double d = std::min(0.5, (1.0 + static_cast<double>(n)) / (10.0 + static_cast<double>(n)));
    a = d * a + (1 - d) * static_cast<double>(n + 1);
  }
  average.swap();
  EXPECT_NEAR(rig.weight().item<double>(), a, 1e-4);
  average.swap();
  EXPECT_EQ(rig.weight().item<double>(), 20);
  average.restart();
  EXPECT_EQ(average.updates(), 0);
  average.swap();
  EXPECT_EQ(rig.weight().item<double>(), 20);
}

}  // namespace
}  // namespace reducenet::train
