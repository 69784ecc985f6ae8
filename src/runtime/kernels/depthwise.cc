// y[c][i][j] = b[c] + Σ_{u,v} w[c][u][v] · x[c][i·sh − top + u·dh][j·sw − left + v·dw]
//
// One block of channels at a time. Runs of pixels share the load of each weight and, where the kernel's width and
// stride are known when compiled, each x meets all its taps once loaded; there the runs at the border just leave out
// the columns that lie outside the image, elsewhere pixels with clipped taps are computed one by one.
#include <algorithm>
#include <array>
#include <limits>
#include <utility>

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
HWY_NOINLINE void depthwise_run(const Window& t, const float* HWY_RESTRICT x, const float* HWY_RESTRICT w,
                                const float* HWY_RESTRICT bias, const float* residual, const Epilogue& epilogue,
                                float* HWY_RESTRICT y) {
  const Lanes d;
  for (size_t lane = 0; lane < kBlock; lane += kLanes) {
    Vector sum[2][Pixels];  // of even and of odd rows: a single pixel would wait for its own last sum
    unroll<Pixels>([&](auto p) HWY_ATTR {
      sum[0][p] = hn::LoadU(d, bias + lane);
      sum[1][p] = hn::Zero(d);
    });
    for (int64_t u = t.first_u; u < t.last_u; ++u) {
      for (int64_t v = t.first_v; v < t.last_v; ++v) {
        const auto weight = hn::LoadU(d, w + (u * t.kernel_w + v) * kBlock + lane);
        const float* at = x + u * t.row_stride + v * t.tap_stride + static_cast<int64_t>(lane);
        unroll<Pixels>([&](auto p) HWY_ATTR {
          sum[0][p] = hn::MulAdd(weight, hn::LoadU(d, at + static_cast<int64_t>(p) * t.pixel_stride), sum[0][p]);
        });
      }
      unroll<Pixels>([&](auto p) HWY_ATTR { std::swap(sum[0][p], sum[1][p]); });
    }
    unroll<Pixels>([&](auto p) HWY_ATTR {
      const size_t at = p * kBlock + lane;
      auto value = hn::Add(sum[0][p], sum[1][p]);
      if (residual) value = hn::Add(value, hn::LoadU(d, residual + at));
      hn::StoreU(hn::Min(hn::Max(value, hn::Set(d, epilogue.low)), hn::Set(d, epilogue.high)), d, y + at);
    });
  }
}

/// The same for kernels of width K and pixel stride S without dilation: column c of x meets tap v of pixel p where
/// p·S + v = c. `Clipped`: only columns [first_v, last_v) lie inside the image.
template <size_t Pixels, size_t K, size_t S, bool Clipped>
HWY_NOINLINE void depthwise_whole(const Window& t, const float* HWY_RESTRICT x, const float* HWY_RESTRICT w,
                                  const float* HWY_RESTRICT bias, const float* residual, const Epilogue& epilogue,
                                  float* HWY_RESTRICT y) {
  const Lanes d;
  for (size_t lane = 0; lane < kBlock; lane += kLanes) {
    Vector sum[Pixels];
    unroll<Pixels>([&](auto p) HWY_ATTR { sum[p] = hn::LoadU(d, bias + lane); });
    for (int64_t u = t.first_u; u < t.last_u; ++u) {
      Vector weight[K];
      unroll<K>([&](auto v)
                    HWY_ATTR { weight[v] = hn::Load(d, w + (static_cast<size_t>(u) * K + v) * kBlock + lane); });
      const float* at = x + u * t.row_stride + static_cast<int64_t>(lane);
      unroll<(Pixels - 1) * S + K>([&](auto c) HWY_ATTR {
        if (Clipped && (static_cast<int64_t>(c) < t.first_v || static_cast<int64_t>(c) >= t.last_v)) return;
        const auto value = hn::Load(d, at + c * kBlock);
        unroll<Pixels>([&](auto p) HWY_ATTR {
          if constexpr (c >= p * S && c < p * S + K) sum[p] = hn::MulAdd(weight[c - p * S], value, sum[p]);
        });
      });
    }
    unroll<Pixels>([&](auto p) HWY_ATTR {
      const size_t at = p * kBlock + lane;
      if (residual) sum[p] = hn::Add(sum[p], hn::LoadU(d, residual + at));
      hn::StoreU(hn::Min(hn::Max(sum[p], hn::Set(d, epilogue.low)), hn::Set(d, epilogue.high)), d, y + at);
    });
  }
}

using Run = void (*)(const Window&, const float*, const float*, const float*, const float*, const Epilogue&, float*);
/// Pixels in a run where taps may be clipped neither way, and in the runs of known kernels.
inline constexpr int64_t kLong = kVectors == 1 ? 8 : 4, kShort = kVectors == 1 ? 3 : 2;
inline constexpr auto kWholeRuns =
    kVectors == 1 ? std::array<int64_t, 4>{8, 7, 4, 3} : std::array<int64_t, 4>{4, 3, 2, 1};
struct Whole {
  Run inside, clipped;
};
template <size_t K, size_t S>
inline constexpr auto kWhole = []<size_t... i>(std::index_sequence<i...>) {
  return std::array<Whole, kWholeRuns.size()>{
      Whole{&depthwise_whole<static_cast<size_t>(kWholeRuns[i]), K, S, false>,
            &depthwise_whole<static_cast<size_t>(kWholeRuns[i]), K, S, true>}...};
}
(std::make_index_sequence<kWholeRuns.size()>());

/// Code for a kernel's width and stride; nullptr: there is none, nor for images narrower than a run.
const std::array<Whole, kWholeRuns.size()>* whole_for(int64_t kernel_w, const Conv2d& op) {
  const auto is = [&](int64_t k, int64_t s) { return kernel_w == k && op.stride[1] == s && op.dilation[1] == 1; };
  if (is(3, 1)) return &kWhole<3, 1>;
  if (is(3, 2)) return &kWhole<3, 2>;
  if (is(5, 1)) return &kWhole<5, 1>;
  if (is(5, 2)) return &kWhole<5, 2>;
  if (is(7, 1)) return &kWhole<7, 1>;
  if (is(7, 2)) return &kWhole<7, 2>;
  return nullptr;
}

/// Index in kWholeRuns of the run that covers `width` pixels with the least work; the last may overlap the one before.
size_t best_whole(int64_t width) {
  size_t best = kWholeRuns.size();
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < kWholeRuns.size(); ++i) {
    const int64_t work = ceil_div(width, kWholeRuns[i]) * (kWholeRuns[i] + 1);  // 1: loading the weights
    if (kWholeRuns[i] > width || work >= least) continue;
    least = work;
    best = i;
  }
  return best;
}

void depthwise(const Call& call) {
  const Step& step = call.step;
  const Conv2d& op = std::get<Conv2d>(step.op);
  const Shape &x = call.x(), &y = call.y();
  const int64_t kh = step.weight_shape[2], kw = step.weight_shape[3], width = y[3], blocks = ceil_div(y[1], kBlock);
  Window t{.kernel_w = kw};
  t.row_stride = op.dilation[0] * x[3] * kBlock;
  t.tap_stride = op.dilation[1] * kBlock;
  t.pixel_stride = op.stride[1] * kBlock;
  const size_t best = best_whole(width);
  const auto* known = best < kWholeRuns.size() ? whole_for(kw, op) : nullptr;
  // A thread takes the same rows of every channel where that shares out evenly, so that what it reads and writes stays
  // with it in the layers around; otherwise its share of the channels.
  constexpr int64_t kFewRows = 12;
  const bool by_rows = y[0] == 1 && (y[2] % call.parts == 0 || y[2] >= kFewRows * call.parts);
  const Call::Range band = by_rows ? call.share(y[2]) : Call::Range{0, y[2]};
  const Call::Range planes = by_rows ? Call::Range{0, blocks} : call.share(y[0] * blocks);
  const int64_t height = band.last - band.first;
  for (int64_t item = planes.first * height; item < planes.last * height; ++item) {
    const int64_t plane = item / height, i = band.first + item % height, block = plane % blocks, row = plane * y[2] + i;
    const int64_t top = i * op.stride[0] - op.padding.top;
    t.first_u = std::min(kh, ceil_div(std::max<int64_t>(-top, 0), op.dilation[0]));
    t.last_u = std::clamp(ceil_div(std::max<int64_t>(x[2] - top, 0), op.dilation[0]), t.first_u, kh);
    const float* image = call.in() + (plane * x[2] + top) * x[3] * kBlock;
    const float* weight = step.packed.data() + block * kh * kw * kBlock;
    const float* bias = step.packed_bias.data() + block * kBlock;
    float* to = call.out() + row * width * kBlock;
    const float* residual = call.residual() ? call.residual() + row * width * kBlock : nullptr;
    const auto at = [&](Run run, int64_t j) {
      const int64_t left = j * op.stride[1] - op.padding.left;
      t.first_v = std::min(kw, ceil_div(std::max<int64_t>(-left, 0), op.dilation[1]));
      t.last_v = std::clamp(ceil_div(std::max<int64_t>(x[3] - left, 0), op.dilation[1]), t.first_v, kw);
      run(t, image + left * kBlock, weight, bias, residual ? residual + j * kBlock : nullptr, step.epilogue,
          to + j * kBlock);
    };
    if (known) {
      const int64_t pixels = kWholeRuns[best], columns = (pixels - 1) * op.stride[1] + kw;
      for (int64_t j = 0; j < width; j += pixels) {
        const int64_t at = std::min(j, width - pixels), left = at * op.stride[1] - op.padding.left;
        t.first_v = std::max<int64_t>(-left, 0);
        t.last_v = std::min(columns, x[3] - left);
        const bool clipped = t.first_v > 0 || t.last_v < columns;
        (clipped ? (*known)[best].clipped : (*known)[best].inside)(t, image + left * kBlock, weight, bias,
                                                                   residual ? residual + at * kBlock : nullptr,
                                                                   step.epilogue, to + at * kBlock);
      }
      finish_curve(step.epilogue, step.epilogue.slopes_of(block), to, static_cast<size_t>(width * kBlock));
      continue;
    }
    // Pixels [first, last) have all their taps; a run that would pass the last one begins earlier instead.
    const int64_t first = std::min(width, ceil_div(op.padding.left, op.stride[1]));
    const int64_t reach = x[3] + op.padding.left - (kw - 1) * op.dilation[1];  // first column past all windows' starts
    const int64_t last = std::clamp(ceil_div(std::max<int64_t>(reach, 0), op.stride[1]), first, width);
    const int64_t many = last - first >= kLong ? kLong : last - first >= kShort ? kShort : 1;
    const Run run = many == kLong ? depthwise_run<kLong> : many == kShort ? depthwise_run<kShort> : depthwise_run<1>;
    for (int64_t j = 0; j < first; ++j) at(depthwise_run<1>, j);
    for (int64_t j = first; j < last; j += many) at(run, std::min(j, last - many));
    for (int64_t j = last; j < width; ++j) at(depthwise_run<1>, j);
    finish_curve(step.epilogue, step.epilogue.slopes_of(block), to, static_cast<size_t>(width * kBlock));
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
