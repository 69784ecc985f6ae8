#include "fades/rows.h"

namespace reducenet {
namespace {

// a, b → a + m·b, in training m = 1 with probability λ and 0 otherwise, drawn for each image; else a + λ·b, its
// expectation (Huang et al., arXiv 1603.09382, equations 2 and 5).
std::array<double, 2> weights(double lambda) {
  return {1, lambda};
}

const Fade kExamples[] = {{"drop", {Activation::Kind::identity}, 1}};

}  // namespace

const FadeKind kDropFade{"drop", "a + m·b, E(m) = λ → a + λ·b", 2, weights, false, kExamples};

}  // namespace reducenet
