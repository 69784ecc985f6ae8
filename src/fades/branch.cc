#include "fades/rows.h"

namespace reducenet {
namespace {

// a, b → a + λ·b: a branch, a residual or a whole block beside what stays.
std::array<double, 2> weights(double lambda) {
  return {1, lambda};
}

const Fade kExamples[] = {{"branch", {Activation::Kind::identity}, 1}};

}  // namespace

const FadeKind kBranchFade{"branch", "a + λ·b → a", 2, weights, true, kExamples};

}  // namespace reducenet
