// y[o][i·sh − top + u·dh][j·sw − left + v·dw] += w[c][o][u][v] · x[c][i][j], starting from b[o]
//
// Read backwards, one row of one output channel at a time: the taps u for which a row of x lands on it.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/conv_transpose.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

void conv_transpose(const Call& call) {
  const Step& step = call.step;
  const ConvTranspose2d& op = std::get<ConvTranspose2d>(step.op);
  const Shape &x = call.x(), &y = call.y(), &w = step.weight_shape;
  const int64_t per_group = x[1] / op.groups, width = y[3], kh = w[2], kw = w[3];
  const Call::Range rows = call.share(y[0] * y[1] * y[2]);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const int64_t at = row % y[2], o = row / y[2] % y[1], n = row / (y[1] * y[2]), group = o / w[1];
    float* to = call.out() + row * width;
    std::fill_n(to, width, step.packed_bias[static_cast<size_t>(o)]);
    for (int64_t c = group * per_group; c < (group + 1) * per_group; ++c) {
      for (int64_t u = 0; u < kh; ++u) {
        const int64_t above = at + op.padding.top - u * op.dilation[0], i = above / op.stride[0];
        if (above < 0 || above % op.stride[0] != 0 || i >= x[2]) continue;
        const float* from = call.in() + ((n * x[1] + c) * x[2] + i) * x[3];
        const float* weight = step.packed.data() + ((c * w[1] + o % w[1]) * kh + u) * kw;
        for (int64_t v = 0; v < kw; ++v) {
          const int64_t left = v * op.dilation[1] - op.padding.left;  // column of y that j = 0 lands on
          const auto [first, last] = inside(x[3], width, left, op.stride[1]);
          for (int64_t j = first; j < last; ++j) to[left + j * op.stride[1]] += weight[v] * from[j];
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

HWY_EXPORT(conv_transpose);

void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(conv_transpose)(call);
}

bool supports(const Step& step) {
  return std::holds_alternative<ConvTranspose2d>(step.op);
}

double cost(const Step& step) {
  return 16.0 * static_cast<double>(step.macs);
}

}  // namespace

constinit const Kernel kConvTranspose{"conv-transpose", Layout::plain, Layout::plain, supports, cost, pack_as_is, run};

}  // namespace reducenet
#endif
