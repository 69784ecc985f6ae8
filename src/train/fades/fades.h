#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string_view>

#include "reducenet/op.h"

namespace reducenet::train {

/// What a kind of fade does while training, differentiably. Has the rows of the table in src/fades/fades.h.
struct FadeForward {
  std::string_view kind;
  /// x → y for the fade's current λ; at λ = 0 bit for bit what the settled ops give.
  at::Tensor (*forward)(const Fade& fade, const at::Tensor& x);
};

std::span<const FadeForward> fade_forwards();
/// The row of that kind, or nullptr.
const FadeForward* find_fade_forward(std::string_view kind);

}  // namespace reducenet::train
