#include "fades/fades.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "train/fades/fades.h"
#include "train/ops.h"

namespace reducenet::train {
namespace {

/// Points away from the kinks of every activation in the examples (0, ±1, ±3, 6).
at::Tensor points() {
  return at::cat({at::linspace(-7.83, 8.21, 41, at::kDouble), at::tensor({-1e-3, 1e-3}, at::kDouble)});
}

Fade at_lambda(Fade fade, double lambda) {
  fade.lambda = lambda;
  return fade;
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
        const at::Tensor x = points();
        const at::Tensor y = find_fade_forward(kind.name)->forward(fade, x);
        for (int64_t i = 0; i < x.numel(); ++i) {
          EXPECT_NEAR(y[i].item<double>(), kind.evaluate(fade, x[i].item<double>()), 1e-12)
              << kind.name << " of " << name_of(fade.activation.kind) << " at " << x[i].item<double>();
        }
      }
    }
  }
}

TEST(Fades, EndIsTheSettledOp) {
  Graph graph;
  for (const FadeKind& kind : fades()) {
    for (const Fade& example : kind.examples) {
      const Fade fade = at_lambda(example, 0);
      const at::Tensor x = points().to(at::kFloat) * 1e-3;
      const Node settled{.name = "settled", .op = kind.settle(fade)};
      const at::Tensor expected = apply_node(graph, settled, {&x, 1}, /*training=*/false, {});
      EXPECT_TRUE(at::equal(find_fade_forward(kind.name)->forward(fade, x), expected)) << kind.name;
    }
  }
}

TEST(Fades, GradientIsTheSlope) {
  constexpr double h = 1e-5;
  for (const FadeKind& kind : fades()) {
    for (const Fade& example : kind.examples) {
      const Fade fade = at_lambda(example, 0.37);
      const auto* row = find_fade_forward(kind.name);
      const at::Tensor x = points().requires_grad_();
      row->forward(fade, x).sum().backward();
      const at::Tensor slope = (row->forward(fade, x.detach() + h) - row->forward(fade, x.detach() - h)) / (2 * h);
      EXPECT_LT((x.grad() - slope).abs().max().item<double>(), 1e-8)
          << kind.name << " of " << name_of(fade.activation.kind);
    }
  }
}

}  // namespace
}  // namespace reducenet::train
