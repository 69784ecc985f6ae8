// AveragePool: y = Σ x over the window / (elements inside, or with padding counted); MaxPool: y = max x over the
// window.
#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/pool.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Taps of one axis that lie inside the image.
struct Taps {
  int64_t start, first, last;  // start: input position of tap 0
};
HWY_INLINE Taps taps(int64_t out, int64_t stride, int64_t before, int64_t kernel, int64_t dilation, int64_t size) {
  const int64_t start = out * stride - before;
  const int64_t first = std::min(kernel, ceil_div(std::max<int64_t>(-start, 0), dilation));
  return {start, first, std::clamp(ceil_div(std::max<int64_t>(size - start, 0), dilation), first, kernel)};
}

HWY_INLINE float divisor(const AveragePool& op, const Shape& x, const Taps& rows, const Taps& columns) {
  if (!op.count_include_pad) return static_cast<float>((rows.last - rows.first) * (columns.last - columns.first));
  const int64_t height = std::min(rows.start + op.kernel[0], x[2] + op.padding.bottom) - rows.start;
  const int64_t width = std::min(columns.start + op.kernel[1], x[3] + op.padding.right) - columns.start;
  return static_cast<float>(height * width);
}

/// `Pixel` channels stand side by side: a block, or one when x is plain.
template <int64_t Pixel, class Pool>
HWY_NOINLINE void pool_rows(const Call& call, const Pool& op, Size2 dilation) {
  constexpr bool kMaximum = std::is_same_v<Pool, MaxPool>;
  const hn::CappedTag<float, Pixel> d;
  constexpr int64_t kStep = static_cast<int64_t>(hn::MaxLanes(hn::CappedTag<float, Pixel>()));
  const Shape &x = call.x(), &y = call.y();
  const Call::Range rows = call.share(y[0] * ceil_div(y[1], Pixel) * y[2]);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const Taps u = taps(row % y[2], op.stride[0], op.padding.top, op.kernel[0], dilation[0], x[2]);
    const float* plane = call.in() + row / y[2] * x[2] * x[3] * Pixel;
    for (int64_t j = 0; j < y[3]; ++j) {
      const Taps v = taps(j, op.stride[1], op.padding.left, op.kernel[1], dilation[1], x[3]);
      for (int64_t lane = 0; lane < Pixel; lane += kStep) {
        auto value = hn::Set(d, kMaximum ? -std::numeric_limits<float>::infinity() : 0.0f);
        for (int64_t r = u.first; r < u.last; ++r) {
          const float* line = plane + (u.start + r * dilation[0]) * x[3] * Pixel + lane;
          for (int64_t c = v.first; c < v.last; ++c) {
            const auto at = hn::LoadU(d, line + (v.start + c * dilation[1]) * Pixel);
            value = kMaximum ? hn::Max(value, at) : hn::Add(value, at);
          }
        }
        if constexpr (!kMaximum) value = hn::Div(value, hn::Set(d, divisor(op, x, u, v)));
        hn::StoreU(value, d, call.out() + (row * y[3] + j) * Pixel + lane);
      }
    }
  }
}

template <int64_t Pixel>
void pool(const Call& call) {
  if (const auto* op = std::get_if<MaxPool>(&call.step.op)) return pool_rows<Pixel>(call, *op, op->dilation);
  pool_rows<Pixel>(call, std::get<AveragePool>(call.step.op), {1, 1});
}

void pool_plain(const Call& call) {
  pool<1>(call);
}
void pool_blocked(const Call& call) {
  pool<kBlock>(call);
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(pool_plain);
HWY_EXPORT(pool_blocked);

void run_plain(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(pool_plain)(call);
}
void run_blocked(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(pool_blocked)(call);
}

bool supports(const Step& step) {
  return std::holds_alternative<AveragePool>(step.op) || std::holds_alternative<MaxPool>(step.op);
}

double reads(const Step& step) {
  const auto window = [](const auto& op) { return static_cast<double>(op.kernel[0] * op.kernel[1]); };
  const auto* maximum = std::get_if<MaxPool>(&step.op);
  return static_cast<double>(element_count(step.output.shape)) *
         (maximum ? window(*maximum) : window(std::get<AveragePool>(step.op)));
}
double cost_plain(const Step& step) {
  return 16 * reads(step);
}
double cost_blocked(const Step& step) {
  return 2 * reads(step);
}

void pack(Step&) {}

}  // namespace

constinit const Kernel kPool{"pool", Layout::plain, Layout::plain, supports, cost_plain, pack, run_plain};
constinit const Kernel kPoolBlocked{"pool-blocked", Layout::blocked, Layout::blocked, supports, cost_blocked,
                                    pack,           run_blocked};

}  // namespace reducenet
#endif
