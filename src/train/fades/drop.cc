#include <ATen/ATen.h>

#include "train/fades/fades.h"
#include "train/loader.h"

namespace reducenet::train {

/// a + m·b, m drawn for each image; without noise a + λ·b.
at::Tensor forward_drop_fade(const Fade& fade, std::span<const at::Tensor> in, std::optional<uint64_t> noise) {
  if (fade.lambda == 0) return in[0];
  if (!noise) return at::add(in[0], in[1], fade.lambda);
  std::vector<int64_t> shape(static_cast<size_t>(in[1].dim()), 1);
  shape[0] = in[1].size(0);
  at::Tensor mask = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < shape[0]; ++i) {
    const uint64_t bits = random_bits(*noise, 0, static_cast<uint64_t>(i));
    mask.data_ptr<float>()[i] = static_cast<double>(bits >> 11) * 0x1p-53 < fade.lambda ? 1 : 0;
  }
  return at::add(in[0], in[1] * mask.to(in[1].device(), in[1].scalar_type()));
}

}  // namespace reducenet::train
