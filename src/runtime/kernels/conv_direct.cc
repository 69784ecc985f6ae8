// y[o][i][j] = b[o] + Σ_{c,u,v} w[o][c][u][v] · x[c][i·sh − top + u·dh][j·sw − left + v·dw]
//
// One tile of accumulators holds up to kOutBlocks blocks of output channels × a run of pixels of one row; each x is
// broadcast against a vector of weights. Rows that padding reaches sideways are first copied between zeros into this
// thread's scratch; rows above and below the image are skipped. Weights that the second cache does not hold are read
// once: then the whole image is copied first, and every row meets one tile's weights before the next tile's.
#include <algorithm>
#include <array>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/conv_direct.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Blocks of output channels in a tile, and the runs of pixels that there is code for: as many accumulators as the
/// registers hold beside the weights and one broadcast (32 registers with AVX-512 and NEON, 16 otherwise).
inline constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64;
inline constexpr int64_t kOutBlocks = kVectors == 1 ? 2 : 1;
inline constexpr auto kRuns = [] {
  if constexpr (kVectors == 1) {
    return std::array{14, 11, 8, 7, 6, 4, 2, 1};
  } else if constexpr (kVectors == 2 || (kVectors == 4 && kManyRegisters)) {
    return std::array{6, 4, 2, 1};
  } else {
    return std::array{2, 1};
  }
}();

/// Where a tile reads: taps (row of channels, u, v, channel) at x + row·channel_stride + u·row_stride + v·tap_stride.
struct Taps {
  int64_t channel_rows, channels;  // rows of up to `block` channels; channels in all
  int64_t block;                   // 16, or 1 when x is plain
  int64_t first_u, last_u, kernel_h, kernel_w;
  int64_t channel_stride, row_stride, tap_stride, pixel_stride;
};

/// One tile: Blocks × Pixels vectors of outputs. `Stride` is taps.pixel_stride when known when compiled, 0 otherwise;
/// `Plain`: taps.block is 1, so that a row of channels is a channel.
template <size_t Blocks, size_t Pixels, int64_t Stride, bool Plain>
HWY_NOINLINE void tile(const Taps& taps, const float* HWY_RESTRICT x, const float* HWY_RESTRICT w, int64_t w_block,
                       const float* HWY_RESTRICT bias, const float* residual, float low, float high,
                       const float* slopes, float* HWY_RESTRICT y, int64_t y_block) {
  constexpr size_t kVecs = Blocks * kVectors;
  const Lanes d;
  const int64_t pixel = Stride ? Stride : taps.pixel_stride;
  Vector sum[kVecs][Pixels];
  unroll<kVecs>([&](auto v) HWY_ATTR {
    const auto b = hn::LoadU(d, bias + v * kLanes);
    unroll<Pixels>([&](auto p) HWY_ATTR { sum[v][p] = b; });
  });
  for (int64_t row = 0; row < taps.channel_rows; ++row) {
    const int64_t block = Plain ? 1 : taps.block, channels = Plain ? 1 : std::min(block, taps.channels - row * block);
    const float* row_w = w + row * block * taps.kernel_h * taps.kernel_w * kBlock;
    for (int64_t u = taps.first_u; u < taps.last_u; ++u) {
      const float* at = x + row * taps.channel_stride + u * taps.row_stride;
      const float* weights = row_w + u * taps.kernel_w * channels * kBlock;
      for (int64_t v = 0; v < taps.kernel_w; ++v, at += taps.tap_stride) {
        for (int64_t c = 0; c < channels; ++c, weights += kBlock) {
          Vector weight[kVecs];
          unroll<kVecs>([&](auto k) HWY_ATTR {
            weight[k] = hn::Load(d, weights + (k / kVectors) * w_block + (k % kVectors) * kLanes);
          });
          unroll<Pixels>([&](auto p) HWY_ATTR {
            const auto value = hn::Set(d, at[static_cast<int64_t>(p) * pixel + c]);
            unroll<kVecs>([&](auto k) HWY_ATTR { sum[k][p] = hn::MulAdd(weight[k], value, sum[k][p]); });
          });
        }
      }
    }
  }
  const auto store = [&](auto last) HWY_ATTR {
    unroll<kVecs>([&](auto k) HWY_ATTR {
      const int64_t at = (k / kVectors) * y_block + (k % kVectors) * kLanes;
      unroll<Pixels>([&](auto p) HWY_ATTR {
        auto value = sum[k][p];
        if (residual) value = hn::Add(value, hn::LoadU(d, residual + at + p * kBlock));
        hn::StoreU(last(k, value), d, y + at + p * kBlock);
      });
    });
  };
  if (slopes) return store([&](auto k, auto v) HWY_ATTR { return bent(v, hn::LoadU(d, slopes + k * kLanes)); });
  const auto least = hn::Set(d, low), most = hn::Set(d, high);
  store([&](auto, auto v) HWY_ATTR { return hn::Min(hn::Max(v, least), most); });
}

using Tile = void (*)(const Taps&, const float*, const float*, int64_t, const float*, const float*, float, float,
                      const float*, float*, int64_t);

template <size_t Blocks, int64_t Stride, bool Plain>
constexpr std::array<Tile, kRuns.size()> tiles() {
  return []<size_t... i>(std::index_sequence<i...>) {
    return std::array<Tile, kRuns.size()>{&tile<Blocks, static_cast<size_t>(kRuns[i]), Stride, Plain>...};
  }
  (std::make_index_sequence<kRuns.size()>());
}

template <size_t Blocks>
const std::array<Tile, kRuns.size()>& tiles_for(const Taps& taps) {
  static constexpr auto unit = tiles<Blocks, kBlock, false>(), two = tiles<Blocks, 2 * kBlock, false>();
  static constexpr auto plain_unit = tiles<Blocks, 1, true>(), plain_two = tiles<Blocks, 2, true>(),
                        plain_four = tiles<Blocks, 4, true>();
  static constexpr auto any = tiles<Blocks, 0, false>();
  if (taps.pixel_stride == taps.block) return taps.block == 1 ? plain_unit : unit;
  if (taps.pixel_stride == 2 * taps.block) return taps.block == 1 ? plain_two : two;
  if (taps.pixel_stride == 4 && taps.block == 1) return plain_four;
  return any;
}

/// Index in kRuns of the run that covers `width` pixels with the least work; the last tile may overlap the one before.
inline size_t best_run(int64_t width) {
  size_t best = kRuns.size() - 1;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < kRuns.size(); ++i) {
    if (kRuns[i] > width) continue;
    const int64_t work = ceil_div(width, kRuns[i]) * (kRuns[i] + 2);  // 2: loading the weights
    if (work < least) {
      least = work;
      best = i;
    }
  }
  return best;
}

/// Rows of pixels of x, `block` floats each: where they begin, or their copies between zeros. step.table: whether the
/// whole image is copied at once, and the blocks of outputs of a group.
class Lines {
 public:
  Lines(const Call& call, const Conv2d& op, int64_t block)
      : call_(call),
        op_(op),
        block_(block),
        height_(call.x()[2]),
        width_(call.x()[3]),
        line_((call.y()[3] - 1) * op.stride[1] + (call.step.weight_shape[3] - 1) * op.dilation[1] + 1),
        copied_(op.padding.left > 0 || line_ > width_),
        whole_(call.step.table[0] != 0) {}

  int64_t channel_stride() const {
    if (!copied_) return height_ * width_ * block_;
    return (whole_ ? height_ : call_.step.weight_shape[2]) * line_ * block_;
  }
  int64_t row_stride() const {
    if (!copied_) return op_.dilation[0] * width_ * block_;
    return (whole_ ? op_.dilation[0] : 1) * line_ * block_;
  }

  /// Before the rows of image n.
  void enter_image(int64_t n) const {
    if (!copied_ || !whole_) return;
    const int64_t rows = ceil_div(call_.x()[1], block_) * height_;
    for (int64_t row = 0; row < rows; ++row) {
      copy(call_.in() + (n * rows + row) * width_ * block_, call_.scratch + row * line_ * block_);
    }
  }

  /// Row u = 0 of channel row 0 for output row i of image n; only rows [first_u, last_u) may be read.
  const float* rows(int64_t n, int64_t i, int64_t first_u, int64_t last_u) const {
    const int64_t channel_rows = ceil_div(call_.x()[1], block_), top = i * op_.stride[0] - op_.padding.top;
    const float* image = call_.in() + n * channel_rows * height_ * width_ * block_;
    if (!copied_) return image + top * width_ * block_;
    if (whole_) return call_.scratch + top * line_ * block_;
    for (int64_t row = 0; row < channel_rows; ++row) {
      for (int64_t u = first_u; u < last_u; ++u) {
        copy(image + (row * height_ + top + u * op_.dilation[0]) * width_ * block_,
             call_.scratch + (row * call_.step.weight_shape[2] + u) * line_ * block_);
      }
    }
    return call_.scratch;
  }

 private:
  void copy(const float* from, float* line) const {
    const int64_t left = std::min(op_.padding.left, line_), inside = std::min(width_, line_ - left);
    std::fill_n(line, left * block_, 0.0f);
    std::copy_n(from, inside * block_, line + left * block_);
    std::fill_n(line + (left + inside) * block_, (line_ - left - inside) * block_, 0.0f);
  }

  const Call& call_;
  const Conv2d& op_;
  int64_t block_, height_, width_, line_;
  bool copied_, whole_;
};

HWY_NOINLINE void conv_direct(const Call& call, int64_t block) {
  const Step& step = call.step;
  const Conv2d& op = std::get<Conv2d>(step.op);
  const Shape &x = call.x(), &y = call.y(), &w = step.weight_shape;
  const int64_t width = y[3], y_block = y[2] * width * kBlock, w_block = w[1] * w[2] * w[3] * kBlock;
  const int64_t out_blocks = ceil_div(y[1], kBlock), per_group = step.table[1];
  const int64_t pairs = ceil_div(per_group, kOutBlocks);
  const Lines lines(call, op, block);
  Taps taps{.block = block, .kernel_h = w[2], .kernel_w = w[3]};
  taps.channel_stride = lines.channel_stride();
  taps.row_stride = lines.row_stride();
  taps.tap_stride = op.dilation[1] * block;
  taps.pixel_stride = op.stride[1] * block;

  const size_t run = best_run(width);
  const int64_t pixels = kRuns[run];
  const Tile two = tiles_for<kOutBlocks>(taps)[run], one = tiles_for<1>(taps)[run];
  const bool whole = step.table[0] != 0;
  const int64_t sets = op.groups * pairs;  // of weights
  const Call::Range items = call.share(y[0] * y[2] * sets);
  const float* rows = nullptr;
  for (int64_t item = items.first, image = -1, line = -1; item < items.last; ++item) {
    const int64_t n = item / (y[2] * sets), within = item % (y[2] * sets);
    const int64_t i = whole ? within % y[2] : within / sets, set = whole ? within / y[2] : within % sets;
    const int64_t group = set / pairs, pair = set % pairs;
    if (n != image) lines.enter_image(n);
    if (n != image || i != line) {
      const int64_t top = i * op.stride[0] - op.padding.top;
      taps.first_u = std::min(w[2], ceil_div(std::max<int64_t>(-top, 0), op.dilation[0]));
      taps.last_u = std::clamp(ceil_div(std::max<int64_t>(x[2] - top, 0), op.dilation[0]), taps.first_u, w[2]);
      rows = lines.rows(n, i, taps.first_u, taps.last_u);
    }
    image = n;
    line = i;
    const int64_t in_group = pair * kOutBlocks, o = group * per_group + in_group;
    const int64_t blocks = std::min({kOutBlocks, per_group - in_group, out_blocks - o});
    if (blocks <= 0) continue;  // of the last groups fewer may be joined
    taps.channels = std::min(w[1], x[1] - group * w[1]);
    taps.channel_rows = ceil_div(taps.channels, block);
    const float* from = rows + group * (w[1] / block) * taps.channel_stride;
    const int64_t at = ((n * out_blocks + o) * y[2] + i) * width * kBlock;
    const float* residual = call.residual() ? call.residual() + at : nullptr;
    float* to = call.out() + at;
    for (int64_t j = 0; j < width; j += pixels) {
      const int64_t first = std::min(j, width - pixels);
      (blocks == kOutBlocks ? two : one)(taps, from + first * taps.pixel_stride, step.packed.data() + o * w_block,
                                         w_block, step.packed_bias.data() + o * kBlock,
                                         residual ? residual + first * kBlock : nullptr, step.epilogue.low,
                                         step.epilogue.high, step.epilogue.slopes_of(o), to + first * kBlock, y_block);
    }
    for (int64_t b = 0; b < blocks; ++b) {
      finish_curve(step.epilogue, nullptr, to + b * y_block, static_cast<size_t>(width * kBlock));
    }
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(conv_direct);

template <int64_t Block>
void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(conv_direct)(call, Block);
}

/// How many neighbouring groups are computed as one, with zeros in between, so that their channels fill blocks: as few
/// as do, or all. The last of these may be fewer.
template <int64_t Block>
int64_t joined(const Step& step) {
  const int64_t groups = std::get<Conv2d>(step.op).groups, in = step.weight_shape[1];
  const int64_t out = step.weight_shape[0] / groups;
  for (int64_t k = 1; k < groups; ++k) {
    if (in * k % Block == 0 && out * k % kBlock == 0) return k;
  }
  return groups;
}

template <int64_t Block>
bool supports(const Step& step) {
  if (!std::holds_alternative<Conv2d>(step.op) || element_count(step.output.shape) == 0) return false;
  return Block == kBlock || joined<Block>(step) == 1;
}

/// Padded channels, and zeros between groups, are computed as well.
template <int64_t Block>
double cost(const Step& step) {
  const double full = static_cast<double>(round_up(step.weight_shape[0], kBlock)) / step.weight_shape[0];
  return static_cast<double>(step.macs) * full * static_cast<double>(joined<Block>(step));
}

void join_groups(Step& step, int64_t count) {
  if (count == 1) return;
  auto& op = std::get<Conv2d>(step.op);
  Shape& shape = step.weight_shape;
  const int64_t row = shape[1] * shape[2] * shape[3], out = shape[0] / op.groups;
  std::vector<double> weight(static_cast<size_t>(shape[0] * row * count));
  for (int64_t o = 0; o < shape[0]; ++o) {
    const int64_t group = o / out;
    std::copy_n(step.weight.begin() + o * row, row, weight.begin() + (o * count + group % count) * row);
  }
  step.weight = std::move(weight);
  shape[1] *= count;
  op.groups = ceil_div(op.groups, count);
}

/// [O/16][rows of channels][kh][kw][channels of the row][16]
template <int64_t Block>
void pack(Step& step) {
  const int64_t count = joined<Block>(step), groups = std::get<Conv2d>(step.op).groups;
  const int64_t of_group = step.weight_shape[0] / groups * count;  // outputs of those that are computed as one
  join_groups(step, count);
  const Conv2d& op = std::get<Conv2d>(step.op);
  const int64_t outputs = step.weight_shape[0], inputs = step.weight_shape[1];
  const int64_t taps = step.weight_shape[2] * step.weight_shape[3], padded = round_up(outputs, kBlock);
  step.packed.assign(static_cast<size_t>(padded * inputs * taps), 0.0f);
  for (int64_t o = 0; o < outputs; ++o) {
    const int64_t there = std::min(inputs, step.inputs[0].shape[1] - o / of_group * inputs);
    for (int64_t c = 0; c < there; ++c) {
      const int64_t row = c / Block, channels = std::min(Block, there - row * Block);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t at = o / kBlock * inputs * taps + row * Block * taps + tap * channels + c % Block;
        step.packed[static_cast<size_t>(at * kBlock + o % kBlock)] =
            static_cast<float>(step.weight[static_cast<size_t>((o * inputs + c) * taps + tap)]);
      }
    }
  }
  pack_bias(step, padded);
  const int64_t line = (step.output.shape[3] - 1) * op.stride[1] + (step.weight_shape[3] - 1) * op.dilation[1] + 1;
  constexpr int64_t kSecondCache = 1 << 18;  // floats that leave room for other things
  const Shape& x = step.inputs[0].shape;
  const int64_t image = round_up(x[1], Block) * x[2] * line;
  const bool whole = static_cast<int64_t>(step.packed.size()) > kSecondCache && image < kSecondCache;
  step.table = {whole, ceil_div(of_group, kBlock)};
  step.scratch = whole ? image : round_up(x[1], Block) * step.weight_shape[2] * line;
}

}  // namespace

constinit const Kernel kConvDirect{"conv-direct", Layout::blocked, Layout::blocked, supports<kBlock>,
                                   cost<kBlock>,  pack<kBlock>,    run<kBlock>};
constinit const Kernel kConvFirst{"conv-first", Layout::plain, Layout::blocked, supports<1>, cost<1>, pack<1>, run<1>};

}  // namespace reducenet
#endif
