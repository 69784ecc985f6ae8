// The few instructions that Debian's Highway does not know: vpdpbusd (VNNI) and vdpbf16ps. Only what the CPU is asked
// for at run time leads here. Compiled with their flags, so nothing here may be an inline function that others use as
// well.
#include "runtime/kernels/narrow.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BF16__) && defined(__AVX512BW__)

#include <immintrin.h>

namespace reducenet::narrow {
namespace {

/// Σ of 4 products u8·s8 in every lane.
struct Bytes {
  using Sum = __m512i;
  static Sum zero() { return _mm512_setzero_si512(); }
  static Sum dot(Sum sum, __m512i x, __m512i w) { return _mm512_dpbusd_epi32(sum, x, w); }
  static __m512 finish(Sum sum, __m512 scale, __m512 bias) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, bias);
  }
};

/// Σ of 2 products bf16·bf16 in every lane.
struct Halves {
  using Sum = __m512;
  static Sum zero() { return _mm512_setzero_ps(); }
  static Sum dot(Sum sum, __m512i x, __m512i w) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
  }
  static __m512 finish(Sum sum, __m512, __m512 bias) { return _mm512_add_ps(sum, bias); }
};

inline int load_word(const uint8_t* from) {
  int word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
}

inline __m512 load_residual(const Tile& t, int64_t element) {
  switch (t.store) {
    case Store::floats:
      return _mm512_loadu_ps(t.residual + element * 4);
    case Store::bytes: {
      const __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(t.residual + element)));
      const __m512i centred = _mm512_sub_epi32(q, _mm512_set1_epi32(t.residual_as.zero));
      return _mm512_mul_ps(_mm512_cvtepi32_ps(centred), _mm512_set1_ps(t.residual_as.scale));
    }
    case Store::halves: {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.residual + element * 2));
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    }
  }
  return _mm512_setzero_ps();
}

inline void store(const Tile& t, int64_t element, __m512 v, __m512 inverse) {
  switch (t.store) {
    case Store::floats:
      return _mm512_storeu_ps(t.y + element * 4, v);
    case Store::bytes: {
      const __m512 steps = _mm512_min_ps(_mm512_mul_ps(v, inverse), _mm512_set1_ps(1 << 20));  // an int holds it
      const __m512i q = _mm512_cvtps_epi32(steps);                                             // ties to even
      const __m512i shifted =
          _mm512_max_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(t.out.zero)), _mm512_setzero_si512());
      return _mm_storeu_si128(reinterpret_cast<__m128i*>(t.y + element), _mm512_cvtusepi32_epi8(shifted));
    }
    case Store::halves:
      return _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.y + element * 2),
                                 reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
}

template <class Dot, int kBlocks, int kPixels>
void run_tile(const Tile& t) {
  typename Dot::Sum sum[kBlocks][kPixels];
  for (auto& block : sum) {
    for (auto& s : block) s = Dot::zero();
  }
  const uint8_t* w = t.w;
  for (int64_t row = 0; row < t.rows; ++row) {
    const int64_t words = row + 1 == t.rows ? t.last_words : t.words;
    for (int64_t u = 0; u < t.kernel_h; ++u) {
      const uint8_t* at = t.x + row * t.x_plane + u * t.x_row;
      for (int64_t v = 0; v < t.kernel_w; ++v, at += t.x_tap) {
        for (int64_t k = 0; k < words; ++k, w += 64) {
          __m512i weight[kBlocks];
          for (int b = 0; b < kBlocks; ++b) weight[b] = _mm512_loadu_si512(w + b * t.w_block);
          for (int p = 0; p < kPixels; ++p) {
            const __m512i value = _mm512_set1_epi32(load_word(at + p * t.x_pixel + k * 4));
            for (int b = 0; b < kBlocks; ++b) sum[b][p] = Dot::dot(sum[b][p], value, weight[b]);
          }
        }
      }
    }
  }
  const __m512 low = _mm512_set1_ps(t.low), high = _mm512_set1_ps(t.high), inverse = _mm512_set1_ps(1 / t.out.scale);
  const int64_t size = t.store == Store::floats ? 4 : t.store == Store::bytes ? 1 : 2;
  for (int b = 0; b < kBlocks; ++b) {
    const __m512 scale = _mm512_loadu_ps(t.scale + b * 16), bias = _mm512_loadu_ps(t.bias + b * 16);
    for (int p = 0; p < kPixels; ++p) {
      const int64_t element = b * (t.y_block / size) + p * 16;
      __m512 value = Dot::finish(sum[b][p], scale, bias);
      if (t.residual) value = _mm512_add_ps(value, load_residual(t, element));
      store(t, element, _mm512_min_ps(_mm512_max_ps(value, low), high), inverse);
    }
  }
}

template <class Dot, int kBlocks, int kPixels = static_cast<int>(kMostPixels)>
void run_pixels(const Tile& t, int64_t pixels) {
  if constexpr (kPixels > 0) {
    if (pixels == kPixels) return run_tile<Dot, kBlocks, kPixels>(t);
    run_pixels<Dot, kBlocks, kPixels - 1>(t, pixels);
  }
}

template <class Dot>
void run(const Tile& t, int64_t pixels, int64_t blocks) {
  blocks == 2 ? run_pixels<Dot, 2>(t, pixels) : run_pixels<Dot, 1>(t, pixels);
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

}  // namespace

Run bytes_avx512() {
  static const bool has = has_avx512() && __builtin_cpu_supports("avx512vnni");
  return has ? run<Bytes> : nullptr;
}
Run halves_avx512() {
  static const bool has = has_avx512() && __builtin_cpu_supports("avx512bf16");
  return has ? run<Halves> : nullptr;
}

}  // namespace reducenet::narrow

#else

namespace reducenet::narrow {

Run bytes_avx512() {
  return nullptr;
}
Run halves_avx512() {
  return nullptr;
}

}  // namespace reducenet::narrow

#endif
