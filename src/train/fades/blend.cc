#include <ATen/ATen.h>

#include "train/fades/fades.h"

namespace reducenet::train {

/// λ·s + (1−λ)·c
at::Tensor forward_blend_fade(const Fade& fade, std::span<const at::Tensor> in, std::optional<uint64_t>) {
  const double lambda = fade.lambda;
  if (lambda == 0) return in[1];
  if (lambda == 1) return in[0];
  return at::add(in[0] * lambda, in[1], 1 - lambda);
}

at::Tensor masked_blend_fade(const Fade&, std::span<const at::Tensor> in, const at::Tensor& m) {
  return in[1] + m * (in[0] - in[1]);
}

}  // namespace reducenet::train
