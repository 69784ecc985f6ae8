#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <string_view>

#include "reducenet/op.h"

namespace reducenet::train {

/// What a kind of fade does while training, differentiably. Has the rows of the table in src/fades/fades.h.
struct FadeForward {
  std::string_view kind;
  /// inputs → y for the fade's current λ; at λ = 0 bit for bit what takes its place, whatever the other input is
  /// (undefined too). `noise` seeds what is drawn at random; without it expectations stand for what would be drawn.
  at::Tensor (*forward)(const Fade& fade, std::span<const at::Tensor> in, std::optional<uint64_t> noise);
  /// The same, m (no dimensions, on the device) in the place of λ and with a gradient; nullptr: λ is drawn with.
  at::Tensor (*masked)(const Fade& fade, std::span<const at::Tensor> in, const at::Tensor& m);
};

std::span<const FadeForward> fade_forwards();
/// The row of that kind, or nullptr.
const FadeForward* find_fade_forward(std::string_view kind);

}  // namespace reducenet::train
