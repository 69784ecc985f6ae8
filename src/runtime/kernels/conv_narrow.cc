// y[o][i][j] = b[o] + Σ_{c,u,v} w[o][c][u][v] · x[c][i·sh − top + u·dh][j·sw − left + v·dw] in 8 or 16 bits (see
// narrow.h): dense, grouped, and with one channel a group.
//
// Bands of rows: where there is padding, each part copies the rows that it needs between rows and columns of zeros (of
// the number that stands for zero) into its scratch; then tiles of up to 2 × 16 output channels × a run of pixels.
#include <algorithm>
#include <cstring>

#include "runtime/kernels/narrow_pack.h"

namespace reducenet {
namespace {

using narrow::size_of;

/// Bytes of a window: most of the second cache where every set of outputs reads it, the first where one does.
constexpr int64_t kWindowOfAll = 384 << 10, kWindowOfOne = 24 << 10;

bool is_depthwise(const Step& step) {
  const Conv2d& op = std::get<Conv2d>(step.op);
  return op.groups > 1 && step.weight_shape[1] == 1 && op.groups == step.weight_shape[0];
}

/// Rows and columns of an image. A product of matrices is one row where rows are too short to fill tiles.
struct Planes {
  explicit Planes(const Step& step) {
    const Conv2d& op = std::get<Conv2d>(step.op);
    const Shape &x = step.inputs[0].shape, &y = step.output.shape, &w = step.weight_shape;
    const bool product = w[2] == 1 && w[3] == 1 && op.stride == Size2{1, 1} && op.padding == Padding{};
    const bool flat = product && y[3] < 2 * narrow::kMostPixels;
    in_h = flat ? 1 : x[2];
    in_w = flat ? x[2] * x[3] : x[3];
    out_h = flat ? 1 : y[2];
    out_w = flat ? y[2] * y[3] : y[3];
  }
  int64_t in_h, in_w, out_h, out_w;
};

/// What the rows of one band look like in scratch.
struct Window {
  Window(const Step& step, const Planes& planes, int64_t out_rows) {
    const Conv2d& op = std::get<Conv2d>(step.op);
    rows = (out_rows - 1) * op.stride[0] + (step.weight_shape[2] - 1) * op.dilation[0] + 1;
    columns = (planes.out_w - 1) * op.stride[1] + (step.weight_shape[3] - 1) * op.dilation[1] + 1;
    copied = op.padding.left > 0 || columns > planes.in_w || op.padding.top > 0 || op.padding.bottom > 0;
  }
  int64_t rows, columns;
  bool copied;
};

/// Rows of y in a band: all, if the window of all fits.
int64_t band_of(const Step& step, const Planes& planes, int64_t pixel) {
  const Conv2d& op = std::get<Conv2d>(step.op);
  const bool one = is_depthwise(step);
  const int64_t blocks = one ? 1 : ceil_div(step.inputs[0].shape[1], kBlock);
  const int64_t most = (one ? kWindowOfOne : kWindowOfAll) / (blocks * Window(step, planes, 1).columns * pixel);
  constexpr int64_t kLeast = 4;
  const int64_t more = most - (step.weight_shape[2] - 1) * op.dilation[0] - 1;
  return std::clamp(more / op.stride[0] + 1, std::min(kLeast, planes.out_h), planes.out_h);
}

/// Rows top … top + window.rows of image n, blocks [first, last) of channels, between zeros.
void copy_window(const Call& call, int64_t n, int64_t top, int64_t first, int64_t last, const Window& window,
                 int64_t pixel, uint8_t* to) {
  const Shape& x = call.x();
  const Conv2d& op = std::get<Conv2d>(call.step.op);
  const auto zero = static_cast<uint8_t>(call.step.in_affine.zero);
  const int64_t blocks = ceil_div(x[1], kBlock), left = std::min(op.padding.left, window.columns);
  const int64_t inside = std::min(x[3], window.columns - left);
  const auto* image = reinterpret_cast<const uint8_t*>(call.in()) + n * blocks * x[2] * x[3] * pixel;
  for (int64_t block = first; block < last; ++block) {
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

template <Layout In, Layout Out, bool kDepthwise>
void run(const Call& call) noexcept {
  static const narrow::Run run_tile = narrow::run_of(In, kDepthwise);
  const Step& step = call.step;
  const Conv2d& op = std::get<Conv2d>(step.op);
  const Planes planes(step);
  constexpr int64_t kPixel = kBlock * size_of(In), kOutPixel = kBlock * size_of(Out);
  const int64_t images = call.x()[0], blocks = ceil_div(call.x()[1], kBlock),
                out_blocks = ceil_div(call.y()[1], kBlock);
  const int64_t row_bytes = planes.out_w * kOutPixel, plane = planes.out_h * row_bytes;
  const int64_t tiles = ceil_div(planes.out_w, narrow::kMostPixels), band = band_of(step, planes, kPixel);

  narrow::Tile tile = narrow::tile_of(step, Out);
  tile.words = kPixel / 4;
  tile.kernel_h = step.weight_shape[2];
  tile.kernel_w = step.weight_shape[3];
  tile.x_tap = op.dilation[1] * kPixel;
  tile.x_pixel = op.stride[1] * kPixel;
  tile.y_block = plane;
  const auto* residual = reinterpret_cast<const uint8_t*>(call.residual());
  const auto* in = reinterpret_cast<const uint8_t*>(call.in());
  auto* const out = reinterpret_cast<uint8_t*>(call.out());
  auto* const scratch = reinterpret_cast<uint8_t*>(call.scratch);

  // Parts divide the rows where there are enough, otherwise the sets of outputs.
  const auto sets = narrow::sets_of(step);
  const int64_t all_rows = images * planes.out_h, all_sets = static_cast<int64_t>(sets.size());
  constexpr int64_t kFewRows = 4;
  const bool by_rows = all_rows >= kFewRows * call.parts || all_sets < call.parts;
  const Call::Range rows = by_rows ? call.share(all_rows) : Call::Range{0, all_rows};
  const Call::Range mine = by_rows ? Call::Range{0, all_sets} : call.share(all_sets);
  for (int64_t row = rows.first; row < rows.last;) {
    const int64_t n = row / planes.out_h, i0 = row % planes.out_h;
    const int64_t i1 = std::min({planes.out_h, i0 + band, i0 + rows.last - row});
    row += i1 - i0;
    const Window window(step, planes, i1 - i0);
    const int64_t top = i0 * op.stride[0] - op.padding.top;
    const int64_t columns = window.copied ? window.columns : planes.in_w;
    tile.x_plane = (window.copied ? window.rows : planes.in_h) * columns * kPixel;
    tile.x_row = op.dilation[0] * columns * kPixel;
    if (window.copied && !kDepthwise) copy_window(call, n, top, 0, blocks, window, kPixel, scratch);
    for (int64_t s = mine.first; s < mine.last; ++s) {
      const narrow::Set& set = sets[static_cast<size_t>(s)];
      narrow::use(tile, step, set, out_blocks);
      tile.w_block = ((set.rows - 1) * tile.words + set.last_words) * tile.kernel_h * tile.kernel_w * 64;
      const uint8_t* from = scratch + set.first * tile.x_plane;
      if (!window.copied) {
        from = in + ((n * blocks + set.first) * planes.in_h + top) * planes.in_w * kPixel;
      } else if (kDepthwise) {
        copy_window(call, n, top, set.first, set.first + 1, window, kPixel, scratch);
        from = scratch;
      }
      for (int64_t i = i0; i < i1; ++i, from += op.stride[0] * columns * kPixel) {
        const int64_t at = (n * out_blocks + set.block) * plane + i * row_bytes;
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t j = planes.out_w * t / tiles, end = planes.out_w * (t + 1) / tiles;
          tile.x = from + j * tile.x_pixel;
          tile.y = out + at + j * kOutPixel;
          tile.residual = residual ? residual + at + j * kOutPixel : nullptr;
          run_tile(tile, end - j, set.together);
        }
        if constexpr (Out == Layout::blocked) {
          for (int64_t b = 0; b < set.together; ++b) {
            narrow::bend(step.epilogue, set.block + b, reinterpret_cast<float*>(out + at + b * plane),
                         planes.out_w * kBlock);
          }
        }
      }
    }
  }
}

template <Layout In, Layout Out, bool kDepthwise>
bool supports(const Step& step) {
  return std::holds_alternative<Conv2d>(step.op) && step.in_layout == In && step.out_layout == Out &&
         kDepthwise == (In == Layout::bytes && is_depthwise(step));
}

template <Layout In, bool kDepthwise>
double cost(const Step& step) {
  const double full = static_cast<double>(round_up(step.weight_shape[0], kBlock)) / step.weight_shape[0];
  constexpr double kStore = kDepthwise ? 8 : 1;  // an output, few products behind it: rounding and storing it
  const double outputs = static_cast<double>(element_count(step.output.shape));
  return full * (narrow::relative_cost(In, kDepthwise) * static_cast<double>(step.macs) + kStore * outputs);
}

template <Layout In, Layout Out, bool kDepthwise>
void pack(Step& step) {
  const Shape& w = step.weight_shape;
  if constexpr (kDepthwise) {
    narrow::pack_depthwise(step, Out);
  } else {
    narrow::pack_dense(step, In, Out, std::get<Conv2d>(step.op).groups, w[1], w[2] * w[3]);
  }
  constexpr int64_t kPixel = kBlock * size_of(In);
  const Planes planes(step);
  const Window window(step, planes, band_of(step, planes, kPixel));
  const int64_t blocks = kDepthwise ? 1 : ceil_div(step.inputs[0].shape[1], kBlock);
  step.scratch = window.copied ? blocks * window.rows * window.columns * kPixel / 4 : 0;
}

template <Layout In, Layout Out, bool kDepthwise = false>
constexpr Kernel row(std::string_view name) {
  return {name,
          In,
          Out,
          supports<In, Out, kDepthwise>,
          cost<In, kDepthwise>,
          pack<In, Out, kDepthwise>,
          run<In, Out, kDepthwise>};
}
constexpr Layout kBytes = Layout::bytes, kHalves = Layout::halves, kBlocked = Layout::blocked;

}  // namespace

constinit const Kernel kConvBytes = row<kBytes, kBytes>("conv-int8");
constinit const Kernel kConvBytesOut = row<kBytes, kBlocked>("conv-int8-out");
constinit const Kernel kDepthwiseBytes = row<kBytes, kBytes, true>("depthwise-int8");
constinit const Kernel kDepthwiseBytesOut = row<kBytes, kBlocked, true>("depthwise-int8-out");
constinit const Kernel kConvHalves = row<kHalves, kHalves>("conv-bf16");
constinit const Kernel kConvHalvesOut = row<kHalves, kBlocked>("conv-bf16-out");

}  // namespace reducenet
