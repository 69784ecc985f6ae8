#include "fades/rows.h"

namespace reducenet {
namespace {

// s, c → λ·s + (1−λ)·c, with broadcasting: what depends on the input gives way to a constant c, which is trained.
std::array<double, 2> weights(double lambda) {
  return {lambda, 1 - lambda};
}

const Fade kExamples[] = {{"blend", {Activation::Kind::identity}, 1}};

}  // namespace

const FadeKind kBlendFade{"blend", "λ·s + (1−λ)·c → c", 2, weights, true, kExamples};

}  // namespace reducenet
