// y[o][p] = b[o] + Σ_c w[o][c] · x[c][p]: a 1×1 convolution, as a matrix product.
//
// Runs of pixels (of all images, one after the other; with a stride, within their row) are taken many at a time; for
// each one or two blocks of output channels and each stretch of input channels, whose weights then stay in the first
// cache, every run adds its products to what y has so far. So the weights come from memory once, however small the
// image.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/pointwise.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/product-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Input channels in a stretch, runs taken at a time, and how many a thread must have to have pixels of its own.
inline constexpr int64_t kStretch = 192, kRunsAtOnce = 32, kFewRuns = 4;

/// One run, one stretch: `first` begins with the bias, `last` ends with residual and clamp.
template <size_t Blocks, size_t Pixels>
HWY_NOINLINE void pointwise_run(const float* HWY_RESTRICT x, int64_t x_block, int64_t x_pixel,
                                const float* HWY_RESTRICT w, int64_t w_block, int64_t channels, Ahead ahead,
                                const float* HWY_RESTRICT bias, bool first, const float* residual, const Epilogue* last,
                                const float* slopes, float* HWY_RESTRICT y, int64_t y_block) {
  const Lanes d;
  constexpr size_t kVecs = Blocks * kVectors;
  const auto at = [&](size_t k, size_t p) HWY_ATTR {
    return static_cast<int64_t>(k / kVectors) * y_block + static_cast<int64_t>((k % kVectors) * kLanes + p * kBlock);
  };
  Vector sum[kVecs][Pixels];
  unroll<kVecs>([&](auto k) HWY_ATTR {
    unroll<Pixels>([&](auto p) HWY_ATTR { sum[k][p] = hn::Load(d, first ? bias + k * kLanes : y + at(k, p)); });
  });
  if (x_pixel == kBlock) {  // a constant: addresses take no registers
    add_products<Blocks, Pixels>(x, x_block, kBlock, w, w_block, channels, ahead, sum);
  } else {
    add_products<Blocks, Pixels>(x, x_block, x_pixel, w, w_block, channels, ahead, sum);
  }
  const auto low = hn::Set(d, last ? last->low : -std::numeric_limits<float>::infinity());
  const auto high = hn::Set(d, last ? last->high : std::numeric_limits<float>::infinity());
  unroll<kVecs>([&](auto k) HWY_ATTR {
    unroll<Pixels>([&](auto p) HWY_ATTR {
      auto value = sum[k][p];
      if (last && residual) value = hn::Add(value, hn::Load(d, residual + at(k, p)));
      hn::Store(hn::Min(hn::Max(value, low), high), d, y + at(k, p));
    });
  });
  if (last && last->bends()) {
    for (size_t b = 0; b < Blocks; ++b) {
      finish_curve(*last, slopes ? slopes + b * kBlock : nullptr, y + static_cast<int64_t>(b) * y_block,
                   Pixels * kBlock);
    }
  }
}

using Run = void (*)(const float*, int64_t, int64_t, const float*, int64_t, int64_t, Ahead, const float*, bool,
                     const float*, const Epilogue*, const float*, float*, int64_t);
template <size_t Blocks>
inline constexpr auto kRun = []<size_t... i>(std::index_sequence<i...>) {
  return std::array<Run, kMostPixels>{&pointwise_run<Blocks, i + 1>...};
}
(std::make_index_sequence<kMostPixels>());

void pointwise(const Call& call) {
  const Step& step = call.step;
  const auto [row_step, pixel_step] = std::get<Conv2d>(step.op).stride;
  const int64_t images = call.x()[0], channels = call.x()[1], in_plane = call.x()[2] * call.x()[3];
  const int64_t plane = call.y()[2] * call.y()[3];
  // Neighbours in y are neighbours in x along a line.
  const int64_t line = row_step == 1 && pixel_step == 1 ? plane : call.y()[3];
  const int64_t in_blocks = ceil_div(channels, kBlock), out_blocks = ceil_div(call.y()[1], kBlock);
  const int64_t pairs = ceil_div(out_blocks, kOutBlocks), w_block = channels * kBlock;
  const int64_t runs_a_line = ceil_div(line, static_cast<int64_t>(kMostPixels));
  const int64_t runs_each = plane / line * runs_a_line, runs = images * runs_each;
  // Threads divide the pixels where there are enough, so that what one reads and writes stays with it in the layers
  // around.
  const bool by_pixels = runs >= kFewRuns * call.parts;
  const int64_t chunks = even_blocks(runs, std::min(kRunsAtOnce, by_pixels ? ceil_div(runs, call.parts) : runs),
                                     by_pixels ? 1 : pairs, call.parts);
  const Call::Range items = call.share(chunks * pairs);
  for (int64_t item = items.first; item < items.last; ++item) {
    const int64_t chunk = item / pairs, first_run = runs * chunk / chunks, last_run = runs * (chunk + 1) / chunks;
    const int64_t o = item % pairs * kOutBlocks, blocks = std::min(kOutBlocks, out_blocks - o);
    for (int64_t c = 0; c < channels; c += kStretch) {
      const int64_t many = std::min(kStretch, channels - c);
      const float* w = step.packed.data() + o * w_block + c * kBlock;
      // What is multiplied next is fetched meanwhile, each run its share.
      const float* next = c + many < channels ? w + many * kBlock : step.packed.data() + (o + blocks) * w_block;
      for (int64_t run = first_run; run < last_run; ++run) {
        const int64_t image = run / runs_each, row = run % runs_each / runs_a_line, within = run % runs_a_line;
        const int64_t from = line * within / runs_a_line, to = line * (within + 1) / runs_a_line;
        const int64_t pixel = row * row_step * call.x()[3] + from * pixel_step;
        const float* x = call.in() + ((image * in_blocks + c / kBlock) * in_plane + pixel) * kBlock;
        const int64_t at = ((image * out_blocks + o) * plane + row * line + from) * kBlock;
        const size_t index = static_cast<size_t>(to - from - 1);
        const int64_t together = last_run - first_run, skip = many * kBlock * (run - first_run) / together;
        const Ahead ahead{next + skip, next + skip + (blocks - 1) * w_block, ceil_div(kBlock, together)};
        (blocks == 2 ? kRun<kOutBlocks>[index] : kRun<1>[index])(
            x, in_plane * kBlock, pixel_step * kBlock, w, w_block, many, ahead, step.packed_bias.data() + o * kBlock,
            c == 0, call.residual() ? call.residual() + at : nullptr, c + many == channels ? &step.epilogue : nullptr,
            step.epilogue.slopes_of(o), call.out() + at, plane * kBlock);
      }
    }
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(pointwise);

void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(pointwise)(call);
}

bool supports(const Step& step) {
  const auto* op = std::get_if<Conv2d>(&step.op);
  const Shape& w = step.weight_shape;
  return op && op->groups == 1 && w[2] == 1 && w[3] == 1 && op->padding == Padding{} &&
         element_count(step.output.shape) > 0;
}

/// Padded channels are computed as well; slightly better than conv-direct, whose tiles end with the row.
double cost(const Step& step) {
  const double full = static_cast<double>(round_up(step.weight_shape[0], kBlock)) / step.weight_shape[0];
  return 0.95 * static_cast<double>(step.macs) * full;
}

/// [O/16][C][16]
void pack(Step& step) {
  const int64_t outputs = step.weight_shape[0], inputs = step.weight_shape[1], padded = round_up(outputs, kBlock);
  step.packed.assign(static_cast<size_t>(padded * inputs), 0.0f);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t c = 0; c < inputs; ++c) {
      step.packed[static_cast<size_t>((o / kBlock * inputs + c) * kBlock + o % kBlock)] =
          static_cast<float>(step.weight[static_cast<size_t>(o * inputs + c)]);
    }
  }
  pack_bias(step, padded);
}

}  // namespace

constinit const Kernel kPointwise{"pointwise", Layout::blocked, Layout::blocked, supports, cost, pack, run};

}  // namespace reducenet
#endif
