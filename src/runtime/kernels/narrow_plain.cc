// The scalar twins of narrow_avx512.cc.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "reducenet/tensor.h"
#include "runtime/kernels/narrow.h"

namespace reducenet::narrow {
namespace {

template <class T>
T element_of(const uint8_t* from, int64_t index) {
  T value;
  std::memcpy(&value, from + index * static_cast<int64_t>(sizeof(T)), sizeof value);
  return value;
}

struct Bytes {
  using Sum = int32_t;
  static constexpr int64_t kPerWord = 4;
  static int32_t product(const uint8_t* x, const uint8_t* w, int64_t i) {
    return static_cast<int32_t>(x[i]) * static_cast<int8_t>(w[i]);
  }
  static float finish(Sum sum, float scale) { return static_cast<float>(sum) * scale; }
};

struct Halves {
  using Sum = float;
  static constexpr int64_t kPerWord = 2;
  static float product(const uint8_t* x, const uint8_t* w, int64_t i) {
    return bfloat16_to_float(element_of<uint16_t>(x, i)) * bfloat16_to_float(element_of<uint16_t>(w, i));
  }
  static float finish(Sum sum, float) { return sum; }
};

float residual_of(const Tile& t, int64_t element) {
  switch (t.store) {
    case Store::floats:
      return element_of<float>(t.residual, element);
    case Store::bytes:
      return t.residual_scale * static_cast<float>(t.residual[element] - t.residual_zero);
    case Store::halves:
      return bfloat16_to_float(element_of<uint16_t>(t.residual, element));
  }
  return 0;
}

void store(const Tile& t, int64_t element, float v) {
  switch (t.store) {
    case Store::floats:
      std::memcpy(t.y + element * 4, &v, sizeof v);
      return;
    case Store::bytes:
      t.y[element] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(v)) + t.zero);
      return;
    case Store::halves: {
      const uint16_t bits = float_to_bfloat16(v);
      std::memcpy(t.y + element * 2, &bits, sizeof bits);
      return;
    }
  }
}

/// Sums of 16 channels → pixel p of block b.
template <class Dot>
void finish(const Tile& t, int64_t b, int64_t p, const typename Dot::Sum (&sum)[16]) {
  const int64_t size = t.store == Store::floats ? 4 : t.store == Store::bytes ? 1 : 2;
  for (int64_t o = 0; o < 16; ++o) {
    const int64_t element = b * (t.y_block / size) + p * 16 + o;
    float value = Dot::finish(sum[o], t.scale[b * 16 + o]);
    if (t.residual) value += residual_of(t, element);
    store(t, element, std::min(std::max(value, t.low), t.high));
  }
}

template <class Dot>
void run(const Tile& t, int64_t pixels, int64_t blocks) {
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t p = 0; p < pixels; ++p) {
      typename Dot::Sum sum[16];
      std::memcpy(sum, static_cast<const uint8_t*>(t.bias) + b * 64, sizeof sum);
      const uint8_t* w = t.w + b * t.w_block;
      for (int64_t row = 0; row < t.rows; ++row) {
        const int64_t words = row + 1 == t.rows ? t.last_words : t.words;
        for (int64_t tap = 0; tap < t.kernel_h * t.kernel_w; ++tap) {
          const uint8_t* at =
              t.x + row * t.x_plane + tap / t.kernel_w * t.x_row + tap % t.kernel_w * t.x_tap + p * t.x_pixel;
          for (int64_t k = 0; k < words; ++k, w += 64, at += 4) {
            for (int64_t o = 0; o < 16; ++o) {
              for (int64_t i = 0; i < Dot::kPerWord; ++i) sum[o] += Dot::product(at, w + o * 4, i);
            }
          }
        }
      }
      finish<Dot>(t, b, p, sum);
    }
  }
}

void depthwise(const Tile& t, int64_t pixels, int64_t) {
  for (int64_t p = 0; p < pixels; ++p) {
    int32_t sum[16];
    std::memcpy(sum, t.bias, sizeof sum);
    const uint8_t* w = t.w;
    for (int64_t u = 0; u < t.kernel_h; ++u) {
      for (int64_t v = 0; v < t.kernel_w; v += 4, w += 64) {
        for (int64_t i = 0; i < std::min<int64_t>(4, t.kernel_w - v); ++i) {
          const uint8_t* at = t.x + u * t.x_row + (v + i) * t.x_tap + p * t.x_pixel;
          for (int64_t c = 0; c < 16; ++c) sum[c] += at[c] * static_cast<int8_t>(w[c * 4 + i]);
        }
      }
    }
    finish<Bytes>(t, 0, p, sum);
  }
}

}  // namespace

const Runs& plain_runs() {
  static constexpr Runs runs{run<Bytes>, run<Halves>, depthwise};
  return runs;
}

}  // namespace reducenet::narrow
