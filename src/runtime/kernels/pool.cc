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

/// Inside of one axis that lie inside the image.
struct Inside {
  int64_t start, first, last;  // start: input position of tap 0
};
HWY_INLINE Inside taps(int64_t out, int64_t stride, int64_t before, int64_t kernel, int64_t dilation, int64_t size) {
  const int64_t start = out * stride - before;
  const int64_t first = std::min(kernel, ceil_div(std::max<int64_t>(-start, 0), dilation));
  return {start, first, std::clamp(ceil_div(std::max<int64_t>(size - start, 0), dilation), first, kernel)};
}

HWY_INLINE float divisor(const AveragePool& op, const Shape& x, const Inside& rows, const Inside& columns) {
  if (!op.count_include_pad) return static_cast<float>((rows.last - rows.first) * (columns.last - columns.first));
  const int64_t height = std::min(rows.start + op.kernel[0], x[2] + op.padding.bottom) - rows.start;
  const int64_t width = std::min(columns.start + op.kernel[1], x[3] + op.padding.right) - columns.start;
  return static_cast<float>(height * width);
}

/// One output: the largest, or the sum, over `rows` rows of taps from `x`, `Width` taps each (0: `columns`).
template <bool kMaximum, int64_t Width, class D>
HWY_INLINE hn::Vec<D> over_window(D d, const float* x, int64_t rows, int64_t columns, int64_t row_step, int64_t step) {
  auto value = hn::Set(d, kMaximum ? -std::numeric_limits<float>::infinity() : 0.0f);
  const int64_t width = Width ? Width : columns;
  for (; rows > 0; --rows, x += row_step) {
    const float* at = x;
    for (int64_t c = 0; c < width; ++c, at += step) {
      const auto tap = hn::LoadU(d, at);
      value = kMaximum ? hn::Max(value, tap) : hn::Add(value, tap);
    }
  }
  return value;
}

/// `Pixel` channels stand side by side: a block, or one when x is plain. `Width`: of the window where it is known when
/// compiled, 0 otherwise.
template <int64_t Pixel, int64_t Width, class Pool>
HWY_NOINLINE void pool_rows(const Call& call, const Pool& op, Size2 dilation) {
  constexpr bool kMaximum = std::is_same_v<Pool, MaxPool>;
  const hn::CappedTag<float, Pixel> d;
  constexpr int64_t kStep = static_cast<int64_t>(hn::MaxLanes(hn::CappedTag<float, Pixel>()));
  const Shape &x = call.x(), &y = call.y();
  const int64_t row_step = dilation[0] * x[3] * Pixel, step = dilation[1] * Pixel;
  // Outputs [whole.first, whole.last) have all columns of taps inside.
  const int64_t reach = x[3] - (op.kernel[1] - 1) * dilation[1];
  const Columns whole = inside(y[3], std::max<int64_t>(reach, 0), -op.padding.left, op.stride[1]);
  const Call::Range rows = call.share(y[0] * ceil_div(y[1], Pixel) * y[2]);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const Inside u = taps(row % y[2], op.stride[0], op.padding.top, op.kernel[0], dilation[0], x[2]);
    const float* line = call.in() + (row / y[2] * x[2] + u.start + u.first * dilation[0]) * x[3] * Pixel;
    float* to = call.out() + row * y[3] * Pixel;
    const auto at = [&](auto width, int64_t j, const Inside& v, float by) HWY_ATTR {
      const float* from = line + (v.start + v.first * dilation[1]) * Pixel;
      for (int64_t lane = 0; lane < Pixel; lane += kStep) {
        auto value = over_window<kMaximum, width>(d, from + lane, u.last - u.first, v.last - v.first, row_step, step);
        if constexpr (!kMaximum) value = hn::Div(value, hn::Set(d, by));
        hn::StoreU(value, d, to + j * Pixel + lane);
      }
    };
    const auto divisor_of = [&](const Inside& v) {
      if constexpr (kMaximum)
        return 1.0f;
      else
        return divisor(op, x, u, v);
    };
    const auto edge = [&](int64_t j) HWY_ATTR {
      const Inside v = taps(j, op.stride[1], op.padding.left, op.kernel[1], dilation[1], x[3]);
      at(std::integral_constant<int64_t, 0>(), j, v, divisor_of(v));
    };
    for (int64_t j = 0; j < whole.first; ++j) edge(j);
    Inside v{whole.first * op.stride[1] - op.padding.left, 0, op.kernel[1]};
    const float by = divisor_of(v);
    for (int64_t j = whole.first; j < whole.last; ++j, v.start += op.stride[1]) {
      at(std::integral_constant<int64_t, Width>(), j, v, by);
    }
    for (int64_t j = whole.last; j < y[3]; ++j) edge(j);
  }
}

template <int64_t Pixel, class Pool>
void pool_rows(const Call& call, const Pool& op, Size2 dilation) {
  if (op.kernel[1] == 2) return pool_rows<Pixel, 2>(call, op, dilation);
  if (op.kernel[1] == 3) return pool_rows<Pixel, 3>(call, op, dilation);
  pool_rows<Pixel, 0>(call, op, dilation);
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
