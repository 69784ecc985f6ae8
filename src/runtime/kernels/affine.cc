// y[m][o] = b[o] + Σ_k w[o][k] · x[m][k]
//
// x is the rows of a matrix, or a blocked [N,C,H,W] whose every image is a row: then w is packed in that order.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/affine.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// One block of outputs of `Rows` rows of x. With few rows, `Ways` independent sums over k hide the latency of adding.
template <size_t Rows, size_t Ways>
HWY_INLINE void affine_tile(const float* HWY_RESTRICT x, int64_t inputs, const float* HWY_RESTRICT w,
                            const float* HWY_RESTRICT bias, float* HWY_RESTRICT y) {
  const Lanes d;
  for (size_t lane = 0; lane < kBlock; lane += kLanes) {
    Vector sum[Ways][Rows];
    unroll<Rows>([&](auto m) HWY_ATTR {
      sum[0][m] = hn::LoadU(d, bias + lane);
      unroll<Ways - 1>([&](auto way) HWY_ATTR { sum[way + 1][m] = hn::Zero(d); });
    });
    const auto add = [&](auto way, int64_t k) HWY_ATTR {
      const auto weight = hn::LoadU(d, w + k * kBlock + lane);
      unroll<Rows>([&](auto m) HWY_ATTR {
        sum[way][m] = hn::MulAdd(weight, hn::Set(d, x[static_cast<int64_t>(m) * inputs + k]), sum[way][m]);
      });
    };
    int64_t k = 0;
    for (; k + static_cast<int64_t>(Ways) <= inputs; k += Ways) {
      unroll<Ways>([&](auto way) HWY_ATTR { add(way, k + static_cast<int64_t>(way)); });
    }
    for (; k < inputs; ++k) add(std::integral_constant<size_t, 0>(), k);
    unroll<Rows>([&](auto m) HWY_ATTR {
      unroll<Ways - 1>([&](auto way) HWY_ATTR { sum[0][m] = hn::Add(sum[0][m], sum[way + 1][m]); });
      hn::StoreU(sum[0][m], d, y + m * kBlock + lane);
    });
  }
}

void affine(const Call& call) {
  constexpr int64_t kRows = 4;
  const Step& step = call.step;
  const int64_t rows = call.y()[0], outputs = call.y()[1], out_blocks = ceil_div(outputs, kBlock);
  const int64_t inputs = static_cast<int64_t>(step.packed.size()) / (out_blocks * kBlock);
  const int64_t groups = ceil_div(rows, kRows);  // of rows
  const Call::Range mine = call.share(out_blocks * groups);
  HWY_ALIGN float tile[kRows * kBlock];
  for (int64_t item = mine.first; item < mine.last; ++item) {
    const int64_t block = item / groups, first = item % groups * kRows, last = std::min(first + kRows, rows);
    const float* w = step.packed.data() + block * inputs * kBlock;
    const float* bias = step.packed_bias.data() + block * kBlock;
    const int64_t valid = std::min(kBlock, outputs - block * kBlock);
    for (int64_t m = first; m < last;) {
      const bool whole = m + kRows <= last;
      (whole ? affine_tile<kRows, 2> : affine_tile<1, 4>)(call.in() + m * inputs, inputs, w, bias, tile);
      for (int64_t r = 0; r < (whole ? kRows : 1); ++r, ++m) {
        const int64_t at = m * outputs + block * kBlock;
        std::copy_n(tile + r * kBlock, valid, call.out() + at);
        finish(step.epilogue, step.epilogue.slopes_of(block), call.out() + at,
               call.residual() ? call.residual() + at : nullptr, static_cast<size_t>(valid));
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
