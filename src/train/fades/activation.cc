#include <ATen/ATen.h>

#include "train/fades/fades.h"
#include "train/ops.h"

namespace reducenet::train {

/// λ·A(x) + (1−λ)·x. With A = relu this is leaky_relu of slope 1−λ.
at::Tensor forward_activation_fade(const Fade& fade, std::span<const at::Tensor> in, std::optional<uint64_t>) {
  const at::Tensor& x = in[0];
  const double lambda = fade.lambda;
  if (lambda == 0) return x;
  if (lambda == 1) return activate(fade.activation, x);
  if (const auto slope = negative_slope(fade)) return at::leaky_relu(x, *slope);
  return at::add(activate(fade.activation, x) * lambda, x, 1 - lambda);
}

at::Tensor masked_activation_fade(const Fade& fade, std::span<const at::Tensor> in, const at::Tensor& m) {
  return in[0] + m * (activate(fade.activation, in[0]) - in[0]);
}

}  // namespace reducenet::train
