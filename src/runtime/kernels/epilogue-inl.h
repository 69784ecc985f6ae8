// Included once a SIMD target (see hwy/foreach_target.h).
#if defined(REDUCENET_EPILOGUE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REDUCENET_EPILOGUE_INL_H_
#undef REDUCENET_EPILOGUE_INL_H_
#else
#define REDUCENET_EPILOGUE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <utility>

#include "fades/fades.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "runtime/step.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Up to a block of channels; kVectors of them make a block.
using Lanes = hn::CappedTag<float, kBlock>;
using Vector = hn::Vec<Lanes>;
inline constexpr size_t kLanes = hn::MaxLanes(Lanes());
inline constexpr size_t kVectors = kBlock / kLanes;

/// f(0), …, f(N − 1) with constant arguments, so that arrays of vectors stay in registers; a call, which the compiler
/// prefers in large functions, would take them through memory.
template <size_t N, class F>
HWY_INLINE void unroll(F f) {
  [&]<size_t... i>(std::index_sequence<i...>) HWY_ATTR __attribute__((always_inline)) {
    (f(std::integral_constant<size_t, i>()), ...);
  }
  (std::make_index_sequence<N>());
}

/// row[i] ← f(row[i]) for vectors, the rest padded with zeros.
template <class F>
HWY_INLINE void transform(float* row, size_t count, F f) {
  const Lanes d;
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(f(d, hn::LoadU(d, row + i)), d, row + i);
  if (i == count) return;
  HWY_ALIGN float rest[kLanes] = {};
  std::copy(row + i, row + count, rest);
  hn::Store(f(d, hn::Load(d, rest)), d, rest);
  std::copy(rest, rest + (count - i), row + i);
}

/// 1/v for normal v, to 2e-7 of it: by Newton's step from what the processor estimates, where that has 12 bits.
HWY_INLINE HWY_ATTR Vector reciprocal(Vector v) {
  const Lanes d;
  if constexpr (!HWY_ARCH_X86) return hn::Div(hn::Set(d, 1.0f), v);
  const auto near = hn::ApproximateReciprocal(v);
  return hn::Mul(near, hn::NegMulAdd(near, v, hn::Set(d, 2.0f)));
}

/// e to the power v, taken within [-87, 87], to 1e-7 of it: 2ⁿ·eʳ with n = round(v/ln 2), |r| ≤ ½·ln 2, and eʳ by the
/// polynomial of expf in the Cephes library (Moshier 1992). NaN stays.
HWY_INLINE HWY_ATTR Vector exp_within(Vector v) {
  const Lanes d;
  const auto constant = [&](float c) HWY_ATTR { return hn::Set(d, c); };
  v = hn::Min(constant(87.0f), hn::Max(constant(-87.0f), v));
  const auto n = hn::Round(hn::Mul(v, constant(1.44269504088896341f)));
  const auto r = hn::NegMulAdd(n, constant(-2.12194440e-4f), hn::NegMulAdd(n, constant(0.693359375f), v));
  auto sum = constant(1.9875691500e-4f);
  for (const float term : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    sum = hn::MulAdd(sum, r, constant(term));
  }
  const auto power = hn::MulAdd(hn::Mul(sum, r), r, hn::Add(r, constant(1.0f)));
  const hn::RebindToSigned<Lanes> integers;
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(integers, n), hn::Set(integers, 127)));
  return hn::Mul(power, hn::BitCast(d, exponent));
}

/// ½·erfc(z/√2) for z not negative, to 3e-7 of its value down to where float32 ends: an expansion in t = 1/(1 + z/√8)
/// (Press et al., Numerical Recipes in C, 2nd edition, section 6.2).
HWY_INLINE HWY_ATTR Vector upper_tail(Vector z) {
  const Lanes d;
  constexpr float kTerms[] = {0.17087277f,  -0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f,
                              -0.18628806f, 0.09678418f,  0.37409196f, 1.00002368f,  -1.26551223f};
  const auto scaled = hn::Mul(hn::Min(hn::Set(d, 13.0f), z), hn::Set(d, static_cast<float>(M_SQRT1_2)));
  const auto t = reciprocal(hn::MulAdd(hn::Set(d, 0.5f), scaled, hn::Set(d, 1.0f)));
  auto sum = hn::Set(d, kTerms[0]);
  for (size_t i = 1; i < std::size(kTerms); ++i) sum = hn::MulAdd(sum, t, hn::Set(d, kTerms[i]));
  const auto tail = hn::Mul(hn::Mul(hn::Set(d, 0.5f), t), exp_within(hn::NegMulAdd(scaled, scaled, sum)));
  return hn::IfThenZeroElse(hn::Gt(z, hn::Set(d, 13.0f)), tail);
}

/// row[i] ← A(row[i])
inline HWY_ATTR void activate(const Activation& activation, float* row, size_t count) {
  using Kind = Activation::Kind;
  const Lanes d;
  const auto a = hn::Set(d, static_cast<float>(activation.alpha)), b = hn::Set(d, static_cast<float>(activation.beta));
  const auto one = hn::Set(d, 1.0f), zero = hn::Zero(d);
  const auto sigmoid = [&](Vector v) HWY_ATTR {
    const auto value = reciprocal(hn::Add(one, exp_within(hn::Neg(v))));
    return hn::IfThenZeroElse(hn::Lt(v, hn::Set(d, -87.0f)), value);
  };
  const auto unit = [&](Vector v) HWY_ATTR { return hn::Max(zero, hn::Min(one, v)); };
  const auto softplus = [&](Vector v) HWY_ATTR {
    return hn::Add(hn::Max(v, zero), hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(v)))));
  };
  const auto elu = [&](Vector v) HWY_ATTR { return hn::IfThenElse(v < zero, a * hn::Expm1(d, hn::Min(v, zero)), v); };
  switch (activation.kind) {
    case Kind::leaky_relu:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return hn::IfThenElse(v < zero, v * a, v); });
    case Kind::sigmoid:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return sigmoid(v); });
    case Kind::silu:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return v * sigmoid(v); });
    case Kind::hard_sigmoid:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return unit(hn::MulAdd(a, v, b)); });
    case Kind::hard_swish:
      return transform(row, count, [&](auto, auto v) HWY_ATTR {
        return v * unit(hn::MulAdd(hn::Set(d, 1.0f / 6), v, hn::Set(d, 0.5f)));
      });
    case Kind::tanh:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return hn::Tanh(d, v); });
    case Kind::elu:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return elu(v); });
    case Kind::selu:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return b * elu(v); });
    case Kind::softplus:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return softplus(v); });
    case Kind::softsign:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return hn::Div(v, hn::Add(one, hn::Abs(v))); });
    case Kind::mish:
      return transform(row, count, [&](auto, auto v) HWY_ATTR { return v * hn::Tanh(d, softplus(v)); });
    case Kind::gelu:
      return transform(row, count, [&](auto, auto v) HWY_ATTR {
        const auto tail = upper_tail(hn::Abs(v));
        return v * hn::IfThenElse(v < zero, tail, hn::Sub(one, tail));
      });
    case Kind::gelu_tanh:
      return transform(row, count, [&](auto, auto v) HWY_ATTR {
        const auto cubic = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715f), v * v), v, v);
        const auto twice = hn::Mul(hn::Set(d, static_cast<float>(M_2_SQRTPI * M_SQRT2)), cubic);
        return v * sigmoid(twice);  // ½·(1 + tanh u) = σ(2u)
      });
    case Kind::bytes: {
      const auto low = hn::Neg(b), high = hn::Sub(hn::Set(d, 255.0f), b);
      return transform(
          row, count, [&](auto, auto v) HWY_ATTR { return a * hn::Min(high, hn::Max(low, hn::Round(hn::Div(v, a)))); });
    }
    case Kind::identity:
    case Kind::relu:
    case Kind::relu6:
    case Kind::clip:
      for (size_t i = 0; i < count; ++i) row[i] = static_cast<float>(apply(activation, row[i]));
  }
}

/// v where it is not negative, slope·v where it is
HWY_INLINE Vector bent(Vector v, Vector slope) {
  return hn::IfThenElse(v < hn::Zero(Lanes()), v * slope, v);
}

/// row[i] ← row[i] < 0 ? slopes[i % kBlock]·row[i] : row[i]
inline HWY_ATTR void leak(const float* slopes, float* row, size_t count) {
  size_t at = 0;
  transform(row, count, [&](auto d, auto v) HWY_ATTR {
    const auto slope = hn::LoadU(d, slopes + at % kBlock);
    at += kLanes;
    return bent(v, slope);
  });
}

/// What remains to be done with a row of outputs after the clamp; `slopes` of its 16 channels, which repeat.
inline HWY_ATTR void finish_curve(const Epilogue& epilogue, const float* slopes, float* row, size_t count) {
  if (slopes) leak(slopes, row, count);
  if (!epilogue.curve) return;
  if (const auto* activation = std::get_if<Activation>(&*epilogue.curve)) return activate(*activation, row, count);
  const Fade& fade = std::get<Fade>(*epilogue.curve);
  for (size_t i = 0; i < count; ++i) row[i] = static_cast<float>(apply(fade, row[i]));
}

/// row ← curve(min(max(row + residual, low), high)), `slopes` as for finish_curve
inline HWY_ATTR void finish(const Epilogue& epilogue, const float* slopes, float* row, const float* residual,
                            size_t count) {
  if (residual) {
    const Lanes d;
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::LoadU(d, row + i) + hn::LoadU(d, residual + i), d, row + i);
    for (; i < count; ++i) row[i] += residual[i];
  }
  if (epilogue.has_activation()) {
    transform(row, count, [&](auto d, auto v) HWY_ATTR {
      return hn::Min(hn::Max(v, hn::Set(d, epilogue.low)), hn::Set(d, epilogue.high));
    });
  }
  finish_curve(epilogue, slopes, row, count);
}

/// finish() for a row of one output channel
inline HWY_ATTR void finish_channel(const Epilogue& epilogue, int64_t channel, float* row, const float* residual,
                                    size_t count) {
  if (epilogue.slopes.empty()) return finish(epilogue, nullptr, row, residual, count);
  float slopes[kBlock];
  std::fill_n(slopes, kBlock, epilogue.slopes[static_cast<size_t>(channel)]);
  finish(epilogue, slopes, row, residual, count);
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
