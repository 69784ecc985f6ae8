// Height and width interpolated: each row of y is Σ weight · row of x, then each of its pixels Σ weight · pixel of
// that.
#include "graph/resize.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/resize.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// y[k] ← Σ_t weights[t] · x[taps[t]·stride + k], k < count
HWY_INLINE void mix(const int64_t* taps, const float* weights, int64_t many, const float* x, int64_t stride,
                    int64_t count, float* y) {
  for (int64_t t = 0; t < many; ++t) {
    const float* from = x + taps[t] * stride;
    if (t == 0 && many == 1) {  // nearest: its weight is 1
      std::copy_n(from, count, y);
      return;
    }
    const Lanes d;
    const auto weight = hn::Set(d, weights[t]);
    int64_t k = 0;
    for (; k + static_cast<int64_t>(kLanes) <= count; k += kLanes) {
      const auto value = hn::Mul(weight, hn::LoadU(d, from + k));
      hn::StoreU(t == 0 ? value : hn::Add(hn::LoadU(d, y + k), value), d, y + k);
    }
    for (; k < count; ++k) y[k] = t == 0 ? weights[t] * from[k] : y[k] + weights[t] * from[k];
  }
}

/// `pixel` floats stand side by side: a block of channels, or one.
void resize(const Call& call, int64_t pixel) {
  const Shape &x = call.x(), &y = call.y();
  const int64_t many = static_cast<int64_t>(call.step.table.size()) / std::max<int64_t>(y[2] + y[3], 1),
                line = x[3] * pixel;
  const int64_t* const taps = call.step.table.data();
  const float* const weights = call.step.packed.data();
  const Call::Range rows = call.share(y[0] * ceil_div(y[1], pixel) * y[2]);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const int64_t i = row % y[2], plane = row / y[2];
    mix(taps + i * many, weights + i * many, many, call.in() + plane * x[2] * line, line, line, call.scratch);
    float* const to = call.out() + row * y[3] * pixel;
    for (int64_t j = 0, at = y[2] * many; j < y[3]; ++j, at += many) {
      mix(taps + at, weights + at, many, call.scratch, pixel, pixel, to + j * pixel);
    }
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(resize);

template <int64_t Pixel>
void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(resize)(call, Pixel);
}

bool supports(const Step& step) {
  return std::holds_alternative<Resize>(step.op);
}
template <int64_t Pixel>
double cost(const Step& step) {
  return (Pixel == 1 ? 8.0 : 1.0) * static_cast<double>(element_count(step.output.shape));
}

template <int64_t Pixel>
void pack(Step& step) {
  const Shape& x = step.inputs[0].shape;
  auto [taps, weights] = plane_taps(std::get<Resize>(step.op), x, step.output.shape, step.scales);
  step.table = std::move(taps);
  step.packed.assign(weights.begin(), weights.end());
  step.scratch = x[3] * Pixel;
}

}  // namespace

constinit const Kernel kResize{"resize", Layout::plain, Layout::plain, supports, cost<1>, pack<1>, run<1>};
constinit const Kernel kResizeBlocked{"resize-blocked", Layout::blocked, Layout::blocked, supports,
                                      cost<kBlock>,     pack<kBlock>,    run<kBlock>};

}  // namespace reducenet
#endif
