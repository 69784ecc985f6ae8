#pragma once

#include <cstdint>

// Convolution on numbers of 8 and 16 bits: one tile of it, with the instructions where the CPU has them and plainly.
// No other header is included: narrow_avx512.cc is compiled for CPUs that the rest of the library must not assume.

namespace reducenet::narrow {

/// x ≈ scale·(q − zero), q in [0, 255].
struct Affine {
  float scale = 1;
  int32_t zero = 0;
};

/// How a tile is stored: y as float, as bytes round(y) + zero, as bfloat16.
enum class Store : int32_t { floats, bytes, halves };

/// Pixels and blocks of 16 output channels that a tile may have.
inline constexpr int64_t kMostPixels = 14, kMostBlocks = 2;

/// Bytes:     y[o][j] = m[o]·(b[o] + Σ q_w·q_x) + m_r·(q_r − z_r), the sum over taps and channels in 32-bit integers;
/// bfloat16:  y[o][j] = b[o] + Σ w·x + r, the sum in float32;  then clamp, store. When y is stored as bytes, m, m_r,
/// low and high are in units of its scale.
/// A word is 4 bytes of x: 4 channels of u8, or 2 of bfloat16. Weights: for every tap and word, 16 words of as many
/// weights.
/// Depthwise: y[c][j] with x of the same channel only; a word is 4 taps of a row (u8), weights [row][word][16][4].
struct Tile {
  const uint8_t *x, *w;             // x: the first tap of pixel 0
  const float* scale;               // 16 for each block: m
  const void* bias;                 // 16 for each block: int32 for bytes, float for bfloat16
  const uint8_t* residual;          // as y, or nullptr
  uint8_t* y;                       // pixels lie behind one another: 16 elements each
  int64_t rows, words, last_words;  // rows of 16 channels; words of a pixel in a row, and in the last one
  int64_t kernel_h, kernel_w;
  int64_t x_plane, x_row, x_tap, x_pixel;  // bytes
  int64_t w_block, y_block;                // bytes from block to block
  float low, high, residual_scale;         // m_r
  int32_t zero, residual_zero;             // of y and r in bytes
  Store store;
};

/// Computes pixels [0, pixels) of `blocks` blocks (depthwise: of one).
using Run = void (*)(const Tile&, int64_t pixels, int64_t blocks);
struct Runs {
  Run bytes, halves, depthwise;  // u8·s8 → i32, bf16·bf16 → f32, u8·s8 → i32
};
/// With this CPU's instructions; nullptr where it has none.
const Runs& fast_runs();
/// The same in plain loops.
const Runs& plain_runs();

}  // namespace reducenet::narrow
