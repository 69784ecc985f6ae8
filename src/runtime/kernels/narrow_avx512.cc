// The few instructions that Debian's Highway does not know: vpdpbusd (VNNI), vdpbf16ps and vpermb (VBMI). Only what the
// CPU is asked for at run time leads here. Compiled with their flags, so nothing here may be an inline function that
// others use as well.
#include "runtime/kernels/narrow.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BF16__) && defined(__AVX512VBMI__)

#include <immintrin.h>

namespace reducenet::narrow {
namespace {

/// Σ of 4 products u8·s8 in every lane.
struct Bytes {
  using Sum = __m512i;
  static constexpr int64_t kPixel = 16;
  static Sum first(const void* bias) { return _mm512_loadu_si512(bias); }
  static Sum dot(Sum sum, __m512i x, __m512i w) { return _mm512_dpbusd_epi32(sum, x, w); }
  static __m512 finish(Sum sum, const float* scale) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(scale));
  }
};

/// Σ of 2 products bf16·bf16 in every lane.
struct Halves {
  using Sum = __m512;
  static constexpr int64_t kPixel = 32;
  static Sum first(const void* bias) { return _mm512_loadu_ps(bias); }
  static Sum dot(Sum sum, __m512i x, __m512i w) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
  }
  static __m512 finish(Sum sum, const float*) { return sum; }
};

inline int load_word(const uint8_t* from) {
  int word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
}

template <Store kStore>
inline __m512 load_residual(const Tile& t, int64_t element) {
  if constexpr (kStore == Store::floats) {
    return _mm512_loadu_ps(t.residual + element * 4);
  } else if constexpr (kStore == Store::bytes) {
    const __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(t.residual + element)));
    const __m512i centred = _mm512_sub_epi32(q, _mm512_set1_epi32(t.residual_zero));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(centred), _mm512_set1_ps(t.residual_scale));
  } else {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.residual + element * 2));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
}

template <Store kStore>
inline void store(const Tile& t, int64_t element, __m512 v) {
  if constexpr (kStore == Store::floats) {
    _mm512_storeu_ps(t.y + element * 4, v);
  } else if constexpr (kStore == Store::bytes) {
    // low and high are such that round(v) + zero lies in [0, 255]; ties to even
    const __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(t.zero));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(t.y + element), _mm512_cvtepi32_epi8(q));
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.y + element * 2),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
}

template <class Dot, Store kStore, int kBlocks, int kPixels>
inline void finish_as(const Tile& tile, const typename Dot::Sum (&sum)[kBlocks][kPixels]) {
  const Tile t = tile;  // its own: what is stored through bytes might change the other's members
  const __m512 low = _mm512_set1_ps(t.low), high = _mm512_set1_ps(t.high);
  constexpr int64_t kSize = kStore == Store::floats ? 4 : kStore == Store::bytes ? 1 : 2;
  for (int b = 0; b < kBlocks; ++b) {
    for (int p = 0; p < kPixels; ++p) {
      const int64_t element = b * (t.y_block / kSize) + p * 16;
      __m512 value = Dot::finish(sum[b][p], t.scale + b * 16);
      if (t.residual) value = _mm512_add_ps(value, load_residual<kStore>(t, element));
      store<kStore>(t, element, _mm512_min_ps(_mm512_max_ps(value, low), high));
    }
  }
}

template <class Dot, int kBlocks, int kPixels>
inline void finish(const Tile& t, const typename Dot::Sum (&sum)[kBlocks][kPixels]) {
  switch (t.store) {
    case Store::floats:
      return finish_as<Dot, Store::floats>(t, sum);
    case Store::bytes:
      return finish_as<Dot, Store::bytes>(t, sum);
    case Store::halves:
      return finish_as<Dot, Store::halves>(t, sum);
  }
}

/// kStep: bytes between pixels when known here, 0 otherwise.
template <class Dot, int kBlocks, int kPixels, int64_t kStep>
void run_tile(const Tile& t) {
  const int64_t step = kStep ? kStep : t.x_pixel;
  typename Dot::Sum sum[kBlocks][kPixels];
  for (int b = 0; b < kBlocks; ++b) {
    for (int p = 0; p < kPixels; ++p) sum[b][p] = Dot::first(static_cast<const uint8_t*>(t.bias) + b * 64);
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
            const __m512i value = _mm512_set1_epi32(load_word(at + p * step + k * 4));
            for (int b = 0; b < kBlocks; ++b) sum[b][p] = Dot::dot(sum[b][p], value, weight[b]);
          }
        }
      }
    }
  }
  finish<Dot, kBlocks, kPixels>(t, sum);
}

/// `many` ≤ 4 taps of 16 channels, as words of 4 taps.
inline __m512i load_taps(const uint8_t* at, int64_t tap, int64_t many, __m512i turn) {
  __m512i taps;
  if (tap == 16) {
    taps = _mm512_maskz_loadu_epi32(static_cast<__mmask16>((1 << 4 * many) - 1), at);
  } else {
    alignas(64) __m128i four[4] = {};
    for (int64_t i = 0; i < many; ++i) four[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + i * tap));
    taps = _mm512_load_si512(four);
  }
  return _mm512_permutexvar_epi8(turn, taps);
}

/// Where byte (channel, tap) of a word of taps stands in 4 pixels of 16 channels.
struct Order {
  alignas(64) uint8_t bytes[64];
};
constexpr Order kTapsByChannel = [] {
  Order order{};
  for (int c = 0; c < 16; ++c) {
    for (int tap = 0; tap < 4; ++tap) order.bytes[c * 4 + tap] = static_cast<uint8_t>(tap * 16 + c);
  }
  return order;
}();
inline __m512i taps_by_channel() {
  return _mm512_load_si512(kTapsByChannel.bytes);
}

/// Neighbouring pixels of kernels K wide, K no multiple of 4, without stride and dilation: 4 columns of x that begin
/// at an even one serve pixel p with taps 0…3 and pixel p + 1 with taps −1…2, so half of the columns are turned.
template <int kPixels, int K>
void run_neighbours(const Tile& t) {
  constexpr int kWords = (K + 3) / 4, kColumns = kPixels + K - 1;
  const __m512i turn = taps_by_channel();
  const __m512i last = _mm512_set1_epi32((1 << K % 4 * 8) - 1);  // taps in a row's last word
  __m512i sum[1][kPixels];
  for (int p = 0; p < kPixels; ++p) sum[0][p] = Bytes::first(t.bias);
  const uint8_t* w = t.w;
  for (int64_t u = 0; u < t.kernel_h; ++u, w += 64 * kWords) {
    const uint8_t* at = t.x + u * t.x_row;
    __m512i even[kWords], odd[kWords];
    for (int k = 0; k < kWords; ++k) {
      even[k] = _mm512_loadu_si512(w + k * 64);
      if (k + 1 == kWords) even[k] = _mm512_and_si512(even[k], last);
      odd[k] = _mm512_slli_epi32(even[k], 8);
      if (k > 0) odd[k] = _mm512_or_si512(odd[k], _mm512_srli_epi32(even[k - 1], 24));
    }
#pragma GCC unroll 16
    for (int column = 0; column < kPixels + 4 * (kWords - 1); column += 2) {
      const int many = kColumns - column < 4 ? kColumns - column : 4;
      const __m512i taps = load_taps(at + column * 16, 16, many, turn);
#pragma GCC unroll 2
      for (int k = 0; k < kWords; ++k) {
        const int p = column - 4 * k;
        if (p >= 0 && p < kPixels) sum[0][p] = Bytes::dot(sum[0][p], taps, even[k]);
        if (p >= 0 && p + 1 < kPixels) sum[0][p + 1] = Bytes::dot(sum[0][p + 1], taps, odd[k]);
      }
    }
  }
  finish<Bytes, 1, kPixels>(t, sum);
}

template <int kPixels, int64_t kStep>
void run_depthwise(const Tile& t) {
  if constexpr (kStep == 16) {
    if (t.x_tap == 16) {
      if (t.kernel_w == 3) return run_neighbours<kPixels, 3>(t);
      if (t.kernel_w == 5) return run_neighbours<kPixels, 5>(t);
      if (t.kernel_w == 7) return run_neighbours<kPixels, 7>(t);
    }
  }
  const int64_t step = kStep ? kStep : t.x_pixel;
  const __m512i turn = taps_by_channel();
  __m512i sum[1][kPixels];
  for (int p = 0; p < kPixels; ++p) sum[0][p] = Bytes::first(t.bias);
  const uint8_t* w = t.w;
  for (int64_t u = 0; u < t.kernel_h; ++u) {
    const uint8_t* at = t.x + u * t.x_row;
    for (int64_t v = 0; v < t.kernel_w; v += 4, w += 64, at += 4 * t.x_tap) {
      const int64_t many = t.kernel_w - v < 4 ? t.kernel_w - v : 4;
      const __m512i weight = _mm512_loadu_si512(w);
      for (int p = 0; p < kPixels; ++p) {
        sum[0][p] = Bytes::dot(sum[0][p], load_taps(at + p * step, t.x_tap, many, turn), weight);
      }
    }
  }
  finish<Bytes, 1, kPixels>(t, sum);
}

template <class Dot, int kBlocks, int64_t kStep, int kPixels = static_cast<int>(kMostPixels)>
void run_pixels(const Tile& t, int64_t pixels) {
  if constexpr (kPixels > 0) {
    if (pixels == kPixels) return run_tile<Dot, kBlocks, kPixels, kStep>(t);
    run_pixels<Dot, kBlocks, kStep, kPixels - 1>(t, pixels);
  }
}
template <class Dot, int64_t kStep>
void run_blocks(const Tile& t, int64_t pixels, int64_t blocks) {
  blocks == 2 ? run_pixels<Dot, 2, kStep>(t, pixels) : run_pixels<Dot, 1, kStep>(t, pixels);
}
template <class Dot>
void run(const Tile& t, int64_t pixels, int64_t blocks) {
  t.x_pixel == Dot::kPixel ? run_blocks<Dot, Dot::kPixel>(t, pixels, blocks) : run_blocks<Dot, 0>(t, pixels, blocks);
}

template <int64_t kStep, int kPixels = static_cast<int>(kMostPixels)>
void depthwise_pixels(const Tile& t, int64_t pixels) {
  if constexpr (kPixels > 0) {
    if (pixels == kPixels) return run_depthwise<kPixels, kStep>(t);
    depthwise_pixels<kStep, kPixels - 1>(t, pixels);
  }
}
void depthwise(const Tile& t, int64_t pixels, int64_t) {
  t.x_pixel == 16 ? depthwise_pixels<16>(t, pixels) : depthwise_pixels<0>(t, pixels);
}

Runs find_runs() {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl")) {
    return {};
  }
  Runs runs{};
  if (__builtin_cpu_supports("avx512vnni")) runs.bytes = run<Bytes>;
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi")) runs.depthwise = depthwise;
  if (__builtin_cpu_supports("avx512bf16")) runs.halves = run<Halves>;
  return runs;
}

}  // namespace

const Runs& fast_runs() {
  static const Runs runs = find_runs();
  return runs;
}

}  // namespace reducenet::narrow

#else

namespace reducenet::narrow {

const Runs& fast_runs() {
  static const Runs none{};
  return none;
}

}  // namespace reducenet::narrow

#endif
