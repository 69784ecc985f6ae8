// y[m][o] = b[o] + Σ_k w[o][k] · x[m][k]
//
// x is the rows of a matrix, or a blocked [N,C,H,W] whose every image is a row: then w is packed in that order.
#include <algorithm>
#include <array>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/affine.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/product-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Floats of x taken at a time: with the weights of a run they stay in the second cache.
inline constexpr int64_t kFloatsAtOnce = 1 << 16;

/// A few blocks of outputs of `Rows` rows of x: y [block][row][16].
template <size_t Blocks, size_t Rows>
HWY_NOINLINE void affine_run(const float* HWY_RESTRICT x, int64_t inputs, const float* HWY_RESTRICT w, Ahead ahead,
                             const float* HWY_RESTRICT bias, float* HWY_RESTRICT y) {
  const Lanes d;
  Vector sum[Blocks * kVectors][Rows];
  unroll<Blocks * kVectors>(
      [&](auto k) HWY_ATTR { unroll<Rows>([&](auto m) HWY_ATTR { sum[k][m] = hn::Load(d, bias + k * kLanes); }); });
  add_products<Blocks, Rows>(x, kBlock, inputs, w, inputs * kBlock, inputs, ahead, sum);
  unroll<Blocks * kVectors>([&](auto k) HWY_ATTR {
    unroll<Rows>([&](auto m) HWY_ATTR {
      hn::Store(sum[k][m], d, y + ((k / kVectors) * Rows + m) * kBlock + (k % kVectors) * kLanes);
    });
  });
}

/// A single row, with independent sums over k that hide the latency of adding.
template <size_t Blocks>
HWY_NOINLINE void affine_row(const float* HWY_RESTRICT x, int64_t inputs, const float* HWY_RESTRICT w, Ahead,
                             const float* HWY_RESTRICT bias, float* HWY_RESTRICT y) {
  constexpr size_t kWays = kVectors > 2 ? 2 : 4;
  const Lanes d;
  for (size_t block = 0; block < Blocks; ++block, w += inputs * kBlock, bias += kBlock, y += kBlock) {
    Vector sum[kWays][kVectors];
    unroll<kVectors>([&](auto v) HWY_ATTR {
      sum[0][v] = hn::Load(d, bias + v * kLanes);
      unroll<kWays - 1>([&](auto way) HWY_ATTR { sum[way + 1][v] = hn::Zero(d); });
    });
    const auto add = [&](auto way, int64_t k) HWY_ATTR {
      const auto value = hn::Set(d, x[k]);
      unroll<kVectors>([&](auto v) HWY_ATTR {
        sum[way][v] = hn::MulAdd(hn::Load(d, w + k * kBlock + v * kLanes), value, sum[way][v]);
      });
    };
    int64_t k = 0;
    for (; k + static_cast<int64_t>(kWays) <= inputs; k += kWays) {
      unroll<kWays>([&](auto way) HWY_ATTR { add(way, k + static_cast<int64_t>(way)); });
    }
    for (; k < inputs; ++k) add(std::integral_constant<size_t, 0>(), k);
    unroll<kVectors>([&](auto v) HWY_ATTR {
      unroll<kWays - 1>([&](auto way) HWY_ATTR { sum[0][v] = hn::Add(sum[0][v], sum[way + 1][v]); });
      hn::Store(sum[0][v], d, y + v * kLanes);
    });
  }
}

using AffineRun = void (*)(const float*, int64_t, const float*, Ahead, const float*, float*);
template <size_t Blocks>
inline constexpr auto kAffineRun = []<size_t... i>(std::index_sequence<i...>) {
  return std::array<AffineRun, kMostPixels>{&affine_row<Blocks>, &affine_run<Blocks, i + 2>...};
}
(std::make_index_sequence<kMostPixels - 1>());

void affine(const Call& call) {
  const Step& step = call.step;
  const int64_t rows = call.y()[0], outputs = call.y()[1], out_blocks = ceil_div(outputs, kBlock);
  const int64_t inputs = static_cast<int64_t>(step.packed.size()) / (out_blocks * kBlock), w_block = inputs * kBlock;
  const int64_t groups = ceil_div(out_blocks, kOutBlocks), runs = ceil_div(rows, static_cast<int64_t>(kMostPixels));
  const int64_t floats = std::max<int64_t>(1, inputs * static_cast<int64_t>(kMostPixels));
  const int64_t chunks = even_blocks(runs, std::max<int64_t>(1, kFloatsAtOnce / floats), groups, call.parts);
  const Call::Range items = call.share(chunks * groups);
  HWY_ALIGN float tile[kOutBlocks * kMostPixels * kBlock];
  for (int64_t item = items.first; item < items.last; ++item) {
    const int64_t chunk = item / groups, first_run = runs * chunk / chunks, last_run = runs * (chunk + 1) / chunks;
    const int64_t first_block = item % groups * kOutBlocks, blocks = std::min(kOutBlocks, out_blocks - first_block);
    const float* w = step.packed.data() + first_block * w_block;
    for (int64_t run = first_run; run < last_run; ++run) {
      const int64_t first = rows * run / runs, many = rows * (run + 1) / runs - first;
      // What is multiplied next is fetched meanwhile, each run its share.
      const int64_t together = last_run - first_run;
      const float* next = w + blocks * w_block + w_block * (run - first_run) / together;
      const Ahead ahead{next, next + (blocks - 1) * w_block, ceil_div(kBlock, together)};
      (blocks == kOutBlocks ? kAffineRun<kOutBlocks> : kAffineRun<1>)[static_cast<size_t>(many - 1)](
          call.in() + first * inputs, inputs, w, ahead, step.packed_bias.data() + first_block * kBlock, tile);
      for (int64_t block = first_block; block < first_block + blocks; ++block) {
        float* const y = tile + (block - first_block) * many * kBlock;
        const int64_t at = first * outputs + block * kBlock, valid = std::min(kBlock, outputs - block * kBlock);
        for (int64_t m = 0; call.residual() && m < many; ++m) {
          for (int64_t o = 0; o < valid; ++o) y[m * kBlock + o] += call.residual()[at + m * outputs + o];
        }
        finish(step.epilogue, step.epilogue.slopes_of(block), y, nullptr, static_cast<size_t>(many * kBlock));
        for (int64_t m = 0; m < many; ++m) std::copy_n(y + m * kBlock, valid, call.out() + at + m * outputs);
      }
    }
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(affine);

void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(affine)(call);
}

bool supports(const Step& step) {
  return std::holds_alternative<Gemm>(step.op) && !step.weight.empty() && element_count(step.output.shape) > 0;
}
bool supports_blocked(const Step& step) {
  const Shape& x = step.inputs[0].shape;
  return supports(step) && x.size() == 4 && x[1] % kBlock == 0;
}

double cost(const Step& step) {
  return static_cast<double>(step.macs);
}

/// [O/16][k][16], where `from(k)` is the column of the weights that the k-th float of x meets.
template <class From>
void pack_columns(Step& step, From from) {
  const int64_t outputs = step.weight_shape[0], inputs = step.weight_shape[1], padded = round_up(outputs, kBlock);
  step.packed.assign(static_cast<size_t>(padded * inputs), 0.0f);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t k = 0; k < inputs; ++k) {
      step.packed[static_cast<size_t>((o / kBlock * inputs + k) * kBlock + o % kBlock)] =
          static_cast<float>(step.weight[static_cast<size_t>(o * inputs + from(k))]);
    }
  }
  pack_bias(step, padded);
}

void pack(Step& step) {
  pack_columns(step, [](int64_t k) { return k; });
}

void pack_blocked(Step& step) {
  const int64_t plane = step.inputs[0].shape[2] * step.inputs[0].shape[3];
  pack_columns(step, [plane](int64_t k) {
    const int64_t block = k / (plane * kBlock), pixel = k / kBlock % plane;
    return (block * kBlock + k % kBlock) * plane + pixel;
  });
}

}  // namespace

constinit const Kernel kAffine{"affine", Layout::plain, Layout::plain, supports, cost, pack, run};
constinit const Kernel kAffineBlocked{
    "affine-blocked", Layout::blocked, Layout::plain, supports_blocked, cost, pack_blocked, run};

}  // namespace reducenet
#endif
