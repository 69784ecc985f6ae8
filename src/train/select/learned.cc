#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "train/optimizer.h"
#include "train/select/select.h"

namespace reducenet::train {
namespace {

/// Indices by falling score.
std::vector<size_t> ranking(const std::vector<double>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

}  // namespace

// Binary masks mᵢ = [i is kept], y = x + mᵢ·(A(x) − x), with straight-through gradients ∂L/∂sᵢ = ∂L/∂mᵢ on scores s.
// Kept are those that the budget, a number or milliseconds, leaves to the largest scores, and beside them the largest
// others, whose number falls to none in the first half of the steps. Weights learn beside the scores, in a copy.
// (DepthShrinker, Fu et al., arXiv 2206.00843, section 3.2.) Under milliseconds the network is timed anew every quarter
// of the steps.
//   s ← s − 0.05·g/√v,   v ← 0.9·v + 0.1·mean(g²)
Selection select_learned(const SelectionContext& context) {
  const size_t n = context.candidates;
  Network network = context.copy();
  Optimizer optimizer(network, context.optimizer);
  std::vector<double> scores(n, 0);
  double v = 0;
  Survivors within;
  const int64_t period = std::max<int64_t>(1, context.recipe.steps / 4);
  for (int64_t step = 0; step < context.recipe.steps; ++step) {
    const double progress =
        std::min(1.0, 2 * static_cast<double>(step + 1) / static_cast<double>(context.recipe.steps));
    if (context.recipe.milliseconds == 0 || step % period == 0) within = most_important(context, scores);
    Survivors kept = within;
    const auto target = static_cast<size_t>(std::ranges::count(within, true));
    auto others =
        static_cast<int64_t>(n - target) - static_cast<int64_t>(std::floor(static_cast<double>(n - target) * progress));
    for (const size_t i : ranking(scores)) {
      if (!kept[i] && others-- > 0) kept[i] = true;
    }
    std::vector<at::Tensor> masks(n);
    for (size_t i = 0; i < n; ++i) {
      masks[i] = at::full({}, kept[i] ? 1.0 : 0.0).set_requires_grad(true);
      network.set_mask(context.fades[i], masks[i]);
    }
    const Labelled batch = context.next_batch();
    at::cross_entropy_loss(network.forward(batch.pixels, true), batch.labels).backward();
    std::vector<double> gradient;
    for (const at::Tensor& mask : masks) gradient.push_back(mask.grad().item<double>());
    const double square = std::inner_product(gradient.begin(), gradient.end(), gradient.begin(), 0.0);
    v = (step == 0 ? 1 : 0.1) * square / static_cast<double>(n) + (step == 0 ? 0 : 0.9) * v;
    for (size_t i = 0; i < n; ++i) scores[i] -= 0.05 * gradient[i] / std::sqrt(v + 1e-30);
    optimizer.step(context.recipe.lr, step);
    context.done(static_cast<size_t>(step + 1), static_cast<size_t>(context.recipe.steps));
  }
  return by_importance(context, std::move(scores));
}

}  // namespace reducenet::train
