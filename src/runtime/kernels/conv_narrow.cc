// y[o][i][j] = b[o] + Σ_{c,u,v} w[o][c][u][v] · x[c][i·sh − top + u·dh][j·sw − left + v·dw] in 8 or 16 bits (see
// narrow.h).
//
// Each part copies the rows that it needs between rows and columns of zeros (of the number that stands for zero) into
// its scratch, where there is padding; then tiles of up to 2 × 16 output channels × a run of pixels.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "fades/fades.h"
#include "reducenet/quantize.h"
#include "runtime/kernels/narrow.h"
#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

using narrow::Store;

constexpr int64_t size_of(Layout layout) {
  return layout == Layout::bytes ? 1 : layout == Layout::halves ? 2 : 4;
}
constexpr Store store_of(Layout layout) {
  return layout == Layout::bytes ? Store::bytes : layout == Layout::halves ? Store::halves : Store::floats;
}

/// What the rows of one part look like in its scratch.
struct Window {
  Window(const Step& step, int64_t out_rows) : out_rows(out_rows) {
    const Conv2d& op = std::get<Conv2d>(step.op);
    rows = (out_rows - 1) * op.stride[0] + (step.weight_shape[2] - 1) * op.dilation[0] + 1;
    columns = (step.output.shape[3] - 1) * op.stride[1] + (step.weight_shape[3] - 1) * op.dilation[1] + 1;
    const Shape& x = step.inputs[0].shape;
    copied = op.padding.left > 0 || columns > x[3] || op.padding.top > 0 || op.padding.bottom > 0;
  }
  int64_t out_rows, rows, columns;
  bool copied;
};

/// Rows top … top + window.rows of image n, every block of channels, between zeros.
void copy_window(const Call& call, int64_t n, int64_t top, const Window& window, int64_t pixel, uint8_t zero,
                 uint8_t* to) {
  const Shape& x = call.x();
  const Conv2d& op = std::get<Conv2d>(call.step.op);
  const int64_t blocks = ceil_div(x[1], kBlock), left = std::min(op.padding.left, window.columns);
  const int64_t inside = std::min(x[3], window.columns - left);
  const auto* image = reinterpret_cast<const uint8_t*>(call.in()) + n * blocks * x[2] * x[3] * pixel;
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t row = top; row < top + window.rows; ++row, to += window.columns * pixel) {
      if (row < 0 || row >= x[2]) {
        std::memset(to, zero, static_cast<size_t>(window.columns * pixel));
        continue;
      }
      const auto fill = [&](int64_t from, int64_t count) {
        std::memset(to + from * pixel, zero, static_cast<size_t>(count * pixel));
      };
      fill(0, left);
      std::memcpy(to + left * pixel, image + (block * x[2] + row) * x[3] * pixel, static_cast<size_t>(inside * pixel));
      fill(left + inside, window.columns - left - inside);
    }
  }
}

void bend(const Epilogue& epilogue, float* row, int64_t count) {
  if (!epilogue.curve) return;
  for (int64_t i = 0; i < count; ++i) {
    if (const auto* activation = std::get_if<Activation>(&*epilogue.curve)) {
      row[i] = static_cast<float>(apply(*activation, row[i]));
    } else {
      row[i] = static_cast<float>(apply(std::get<Fade>(*epilogue.curve), row[i]));
    }
  }
}

/// The run of at most kMostPixels pixels that covers a row with the least work; the last tile may overlap the one
/// before.
int64_t best_run(int64_t width) {
  int64_t best = 1, least = width * 4;
  for (int64_t run = 2; run <= std::min(width, narrow::kMostPixels); ++run) {
    const int64_t work = ceil_div(width, run) * (run + 3);
    if (work <= least) {
      best = run;
      least = work;
    }
  }
  return best;
}

template <Layout In, Layout Out>
void run(const Call& call) noexcept {
  static const narrow::Run fast = In == Layout::bytes ? narrow::bytes_avx512() : narrow::halves_avx512();
  const narrow::Run run_tile = fast ? fast : In == Layout::bytes ? narrow::bytes_plain : narrow::halves_plain;
  const Step& step = call.step;
  const Conv2d& op = std::get<Conv2d>(step.op);
  const Shape &x = call.x(), &y = call.y(), &w = step.weight_shape;
  constexpr int64_t kPixel = kBlock * size_of(In), kOutPixel = kBlock * size_of(Out), kPerWord = 4 / size_of(In);
  const int64_t blocks = ceil_div(x[1], kBlock), out_blocks = ceil_div(y[1], kBlock);
  const int64_t plane = y[2] * y[3] * kOutPixel, padded = out_blocks * kBlock, pixels = best_run(y[3]);

  narrow::Tile tile{};
  tile.rows = blocks;
  tile.words = kBlock / kPerWord;
  tile.last_words = ceil_div(x[1] - (blocks - 1) * kBlock, kPerWord);
  tile.kernel_h = w[2];
  tile.kernel_w = w[3];
  tile.w_block = ((blocks - 1) * tile.words + tile.last_words) * w[2] * w[3] * 64;
  tile.x_tap = op.dilation[1] * kPixel;
  tile.x_pixel = op.stride[1] * kPixel;
  tile.y_block = plane;
  tile.low = step.epilogue.low;
  tile.high = step.epilogue.high;
  tile.out = step.out_affine;
  tile.residual_as = step.residual_affine;
  tile.store = store_of(Out);
  const auto* weights = reinterpret_cast<const uint8_t*>(step.packed.data());
  const auto* residual = reinterpret_cast<const uint8_t*>(call.residual());
  auto* out = reinterpret_cast<uint8_t*>(call.out());

  const Call::Range rows = call.share(y[0] * y[2]);
  for (int64_t first = rows.first; first < rows.last;) {
    const int64_t n = first / y[2], i0 = first % y[2], i1 = std::min(y[2], i0 + rows.last - first);
    first += i1 - i0;
    const Window window(step, i1 - i0);
    const int64_t top = i0 * op.stride[0] - op.padding.top;
    const uint8_t* from;
    if (window.copied) {
      auto* const scratch = reinterpret_cast<uint8_t*>(call.scratch);
      copy_window(call, n, top, window, kPixel, static_cast<uint8_t>(step.in_affine.zero), scratch);
      from = scratch;
      tile.x_plane = window.rows * window.columns * kPixel;
      tile.x_row = op.dilation[0] * window.columns * kPixel;
    } else {
      from = reinterpret_cast<const uint8_t*>(call.in()) + (n * blocks * x[2] + top) * x[3] * kPixel;
      tile.x_plane = x[2] * x[3] * kPixel;
      tile.x_row = op.dilation[0] * x[3] * kPixel;
    }
    const int64_t line = op.stride[0] * (window.copied ? window.columns : x[3]) * kPixel;
    for (int64_t o = 0; o < out_blocks; o += narrow::kMostBlocks) {
      const int64_t together = std::min(narrow::kMostBlocks, out_blocks - o);
      tile.w = weights + o * tile.w_block;
      tile.bias = step.packed_bias.data() + o * kBlock;
      tile.scale = tile.bias + padded;
      for (int64_t i = i0; i < i1; ++i) {
        const int64_t at = (n * out_blocks + o) * plane + i * y[3] * kOutPixel;
        for (int64_t j = 0; j < y[3]; j += pixels) {
          const int64_t start = std::min(j, y[3] - pixels);
          tile.x = from + (i - i0) * line + start * tile.x_pixel;
          tile.y = out + at + start * kOutPixel;
          tile.residual = residual ? residual + at + start * kOutPixel : nullptr;
          run_tile(tile, pixels, together);
        }
        if constexpr (Out == Layout::blocked) {
          for (int64_t b = 0; b < together; ++b) {
            bend(step.epilogue, reinterpret_cast<float*>(out + at + b * plane), y[3] * kBlock);
          }
        }
      }
    }
  }
}

template <Layout In, Layout Out>
bool supports(const Step& step) {
  return step.in_layout == In && step.out_layout == Out;
}

double cost(const Step& step) {
  return static_cast<double>(step.macs);
}

/// Weights [o / 16][c / 16][u][v][word][o % 16][channel of the word], then per output channel the bias and the scale.
template <Layout In>
void pack(Step& step) {
  constexpr int64_t kPerWord = 4 / size_of(In);
  const Shape& w = step.weight_shape;
  const int64_t taps = w[2] * w[3], padded = round_up(w[0], kBlock), words = ceil_div(w[1], kPerWord);
  std::vector<uint8_t> bytes(static_cast<size_t>(padded / kBlock * words * taps * 64), 0);
  std::vector<double> scales(static_cast<size_t>(w[0]), 1.0), sums(static_cast<size_t>(w[0]), 0.0);
  if (In == Layout::bytes) scales = weight_scales(step.weight, w[0]);
  for (int64_t o = 0; o < w[0]; ++o) {
    for (int64_t c = 0; c < w[1]; ++c) {
      const int64_t row = c / kBlock, row_words = std::min(kBlock / kPerWord, words - row * (kBlock / kPerWord));
      for (int64_t tap = 0; tap < taps; ++tap) {
        const double value = step.weight[static_cast<size_t>((o * w[1] + c) * taps + tap)];
        const int64_t word =
            o / kBlock * words * taps + row * (kBlock / kPerWord) * taps + tap * row_words + c % kBlock / kPerWord;
        uint8_t* const to = bytes.data() + (word * kBlock + o % kBlock) * 4 + c % kPerWord * size_of(In);
        if (In == Layout::bytes) {
          const double q = std::clamp(std::nearbyint(value / scales[static_cast<size_t>(o)]), -127.0, 127.0);
          *to = static_cast<uint8_t>(static_cast<int8_t>(q));
          sums[static_cast<size_t>(o)] += q;
        } else {
          const uint16_t bits = float_to_bfloat16(static_cast<float>(value));
          std::memcpy(to, &bits, sizeof bits);
        }
      }
    }
  }
  step.packed.assign(bytes.size() / sizeof(float), 0.0f);
  std::memcpy(step.packed.data(), bytes.data(), bytes.size());
  step.packed_bias.assign(static_cast<size_t>(2 * padded), 0.0f);
  for (size_t o = 0; o < scales.size(); ++o) {
    const double scale = scales[o] * (In == Layout::bytes ? step.in_affine.scale : 1);
    const double bias = step.bias.empty() ? 0 : step.bias[o];
    step.packed_bias[o] = static_cast<float>(bias - scale * step.in_affine.zero * sums[o]);
    step.packed_bias[static_cast<size_t>(padded) + o] = static_cast<float>(scale);
  }
  const Window whole(step, step.output.shape[2]);
  const int64_t blocks = ceil_div(w[1], kBlock);
  step.scratch = whole.copied ? blocks * whole.rows * whole.columns * kBlock * size_of(In) / 4 : 0;
}

constexpr Layout kBytes = Layout::bytes, kHalves = Layout::halves, kBlocked = Layout::blocked;

}  // namespace

constinit const Kernel kConvBytes{"conv-int8",        kBytes, kBytes, supports<kBytes, kBytes>, cost, pack<kBytes>,
                                  run<kBytes, kBytes>};
constinit const Kernel kConvBytesOut{
    "conv-int8-out", kBytes, kBlocked, supports<kBytes, kBlocked>, cost, pack<kBytes>, run<kBytes, kBlocked>};
constinit const Kernel kConvHalves{
    "conv-bf16", kHalves, kHalves, supports<kHalves, kHalves>, cost, pack<kHalves>, run<kHalves, kHalves>};
constinit const Kernel kConvHalvesOut{
    "conv-bf16-out", kHalves, kBlocked, supports<kHalves, kBlocked>, cost, pack<kHalves>, run<kHalves, kBlocked>};

}  // namespace reducenet
