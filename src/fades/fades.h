#pragma once

#include <array>
#include <span>
#include <string_view>

#include "reducenet/op.h"

namespace reducenet {

/// One kind of fade: y = w₀·u + w₁·v, with weights that depend on λ alone.
/// The differentiable twin is the row of the same name in src/train/fades/.
struct FadeKind {
  std::string_view name, formula;
  size_t inputs;                                    ///< 1: u = A(x), v = x; 2: u and v are the node's inputs
  std::array<double, 2> (*weights)(double lambda);  ///< at λ = 0 one of them is 1 and the other 0
  bool scheduled;                                   ///< λ runs from 1 to 0; otherwise it is a constant of the network
  std::span<const Fade> examples;                   ///< for the generic tests
};

/// The one table.
std::span<const FadeKind> fades();
/// Row by name; Error(bad_input) lists the names.
const FadeKind& find_fade(std::string_view name);

/// λ·A(x) + (1−λ)·x: the kind of one input, element by element.
double apply(const Fade& fade, double x);
/// The input that takes the place of a fade of this kind at λ = 0.
inline size_t survivor(const FadeKind& kind) {
  return kind.inputs == 1 || kind.weights(0)[0] == 1 ? 0 : 1;
}

}  // namespace reducenet
