// y[c][i][j] = b[c] + Σ_{u,v} w[c][u][v] · x[c][i·sh − top + u·dh][j·sw − left + v·dw]
//
// One block of channels at a time; runs of pixels where no tap is clipped sideways share the load of each weight.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/depthwise.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Taps that lie inside the image, and where the first row and column of x stand.
struct Window {
  int64_t first_u, last_u, first_v, last_v, kernel_w, row_stride, tap_stride, pixel_stride;
};

template <size_t Pixels>
HWY_INLINE void depthwise_run(const Window& t, const float* HWY_RESTRICT x, const float* HWY_RESTRICT w,
                              const float* HWY_RESTRICT bias, const float* residual, const Epilogue& epilogue,
                              float* HWY_RESTRICT y) {
  const Lanes d;
  for (size_t lane = 0; lane < kBlock; lane += kLanes) {
    Vector sum[Pixels];
    unroll<Pixels>([&](auto p) HWY_ATTR { sum[p] = hn::LoadU(d, bias + lane); });
    for (int64_t u = t.first_u; u < t.last_u; ++u) {
      for (int64_t v = t.first_v; v < t.last_v; ++v) {
        const auto weight = hn::LoadU(d, w + (u * t.kernel_w + v) * kBlock + lane);
        const float* at = x + u * t.row_stride + v * t.tap_stride + static_cast<int64_t>(lane);
        unroll<Pixels>([&](auto p) HWY_ATTR {
          sum[p] = hn::MulAdd(weight, hn::LoadU(d, at + static_cast<int64_t>(p) * t.pixel_stride), sum[p]);
        });
      }
    }
    unroll<Pixels>([&](auto p) HWY_ATTR {
      const size_t at = p * kBlock + lane;
      if (residual) sum[p] = hn::Add(sum[p], hn::LoadU(d, residual + at));
      hn::StoreU(hn::Min(hn::Max(sum[p], hn::Set(d, epilogue.low)), hn::Set(d, epilogue.high)), d, y + at);
    });
  }
}

void depthwise(const Call& call) {
  constexpr int64_t kRun = 4;
  const Step& step = call.step;
  const Conv2d& op = std::get<Conv2d>(step.op);
  const Shape &x = call.x(), &y = call.y();
  const int64_t kh = step.weight_shape[2], kw = step.weight_shape[3], width = y[3], blocks = ceil_div(y[1], kBlock);
  Window t{.kernel_w = kw};
  t.row_stride = op.dilation[0] * x[3] * kBlock;
  t.tap_stride = op.dilation[1] * kBlock;
  t.pixel_stride = op.stride[1] * kBlock;
  const Call::Range rows = call.share(y[0] * blocks * y[2]);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const int64_t i = row % y[2], plane = row / y[2], block = plane % blocks;
    const int64_t top = i * op.stride[0] - op.padding.top;
    t.first_u = std::min(kh, ceil_div(std::max<int64_t>(-top, 0), op.dilation[0]));
    t.last_u = std::clamp(ceil_div(std::max<int64_t>(x[2] - top, 0), op.dilation[0]), t.first_u, kh);
    const float* image = call.in() + (plane * x[2] + top) * x[3] * kBlock;
    const float* weight = step.packed.data() + block * kh * kw * kBlock;
    const float* bias = step.packed_bias.data() + block * kBlock;
    float* to = call.out() + row * width * kBlock;
    const float* residual = call.residual() ? call.residual() + row * width * kBlock : nullptr;
    for (int64_t j = 0; j < width;) {
      const int64_t left = j * op.stride[1] - op.padding.left;
      const int64_t end = left + (kRun - 1) * op.stride[1] + (kw - 1) * op.dilation[1];  // last column of a run
      const bool whole = left >= 0 && end < x[3] && j + kRun <= width;
      t.first_v = std::min(kw, ceil_div(std::max<int64_t>(-left, 0), op.dilation[1]));
      t.last_v = std::clamp(ceil_div(std::max<int64_t>(x[3] - left, 0), op.dilation[1]), t.first_v, kw);
      (whole ? depthwise_run<kRun> : depthwise_run<1>)(t, image + left * kBlock, weight, bias,
                                                       residual ? residual + j * kBlock : nullptr, step.epilogue,
                                                       to + j * kBlock);
      j += whole ? kRun : 1;
    }
    finish_curve(step.epilogue, to, static_cast<size_t>(width * kBlock));
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(depthwise);

void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(depthwise)(call);
}

bool supports(const Step& step) {
  const auto* op = std::get_if<Conv2d>(&step.op);
  return op && step.weight_shape[1] == 1 && op->groups == step.weight_shape[0];
}

double cost(const Step& step) {
  return 2.0 * static_cast<double>(step.macs);
}

/// [C/16][kh][kw][16]
void pack(Step& step) {
  const int64_t channels = step.weight_shape[0], taps = step.weight_shape[2] * step.weight_shape[3];
  const int64_t padded = round_up(channels, kBlock);
  step.packed.assign(static_cast<size_t>(padded * taps), 0.0f);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      step.packed[static_cast<size_t>((c / kBlock * taps + tap) * kBlock + c % kBlock)] =
          static_cast<float>(step.weight[static_cast<size_t>(c * taps + tap)]);
    }
  }
  pack_bias(step, padded);
}

}  // namespace

constinit const Kernel kDepthwise{"depthwise", Layout::blocked, Layout::blocked, supports, cost, pack, run};

}  // namespace reducenet
#endif
