#include "fades/rows.h"

namespace reducenet {
namespace {

using Kind = Activation::Kind;

// x → λ·A(x) + (1−λ)·x.  (VanillaNet's deep training, arXiv 2305.12972, equation 1, with λ for 1−λ.)
std::array<double, 2> weights(double lambda) {
  return {lambda, 1 - lambda};
}

const Fade kExamples[] = {
    {"activation", {Kind::relu}, 1}, {"activation", {Kind::relu6}, 1}, {"activation", {Kind::leaky_relu, 0.1}, 1},
    {"activation", {Kind::gelu}, 1}, {"activation", {Kind::silu}, 1},  {"activation", {Kind::hard_swish}, 1},
};

}  // namespace

const FadeKind kActivationFade{"activation", "λ·A(x) + (1−λ)·x → x", 1, weights, true, kExamples};

double apply(const Fade& fade, double x) {
  return fade.lambda * apply(fade.activation, x) + (1 - fade.lambda) * x;
}

}  // namespace reducenet
