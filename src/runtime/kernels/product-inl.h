// Included once a SIMD target (see hwy/foreach_target.h).
#if defined(REDUCENET_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REDUCENET_PRODUCT_INL_H_
#undef REDUCENET_PRODUCT_INL_H_
#else
#define REDUCENET_PRODUCT_INL_H_
#endif

#include <array>

#include "runtime/kernels/epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Blocks of output channels that meet in registers, and the most pixels beside them: as many accumulators as the
/// registers hold with the weights and one broadcast (32 registers with AVX-512 and NEON, 16 otherwise).
inline constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64;
inline constexpr int64_t kOutBlocks = kVectors == 1 ? 2 : 1;
inline constexpr size_t kMostPixels = kVectors == 1 ? 14 : (kVectors == 2 || kManyRegisters) ? 6 : 2;

/// Memory to be fetched into the second cache meanwhile: two lines for each input channel, `step` floats further on.
struct Ahead {
  const float *first, *second;
  int64_t step;
};

/// sum[block and part][pixel] += Σ_c w[block][c][16] · x[c / 16][pixel][c % 16], c < channels; from one block of
/// channels to the next, and from one pixel to the next, x moves on by `x_block` and `x_pixel`.
template <size_t Blocks, size_t Pixels>
HWY_INLINE void add_products(const float* HWY_RESTRICT x, int64_t x_block, int64_t x_pixel, const float* HWY_RESTRICT w,
                             int64_t w_block, int64_t channels, Ahead ahead, Vector (&sum)[Blocks * kVectors][Pixels]) {
  const Lanes d;
  for (int64_t first = 0; first < channels; first += kBlock, x += x_block) {
    const int64_t many = std::min(kBlock, channels - first);
    for (int64_t c = 0; c < many; ++c, w += kBlock) {
      __builtin_prefetch(ahead.first, 0, 2);
      __builtin_prefetch(ahead.second, 0, 2);
      ahead.first += ahead.step;
      ahead.second += ahead.step;
      Vector weight[Blocks * kVectors];
      unroll<Blocks * kVectors>(
          [&](auto k) HWY_ATTR { weight[k] = hn::Load(d, w + (k / kVectors) * w_block + (k % kVectors) * kLanes); });
      unroll<Pixels>([&](auto p) HWY_ATTR {
        const auto value = hn::Set(d, x[static_cast<int64_t>(p) * x_pixel + c]);
        unroll<Blocks * kVectors>([&](auto k) HWY_ATTR { sum[k][p] = hn::MulAdd(weight[k], value, sum[k][p]); });
      });
    }
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
