// y[m][o] = b[o] + Σ_k w[o][k] · x[m][k] in 8 or 16 bits (see narrow.h): a convolution whose kernel is the whole image,
// and whose pixels are the rows of x.
#include <algorithm>

#include "runtime/kernels/narrow_pack.h"

namespace reducenet {
namespace {

constexpr Layout kBytes = Layout::bytes, kHalves = Layout::halves;

int64_t plane_of(const Shape& x) {
  return x.size() == 4 ? x[2] * x[3] : 1;
}

template <Layout In>
void run(const Call& call) noexcept {
  static const narrow::Run run_tile = narrow::run_of(In, false);
  constexpr int64_t kPixel = kBlock * narrow::size_of(In), kMost = narrow::kMostPixels;
  const Step& step = call.step;
  const Epilogue& epilogue = step.epilogue;
  const int64_t rows = call.y()[0], outputs = call.y()[1], plane = plane_of(call.x());
  const int64_t blocks = ceil_div(call.x()[1], kBlock), out_blocks = ceil_div(outputs, kBlock);
  alignas(64) float sums[narrow::kMostBlocks][kMost][kBlock];
  narrow::Tile tile = narrow::tile_of(step, Layout::plain);
  tile.low = -std::numeric_limits<float>::infinity();
  tile.high = -tile.low;
  tile.words = kPixel / 4;
  tile.kernel_h = 1;
  tile.kernel_w = plane;
  tile.x_plane = plane * kPixel;
  tile.x_tap = kPixel;
  tile.x_pixel = blocks * plane * kPixel;
  tile.y = reinterpret_cast<uint8_t*>(sums);
  tile.y_block = sizeof sums[0];
  const auto sets = narrow::sets_of(step);
  const Call::Range mine = call.share(static_cast<int64_t>(sets.size()));
  const int64_t tiles = ceil_div(rows, kMost);
  for (int64_t s = mine.first; s < mine.last; ++s) {
    const narrow::Set& set = sets[static_cast<size_t>(s)];
    narrow::use(tile, step, set, out_blocks);
    tile.w_block = ((set.rows - 1) * tile.words + set.last_words) * plane * 64;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t m0 = rows * t / tiles, m1 = rows * (t + 1) / tiles;
      tile.x = reinterpret_cast<const uint8_t*>(call.in()) + m0 * tile.x_pixel;
      run_tile(tile, m1 - m0, set.together);
      for (int64_t m = m0; m < m1; ++m) {
        for (int64_t b = 0; b < set.together; ++b) {
          const int64_t first = (set.block + b) * kBlock, valid = std::min(kBlock, outputs - first);
          const float* const residual = call.residual() ? call.residual() + m * outputs + first : nullptr;
          float* const y = call.out() + m * outputs + first;
          for (int64_t o = 0; o < valid; ++o) {
            const float value = sums[b][m - m0][o] + (residual ? residual[o] : 0);
            y[o] = std::min(std::max(value, epilogue.low), epilogue.high);
          }
          narrow::bend(epilogue, set.block + b, y, valid);
        }
      }
    }
  }
}

template <Layout In>
bool supports(const Step& step) {
  return std::holds_alternative<Gemm>(step.op) && step.in_layout == In;
}

template <Layout In>
double cost(const Step& step) {
  const double full = static_cast<double>(round_up(step.weight_shape[0], kBlock)) / step.weight_shape[0];
  return full * narrow::relative_cost(In, false) * static_cast<double>(step.macs);
}

template <Layout In>
void pack(Step& step) {
  const Shape& x = step.inputs[0].shape;
  narrow::pack_dense(step, In, Layout::plain, 1, x[1], plane_of(x));
}

}  // namespace

constinit const Kernel kAffineBytes{"affine-int8", kBytes,       Layout::plain, supports<kBytes>,
                                    cost<kBytes>,  pack<kBytes>, run<kBytes>};
constinit const Kernel kAffineHalves{"affine-bf16", kHalves,       Layout::plain, supports<kHalves>,
                                     cost<kHalves>, pack<kHalves>, run<kHalves>};

}  // namespace reducenet
