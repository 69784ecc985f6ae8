// y = A ᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)] A, summed over input channels, for tiles of M×M outputs of a 3×3 convolution of
// stride 1.
//
// Tiles of all images follow one another; a block of them passes through three stages that share this thread's scratch:
//   V[position][channel block][tile][16]  = Bᵀ x B
//   S[position][tile][up to 32 outputs]   = Σ_c U[position][block][c][16] · V[position][c][tile]
//   y                                     = clamp(Aᵀ S A + bias + residual)
// V is made once a block, S and y once for each one or two blocks of output channels, whose U is read in order.
#include "runtime/kernels/winograd.h"

#include <algorithm>
#include <array>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/winograd.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/product-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Σ_j c[j]·x(j) / c[Last] over j = First, First + 2, …, Last with c = row Row of Bᵀ; zeros cost nothing.
template <size_t M, size_t Row, size_t First, size_t Last, class X>
HWY_INLINE Vector monic(X x) {
  const Lanes d;
  Vector sum = x(std::integral_constant<size_t, Last>());
  unroll<(Last - First) / 2>([&](auto i) HWY_ATTR {
    constexpr size_t j = First + 2 * i;
    constexpr double factor = Winograd<M>::kBt[Row][j] / Winograd<M>::kBt[Row][Last];
    if constexpr (factor != 0) {
      sum = hn::MulAdd(hn::Set(d, static_cast<float>(factor)), x(std::integral_constant<size_t, j>()), sum);
    }
  });
  return sum;
}

/// Two rows of Bᵀ x: of the points ±a, which share even and odd powers, or (Pair = kPairs) of 0 and infinity.
template <size_t M, size_t Pair, class X>
HWY_INLINE void input_rows(X x, Vector& y, Vector& z) {
  using W = Winograd<M>;
  const Lanes d;
  constexpr size_t n = W::kIn, row = 1 + 2 * Pair;
  if constexpr (Pair == W::kPairs) {
    y = monic<M, 0, 0, n - 2>(x);
    z = monic<M, n - 1, 1, n - 1>(x);
  } else {
    const Vector even = monic<M, row, 2, n - 2>(x), odd = monic<M, row, 1, n - 3>(x);
    constexpr double lead = W::kBt[row][n - 3];
    if constexpr (lead == 1) {
      y = hn::Add(even, odd);
      z = hn::Sub(even, odd);
    } else {
      const auto a = hn::Set(d, static_cast<float>(lead));
      y = hn::MulAdd(a, odd, even);
      z = hn::NegMulAdd(a, odd, even);
    }
  }
}
/// Where input_rows' two results belong.
template <size_t M, size_t Pair>
inline constexpr std::array<size_t, 2> kInputRows =
    Pair == M / 2 ? std::array<size_t, 2>{0, M + 1} : std::array<size_t, 2>{1 + 2 * Pair, 2 + 2 * Pair};

/// Rows Odd, Odd + 2, … of Aᵀ x: they need the sums (differences, if odd) of the values at a and −a alone.
template <size_t M, size_t Odd, class X>
HWY_INLINE void output_rows(X x, Vector* y) {
  using W = Winograd<M>;
  const Lanes d;
  Vector part[W::kPairs];
  unroll<W::kPairs>([&](auto k) HWY_ATTR {
    const Vector plus = x(std::integral_constant<size_t, 1 + 2 * k>());
    const Vector minus = x(std::integral_constant<size_t, 2 + 2 * k>());
    part[k] = Odd ? hn::Sub(plus, minus) : hn::Add(plus, minus);
  });
  unroll<M / 2>([&](auto r) HWY_ATTR {
    constexpr size_t i = 2 * r + Odd;
    Vector value = part[0];
    if constexpr (W::kAt[i][1] != 1) value = hn::Mul(hn::Set(d, static_cast<float>(W::kAt[i][1])), value);
    unroll<W::kPairs - 1>([&](auto k) HWY_ATTR {
      constexpr double factor = W::kAt[i][3 + 2 * k];
      if constexpr (factor == 1) {
        value = hn::Add(value, part[k + 1]);
      } else {
        value = hn::MulAdd(hn::Set(d, static_cast<float>(factor)), part[k + 1], value);
      }
    });
    if constexpr (i == 0) value = hn::Add(value, x(std::integral_constant<size_t, 0>()));
    if constexpr (i == M - 1) value = hn::Add(value, x(std::integral_constant<size_t, W::kIn - 1>()));
    y[r] = value;
  });
}

/// What all tiles of a step share.
struct Geometry {
  Shape x, y;
  int64_t top, left, rows, columns;  // padding; tiles of an image
  int64_t tiles;                     // in a block
  int64_t channel_blocks;
  int64_t v_stride, s_stride;  // floats between positions
};

/// What stands outside the image.
template <size_t M>
alignas(64) inline constexpr float kOutside[Winograd<M>::kIn * kBlock] = {};

/// V of one tile, two of its rows at a time so that nothing but x is read and nothing but V written.
template <size_t M, bool Edge>
HWY_NOINLINE void enter(const Geometry& g, const float* HWY_RESTRICT x, int64_t i, int64_t j, float* HWY_RESTRICT v) {
  constexpr size_t n = Winograd<M>::kIn;
  const Lanes d;
  const int64_t plane = g.x[2] * g.x[3] * kBlock, line = g.x[3] * kBlock;
  x += i * line + j * kBlock;
  for (int64_t b = 0; b < g.channel_blocks; ++b, x += plane, v += g.tiles * kBlock) {
    const float* rows[n];
    for (size_t r = 0; r < n; ++r) {
      const int64_t row = i + static_cast<int64_t>(r);
      rows[r] = Edge && (row < 0 || row >= g.x[2]) ? kOutside<M> : x + static_cast<int64_t>(r) * line;
    }
    for (int64_t lane = 0; lane < kBlock; lane += kLanes) {
      unroll<Winograd<M>::kPairs + 1>([&](auto pair) HWY_ATTR {
        Vector two[2][n];
        unroll<n>([&](auto c) HWY_ATTR {
          const int64_t column = j + static_cast<int64_t>(c);
          if (Edge && (column < 0 || column >= g.x[3])) {
            two[0][c] = two[1][c] = hn::Zero(d);
            return;
          }
          const auto at = [&](auto r)
                              HWY_ATTR { return hn::Load(d, rows[r] + static_cast<int64_t>(c) * kBlock + lane); };
          input_rows<M, pair>(at, two[0][c], two[1][c]);
        });
        unroll<2>([&](auto row) HWY_ATTR {
          float* to = v + static_cast<int64_t>(kInputRows<M, pair>[row] * n) * g.v_stride + lane;
          const auto at = [&](auto c) HWY_ATTR { return two[row][c]; };
          unroll<Winograd<M>::kPairs + 1>([&](auto across) HWY_ATTR {
            Vector y, z;
            input_rows<M, across>(at, y, z);
            hn::Store(y, d, to + static_cast<int64_t>(kInputRows<M, across>[0]) * g.v_stride);
            hn::Store(z, d, to + static_cast<int64_t>(kInputRows<M, across>[1]) * g.v_stride);
          });
        });
      });
    }
  }
}

/// S[tile][·] of one position for `Tiles` tiles.
template <size_t Blocks, size_t Tiles>
HWY_NOINLINE void multiply(const float* HWY_RESTRICT v, int64_t v_block, const float* HWY_RESTRICT u, int64_t channels,
                           Ahead ahead, float* HWY_RESTRICT s) {
  const Lanes d;
  Vector sum[Blocks * kVectors][Tiles];
  unroll<Blocks * kVectors>([&](auto k) HWY_ATTR { unroll<Tiles>([&](auto t) HWY_ATTR { sum[k][t] = hn::Zero(d); }); });
  add_products<Blocks, Tiles>(v, v_block, kBlock, u, channels * kBlock, channels, ahead, sum);
  unroll<Tiles>([&](auto t) HWY_ATTR {
    unroll<Blocks * kVectors>([&](auto k) HWY_ATTR { hn::Store(sum[k][t], d, s + t * Blocks * kBlock + k * kLanes); });
  });
}

using Multiply = void (*)(const float*, int64_t, const float*, int64_t, Ahead, float*);
template <size_t Blocks>
inline constexpr auto kMultiply = []<size_t... i>(std::index_sequence<i...>) {
  return std::array<Multiply, kMostPixels>{&multiply<Blocks, i + 1>...};
}
(std::make_index_sequence<kMostPixels>());

/// y of one tile and one block of output channels: its even rows, then its odd rows.
template <size_t M, bool Edge>
HWY_NOINLINE void leave(const Geometry& g, const float* HWY_RESTRICT s, const float* HWY_RESTRICT bias,
                        const float* residual, const Epilogue& epilogue, const float* slopes, int64_t i, int64_t j,
                        float* HWY_RESTRICT y) {
  constexpr size_t n = Winograd<M>::kIn;
  const Lanes d;
  const auto low = hn::Set(d, epilogue.low), high = hn::Set(d, epilogue.high);
  const int64_t line = g.y[3] * kBlock, tile = M;
  const int64_t height = Edge ? std::min(tile, g.y[2] - i) : tile, width = Edge ? std::min(tile, g.y[3] - j) : tile;
  y += i * line + j * kBlock;
  if (residual) residual += i * line + j * kBlock;
  for (int64_t lane = 0; lane < kBlock; lane += kLanes) {
    const auto b = hn::Load(d, bias + lane);
    unroll<2>([&](auto odd) HWY_ATTR {
      Vector half[n][M / 2];
      unroll<n>([&](auto c) HWY_ATTR {
        output_rows<M, odd>(
            [&](auto r) HWY_ATTR { return hn::Load(d, s + static_cast<int64_t>(r * n + c) * g.s_stride + lane); },
            half[c]);
      });
      unroll<M / 2>([&](auto r) HWY_ATTR {
        const int64_t row = static_cast<int64_t>(2 * r + odd);
        if (Edge && row >= height) return;
        const auto at = [&](auto c) HWY_ATTR { return half[c][r]; };
        Vector out[2][M / 2];
        output_rows<M, 0>(at, out[0]);
        output_rows<M, 1>(at, out[1]);
        unroll<M>([&](auto c) HWY_ATTR {
          if (Edge && static_cast<int64_t>(c) >= width) return;
          const int64_t to = row * line + static_cast<int64_t>(c) * kBlock + lane;
          auto value = hn::Add(out[c % 2][c / 2], b);
          if (residual) value = hn::Add(value, hn::Load(d, residual + to));
          hn::Store(hn::Min(hn::Max(value, low), high), d, y + to);
        });
      });
    });
  }
  if (epilogue.bends()) {
    for (int64_t r = 0; r < height; ++r)
      finish_curve(epilogue, slopes, y + r * line, static_cast<size_t>(width * kBlock));
  }
}

template <size_t M>
void winograd(const Call& call) {
  constexpr size_t n = Winograd<M>::kIn;
  const Step& step = call.step;
  const Conv2d& op = std::get<Conv2d>(step.op);
  Geometry g{.x = call.x(), .y = call.y(), .top = op.padding.top, .left = op.padding.left};
  g.rows = ceil_div(g.y[2], static_cast<int64_t>(M));
  g.columns = ceil_div(g.y[3], static_cast<int64_t>(M));
  g.tiles = step.table[0];
  g.v_stride = step.table[1];
  g.s_stride = step.table[2];
  g.channel_blocks = ceil_div(g.x[1], kBlock);
  const int64_t x_image = g.channel_blocks * g.x[2] * g.x[3] * kBlock, plane = g.y[2] * g.y[3] * kBlock;
  const int64_t out_blocks = ceil_div(g.y[1], kBlock), all = g.y[0] * g.rows * g.columns;
  const int64_t pairs = ceil_div(out_blocks, kOutBlocks), u_block = g.x[1] * kBlock;
  float* const v = call.scratch;
  float* const s = v + static_cast<int64_t>(n * n) * g.v_stride;

  const Call::Range items = call.share(ceil_div(all, g.tiles) * pairs);
  for (int64_t item = items.first; item < items.last; ++item) {
    const int64_t block = item / pairs, o = item % pairs * kOutBlocks, first = block * g.tiles;
    const int64_t many = std::min(g.tiles, all - first), blocks = std::min(kOutBlocks, out_blocks - o);
    const auto each_tile = [&](auto f) HWY_ATTR {
      int64_t image = first / (g.rows * g.columns), row = first / g.columns % g.rows, column = first % g.columns;
      for (int64_t t = 0; t < many; ++t) {
        f(t, image, row * static_cast<int64_t>(M), column * static_cast<int64_t>(M));
        if (++column < g.columns) continue;
        column = 0;
        if (++row < g.rows) continue;
        row = 0;
        ++image;
      }
    };
    if (item == items.first || item % pairs == 0) {
      each_tile([&](int64_t t, int64_t image, int64_t i, int64_t j) HWY_ATTR {
        const int64_t up = i - g.top, across = j - g.left, reach = static_cast<int64_t>(n);
        const bool inside = up >= 0 && across >= 0 && up + reach <= g.x[2] && across + reach <= g.x[3];
        (inside ? enter<M, false> : enter<M, true>)(g, call.in() + image * x_image, up, across, v + t * kBlock);
      });
    }
    const int64_t passes = ceil_div(many, static_cast<int64_t>(kMostPixels)), width = blocks * kBlock;
    // U lies in pairs of blocks, whatever the target makes at once.
    const int64_t even = o / 2 * 2, u_position = std::min<int64_t>(2, out_blocks - even) * u_block;
    const float* u = step.packed.data() + even * static_cast<int64_t>(n * n) * u_block + o % 2 * u_block;
    for (int64_t p = 0; p < static_cast<int64_t>(n * n); ++p, u += u_position) {
      for (int64_t pass = 0; pass < passes; ++pass) {
        // While this position is multiplied, the next one's U is fetched, each pass its share.
        const float* next = u + u_position + pass * g.x[1] * width / passes;
        const Ahead ahead{next, passes == 1 && blocks == 2 ? next + kBlock : next, width / passes};
        const int64_t from = many * pass / passes, to = many * (pass + 1) / passes;
        const size_t index = static_cast<size_t>(to - from - 1);
        (blocks == 2 ? kMultiply<kOutBlocks>[index] : kMultiply<1>[index])(
            v + p * g.v_stride + from * kBlock, g.tiles * kBlock, u, g.x[1], ahead, s + p * g.s_stride + from * width);
      }
    }
    each_tile([&](int64_t t, int64_t image, int64_t i, int64_t j) HWY_ATTR {
      const bool whole = i + static_cast<int64_t>(M) <= g.y[2] && j + static_cast<int64_t>(M) <= g.y[3];
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t at = (image * out_blocks + o + b) * plane;
        (whole ? leave<M, false> : leave<M, true>)(g, s + t * width + b * kBlock,
                                                   step.packed_bias.data() + (o + b) * kBlock,
                                                   call.residual() ? call.residual() + at : nullptr, step.epilogue,
                                                   step.epilogue.slopes_of(o + b), i, j, call.out() + at);
      }
    });
  }
}

void winograd2(const Call& call) {
  winograd<2>(call);
}
void winograd4(const Call& call) {
  winograd<4>(call);
}
void winograd6(const Call& call) {
  winograd<6>(call);
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(winograd2);
HWY_EXPORT(winograd4);
HWY_EXPORT(winograd6);

template <size_t M>
void run(const Call& call) noexcept {
  if constexpr (M == 2) HWY_DYNAMIC_DISPATCH(winograd2)(call);
  if constexpr (M == 4) HWY_DYNAMIC_DISPATCH(winograd4)(call);
  if constexpr (M == 6) HWY_DYNAMIC_DISPATCH(winograd6)(call);
}

bool supports(const Step& step) {
  const auto* op = std::get_if<Conv2d>(&step.op);
  const auto once = [](const Size2& size) { return size[0] == 1 && size[1] == 1; };
  return op && op->groups == 1 && once(op->stride) && once(op->dilation) && step.weight_shape[2] == 3 &&
         step.weight_shape[3] == 3 && element_count(step.output.shape) > 0;
}

template <size_t M>
int64_t count_tiles(const Shape& y) {
  return y[0] * ceil_div(y[2], static_cast<int64_t>(M)) * ceil_div(y[3], static_cast<int64_t>(M));
}

/// Multiply–adds of stage two, or the reading of U where that takes longer; and at their price in such, the transforms.
template <size_t M>
double cost(const Step& step) {
  constexpr double square = Winograd<M>::kIn * Winograd<M>::kIn, kTransform = M == 2 ? 7 : 6;
  const double tiles = static_cast<double>(count_tiles<M>(step.output.shape));
  const double in = static_cast<double>(round_up(step.weight_shape[1], kBlock));
  const double out = static_cast<double>(round_up(step.weight_shape[0], kBlock));
  const double weights = square * static_cast<double>(step.weight_shape[1]) * out;
  const double reading = weights < 256 << 10 ? 3 : 8;  // from the second or third cache, from beyond
  return weights * std::max(tiles, reading) + tiles * kTransform * square * (in + out);
}

/// How many tiles pass at once: as many as keep V and S in the first cache when that is enough to hide the loads of U,
/// otherwise as many as keep them in the second; spread evenly.
template <size_t M>
int64_t tiles_at_once(const Step& step) {
  constexpr int64_t kFirstCache = 28 << 10, kSecondCache = 600 << 10, kEnough = 6, kMost = 28;
  constexpr int64_t square = static_cast<int64_t>(Winograd<M>::kIn * Winograd<M>::kIn);
  const int64_t floats = square * (round_up(step.weight_shape[1], kBlock) + 2 * kBlock), bytes = 4 * floats;
  const int64_t all = count_tiles<M>(step.output.shape);
  int64_t most = kFirstCache / bytes;
  if (most < kEnough) most = std::clamp<int64_t>(kSecondCache / bytes, kEnough, kMost);
  const int64_t pairs = ceil_div(step.weight_shape[0], 2 * kBlock);
  return ceil_div(all, even_blocks(all, std::min(most, kMost), pairs, step.threads));
}

/// U = G w Gᵀ in double: [pairs of O/16][position][1 or 2][channels][16]
template <size_t M>
void pack(Step& step) {
  using W = Winograd<M>;
  constexpr size_t n = W::kIn;
  const int64_t outputs = step.weight_shape[0], inputs = step.weight_shape[1], padded = round_up(outputs, kBlock);
  step.packed.assign(static_cast<size_t>(padded * inputs) * n * n, 0.0f);
  for (int64_t o = 0; o < outputs; ++o) {
    const int64_t block = o / kBlock, even = block / 2 * 2, width = std::min<int64_t>(2, padded / kBlock - even);
    for (int64_t c = 0; c < inputs; ++c) {
      const double* w = step.weight.data() + (o * inputs + c) * 9;
      double half[n][3];
      for (size_t i = 0; i < n; ++i) {
        for (size_t v = 0; v < 3; ++v) {
          half[i][v] = W::kG[i][0] * w[v] + W::kG[i][1] * w[3 + v] + W::kG[i][2] * w[6 + v];
        }
      }
      for (size_t p = 0; p < n * n; ++p) {
        const auto& row = half[p / n];
        const auto& g = W::kG[p % n];
        const int64_t slab = (even * static_cast<int64_t>(n * n) + static_cast<int64_t>(p) * width) * inputs;
        step.packed[static_cast<size_t>((slab + (block % 2) * inputs + c) * kBlock + o % kBlock)] =
            static_cast<float>(row[0] * g[0] + row[1] * g[1] + row[2] * g[2]);
      }
    }
  }
  pack_bias(step, padded);
  const int64_t tiles = tiles_at_once<M>(step), square = static_cast<int64_t>(n * n);
  const int64_t v_stride = round_up(inputs, kBlock) * tiles + kBlock, s_stride = 2 * kBlock * tiles + kBlock;
  step.table = {tiles, v_stride, s_stride};  // one line more than needed, so that positions do not share cache sets
  step.scratch = square * (v_stride + s_stride);
}

template <size_t M>
constexpr Kernel row(std::string_view name) {
  return {name, Layout::blocked, Layout::blocked, supports, cost<M>, pack<M>, run<M>, winograd_error<M>};
}

}  // namespace

constinit const Kernel kWinograd2 = row<2>("winograd-2"), kWinograd4 = row<4>("winograd-4"),
                       kWinograd6 = row<6>("winograd-6");

}  // namespace reducenet
#endif
