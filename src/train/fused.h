#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace reducenet::train {

/// y = A(Σᵢ BNᵢ(xᵢ) + Σⱼ rⱼ) with A(v) = v > 0 ? v : slope·v, 0 ≤ slope ≤ 1; on CPU, in float, all x and r of one
/// shape, [N,C,H,W] or [N,C].
struct NormSum {
  struct Branch {
    at::Tensor x, gamma, beta;
    at::Tensor mean, variance;  ///< running; updated in place in training
    double epsilon = 1e-5, momentum = 0.1;
  };
  std::vector<Branch> branches;  ///< at least one
  std::vector<at::Tensor> residuals;
  double slope = 1;  ///< 1: no activation
};

/// y, once for each of `readers`: the same memory, but each with a gradient of its own, so that they are summed on the
/// way back in the pass that needs the sum. One pass over memory for the statistics, one for y; back, one for the
/// reductions and one for all gradients. In training BN uses the batch's statistics
///   ∂x = γ/σ·(g − mean(g) − x̂·mean(g·x̂)),   ∂γ = Σ g·x̂,   ∂β = Σ g,   x̂ = (x − μ)/σ,   g = A′·Σ ∂y
/// (Ioffe and Szegedy 2015); at inference the running ones, ∂x = γ/σ·g. Results do not depend on the number of threads.
std::vector<at::Tensor> norm_sum(NormSum sum, bool training, size_t readers);

}  // namespace reducenet::train
