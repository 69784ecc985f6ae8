// Included once a SIMD target (see hwy/foreach_target.h).
#if defined(REDUCENET_FMA_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REDUCENET_FMA_INL_H_
#undef REDUCENET_FMA_INL_H_
#else
#define REDUCENET_FMA_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Operations of `turns` rounds of independent multiply–adds in registers.
double fma_turns(int64_t turns, float* sink) {
  const hn::CappedTag<float, 16> d;
  const auto x = hn::Set(d, 0.999f), y = hn::Set(d, 0.001f);
  const auto from = [&](int at) HWY_ATTR { return hn::Set(d, sink[at]); };
  auto a = from(0), b = from(1), c = from(2), e = from(3), f = from(4), g = from(5), h = from(6), i = from(7);
  auto j = from(8), k = from(9);
  for (int64_t turn = 0; turn < turns; ++turn) {
    a = hn::MulAdd(a, x, y), b = hn::MulAdd(b, x, y), c = hn::MulAdd(c, x, y), e = hn::MulAdd(e, x, y);
    f = hn::MulAdd(f, x, y), g = hn::MulAdd(g, x, y), h = hn::MulAdd(h, x, y), i = hn::MulAdd(i, x, y);
    j = hn::MulAdd(j, x, y), k = hn::MulAdd(k, x, y);
    asm volatile("" : "+m"(*sink));
  }
  sink[0] = hn::GetLane(a + b + c + e + f + g + h + i + j + k) / 1e3f;
  return 2.0 * 10 * static_cast<double>(turns) * static_cast<double>(hn::Lanes(d));
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
