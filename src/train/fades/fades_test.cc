#include "fades/fades.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "reducenet/builder.h"
#include "reducenet/collapse.h"
#include "train/fades/fades.h"
#include "train/network.h"
#include "train/ops.h"

namespace reducenet::train {
namespace {

/// Points away from the kinks of every activation in the examples (0, ±1, ±3, 6); for a second input others.
std::vector<at::Tensor> points(const FadeKind& kind) {
  const at::Tensor x = at::cat({at::linspace(-7.83, 8.21, 41, at::kDouble), at::tensor({-1e-3, 1e-3}, at::kDouble)});
  return kind.inputs == 1 ? std::vector{x} : std::vector{x, at::cos(x)};
}

Fade at_lambda(Fade fade, double lambda) {
  fade.lambda = lambda;
  return fade;
}

at::Tensor forward(const Fade& fade, const std::vector<at::Tensor>& in) {
  return find_fade_forward(fade.kind)->forward(fade, in, std::nullopt);
}

TEST(Fades, TablesHaveTheSameRows) {
  ASSERT_EQ(fades().size(), fade_forwards().size());
  for (const FadeKind& kind : fades()) EXPECT_NE(find_fade_forward(kind.name), nullptr) << kind.name;
}

TEST(Fades, ForwardIsTheOracle) {
  for (const FadeKind& kind : fades()) {
    for (const Fade& example : kind.examples) {
      for (const double lambda : {0.0, 0.37, 1.0}) {
        const Fade fade = at_lambda(example, lambda);
        const std::vector<at::Tensor> in = points(kind);
        const at::Tensor y = forward(fade, in);
        const auto [a, b] = kind.weights(lambda);
        for (int64_t i = 0; i < in[0].numel(); ++i) {
          const double x = in[0][i].item<double>();
          const double expected = kind.inputs == 1 ? apply(fade, x) : a * x + b * in[1][i].item<double>();
          EXPECT_NEAR(y[i].item<double>(), expected, 1e-12) << kind.name << " at " << x;
        }
      }
    }
  }
}

TEST(Fades, MaskedIsForwardWithLambdaInATensor) {
  for (const FadeKind& kind : fades()) {
    const auto masked = find_fade_forward(kind.name)->masked;
    EXPECT_EQ(masked != nullptr, kind.scheduled) << kind.name;
    for (const Fade& example : kind.examples) {
      for (const double lambda : {0.0, 0.37, 1.0}) {
        if (masked == nullptr) continue;
        const Fade fade = at_lambda(example, lambda);
        const at::Tensor y = masked(fade, points(kind), at::full({}, lambda, at::kDouble));
        EXPECT_TRUE(at::allclose(y, forward(fade, points(kind)), 1e-12, 1e-12)) << kind.name;
      }
    }
  }
}

TEST(Fades, EndIsTheInputThatSurvives) {
  for (const FadeKind& kind : fades()) {
    const auto [a, b] = kind.weights(0);
    EXPECT_EQ(std::max(a, b), 1) << kind.name;
    EXPECT_EQ(std::min(a, b), 0) << kind.name;
    for (const Fade& example : kind.examples) {
      std::vector<at::Tensor> in = points(kind);
      for (size_t i = 0; i < in.size(); ++i) {
        if (i != survivor(kind)) in[i] = at::Tensor();  // not even looked at
      }
      EXPECT_TRUE(at::equal(forward(at_lambda(example, 0), in), in[survivor(kind)])) << kind.name;
    }
  }
}

TEST(Fades, GradientIsTheSlope) {
  constexpr double h = 1e-5;
  for (const FadeKind& kind : fades()) {
    for (const Fade& example : kind.examples) {
      const Fade fade = at_lambda(example, 0.37);
      std::vector<at::Tensor> in = points(kind);
      for (at::Tensor& x : in) x.requires_grad_();
      forward(fade, in).sum().backward();
      for (at::Tensor& x : in) {
        const at::Tensor gradient = x.grad(), middle = x.detach();
        const auto at = [&](double shift) {
          x = middle + shift;
          return forward(fade, in);
        };
        const at::Tensor slope = (at(h) - at(-h)) / (2 * h);
        x = middle;
        EXPECT_LT((gradient - slope).abs().max().item<double>(), 1e-8) << kind.name;
      }
    }
  }
}

/// x → fade( conv₁(x), conv₂(x) or a constant )
Graph example_graph(const Fade& fade) {
  GraphBuilder b("example", 3);
  const ValueId x = b.input("x", {-1, 3, 6, 6});
  const Conv2d same{.padding = {1, 1, 1, 1}};
  const ValueId first = b.batch_norm("one.bn", b.conv("one", x, 4, {3, 3}, same));
  std::vector<ValueId> inputs{first};
  if (fade.kind == "blend") inputs.push_back(b.constant("c", Tensor::filled({1, 4, 1, 1}, 0.25)));
  if (fade.kind == "branch" || fade.kind == "drop") inputs.push_back(b.conv("two", x, 4, {3, 3}, same));
  b.output(b.node("fade", fade, inputs));
  return std::move(b).finish();
}

TEST(Fades, SettledGraphsComputeTheSameAndOnlyWhatTheyNeed) {
  for (const FadeKind& kind : fades()) {
    for (const double lambda : {0.0, 0.25, 1.0}) {
      const Graph graph = example_graph(at_lambda(kind.examples.front(), lambda));
      const Graph settled = settle(graph);
      EXPECT_NO_THROW(check(settled)) << kind.name;
      const Tensor x = Tensor::filled({2, 3, 6, 6}, 0.5);
      const std::vector<double> before = evaluate(graph, {&x, 1})[0].to_doubles(),
                                after = evaluate(settled, {&x, 1})[0].to_doubles();
      const bool constant = kind.name == "blend" && lambda == 0;  // one for the whole batch
      ASSERT_EQ(before.size(), constant ? 2 * 36 * after.size() : after.size()) << kind.name;
      for (size_t i = 0; !constant && i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-12) << kind.name;
      const auto convs = std::ranges::count_if(
          settled.nodes, [](const Node& node) { return std::holds_alternative<Conv2d>(node.op); });
      const auto needed = constant ? 0 : kind.inputs == 2 && kind.name != "blend" && lambda > 0 ? 2 : 1;
      EXPECT_EQ(convs, needed) << kind.name << " at " << lambda;
    }
  }
}

TEST(Fades, NetworkSkipsWhatOnlyAnEndedFadeReads) {
  const at::Tensor x = at::randn({2, 3, 6, 6});
  Network network(example_graph({"branch", {Activation::Kind::identity}, 1}));
  const at::Tensor both = network.forward(x, false);
  network.set_fade(0, 0);
  const at::Tensor one = network.forward(x, false);
  EXPECT_FALSE(at::allclose(both, one));
  one.sum().backward();
  for (const auto& [name, tensor] : network.state()) {
    if (name == "one.weight") {
      EXPECT_TRUE(tensor.grad().defined());
    }
    if (name == "two.weight") {
      EXPECT_FALSE(tensor.grad().defined());
    }
  }
  network.set_fade(0, 1);
  EXPECT_TRUE(at::equal(both, network.forward(x, false)));
}

TEST(Fades, DropsImagesAtRandomAndTheirExpectationAtInference) {
  constexpr int64_t images = 4000;
  constexpr double survival = 0.7;
  Network network(example_graph({"drop", {Activation::Kind::identity}, survival}));
  const at::Tensor x = at::randn({1, 3, 6, 6}).repeat({images, 1, 1, 1});
  network.set_fade(0, 0);
  const at::Tensor without = network.forward(x, false);
  network.set_fade(0, 1);
  const at::Tensor with = network.forward(x, false);
  network.set_fade(0, survival);
  network.set_noise(11);
  const at::Tensor drawn = network.forward(x, false);
  EXPECT_TRUE(at::equal(drawn, network.forward(x, false))) << "the same noise";
  const at::Tensor stays = (drawn - with).abs().amax({1, 2, 3}) < 1e-5,
                   goes = (drawn - without).abs().amax({1, 2, 3}) < 1e-5;
  EXPECT_TRUE(at::all(at::logical_xor(stays, goes)).item<bool>());
  // Five standard deviations of a binomial share.
  EXPECT_NEAR(stays.to(at::kFloat).mean().item<double>(), survival, 5 * std::sqrt(survival * (1 - survival) / images));
  network.set_noise(12);
  EXPECT_FALSE(at::equal(drawn, network.forward(x, false)));
  network.set_noise(std::nullopt);
  EXPECT_TRUE(at::allclose(network.forward(x, false), without + survival * (with - without), 1e-4, 1e-5));
}

}  // namespace
}  // namespace reducenet::train
