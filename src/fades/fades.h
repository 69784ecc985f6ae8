#pragma once

#include <span>
#include <string_view>

#include "reducenet/op.h"

namespace reducenet {

/// One kind of fade: what it computes at λ, and what it becomes at the end of its schedule (λ = 0).
/// The differentiable twin of `evaluate` is the row of the same name in src/train/fades/.
struct FadeKind {
  std::string_view name, formula;
  /// One element in double.
  double (*evaluate)(const Fade& fade, double x);
  /// The ordinary op that takes the fade's place at λ = 0.
  Op (*settle)(const Fade& fade);
  /// Instances for the generic tests.
  std::span<const Fade> examples;
};

/// The one table.
std::span<const FadeKind> fades();
/// Row by name; Error(bad_input) lists the names.
const FadeKind& find_fade(std::string_view name);

}  // namespace reducenet
