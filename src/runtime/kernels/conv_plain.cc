// y[o][i][j] = b[o] + Σ_{c,u,v} w[o][c][u][v] · x[c][i·sh − top + u·dh][j·sw − left + v·dw]
//
// For any groups: one row of one output channel at a time, row ← row + w · (shifted row of x), borders clipped.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/conv_plain.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// y[j] += w·x[j·stride]
HWY_INLINE void accumulate(float* HWY_RESTRICT y, const float* HWY_RESTRICT x, int64_t count, int64_t stride, float w) {
  int64_t j = 0;
  if (stride == 1) {
    const Lanes d;
    const auto weight = hn::Set(d, w);
    for (; j + static_cast<int64_t>(kLanes) <= count; j += kLanes) {
      hn::StoreU(hn::MulAdd(weight, hn::LoadU(d, x + j), hn::LoadU(d, y + j)), d, y + j);
    }
  }
  for (; j < count; ++j) y[j] += w * x[j * stride];
}

void conv_plain(const Call& call) {
  const Step& step = call.step;
  const Conv2d& op = std::get<Conv2d>(step.op);
  const Shape &x = call.x(), &y = call.y(), &w = step.weight_shape;
  const int64_t width = y[3], per_group = y[1] / op.groups;
  const Call::Range rows = call.share(y[0] * y[1] * y[2]);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const int64_t i = row % y[2], o = row / y[2] % y[1], n = row / (y[1] * y[2]);
    const int64_t top = i * op.stride[0] - op.padding.top, first_c = o / per_group * w[1];
    float* to = call.out() + row * width;
    std::fill_n(to, width, step.packed_bias[static_cast<size_t>(o)]);
    const float* weight = step.packed.data() + o * w[1] * w[2] * w[3];
    for (int64_t c = 0; c < w[1]; ++c) {
      const float* plane = call.in() + (n * x[1] + first_c + c) * x[2] * x[3];
      for (int64_t u = 0; u < w[2]; ++u) {
        const int64_t from = top + u * op.dilation[0];
        for (int64_t v = 0; v < w[3]; ++v, ++weight) {
          const int64_t left = v * op.dilation[1] - op.padding.left;  // column of x under j = 0
          const auto [first, last] = inside(width, x[3], left, op.stride[1]);
          if (from < 0 || from >= x[2] || first >= last) continue;
          accumulate(to + first, plane + from * x[3] + left + first * op.stride[1], last - first, op.stride[1],
                     *weight);
        }
      }
    }
    const float* residual = call.residual() ? call.residual() + row * width : nullptr;
    finish_channel(step.epilogue, o, to, residual, static_cast<size_t>(width));
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(conv_plain);

void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(conv_plain)(call);
}

bool supports(const Step& step) {
  return std::holds_alternative<Conv2d>(step.op);
}

double cost(const Step& step) {
  return 12.0 * static_cast<double>(step.macs);  // a 1×1 convolution is slower still
}

}  // namespace

constinit const Kernel kConvPlain{"conv-plain", Layout::plain, Layout::plain, supports, cost, pack_as_is, run};

}  // namespace reducenet
#endif
