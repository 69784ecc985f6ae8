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

/// How a tile is stored: y as float, as bytes round(y/scale) + zero, as bfloat16.
enum class Store : int32_t { floats, bytes, halves };

/// Pixels and blocks of 16 output channels that a tile may have.
inline constexpr int64_t kMostPixels = 12, kMostBlocks = 2;

/// y[o][j] = b[o] + s[o]·Σ q_w·q_x over taps and channels;  then + residual, clamp, store.
/// A word is 4 bytes of x: 4 channels of u8, or 2 of bfloat16. Weights: for every tap and word, 16 words of as many
/// weights.
struct Tile {
  const uint8_t *x, *w;             // x: the first tap of pixel 0
  const float *scale, *bias;        // 16 for each block
  const uint8_t* residual;          // as y, or nullptr
  uint8_t* y;                       // pixels lie behind one another: 16 elements each
  int64_t rows, words, last_words;  // rows of 16 channels; words of a pixel in a row, and in the last one
  int64_t kernel_h, kernel_w;
  int64_t x_plane, x_row, x_tap, x_pixel;  // bytes
  int64_t w_block, y_block;                // bytes from block to block
  float low, high;
  Affine out, residual_as;
  Store store;
};

/// Computes pixels [0, pixels) of `blocks` blocks.
using Run = void (*)(const Tile&, int64_t pixels, int64_t blocks);
/// u8·s8 → i32 and bf16·bf16 → f32; nullptr where this CPU has no such instruction.
Run bytes_avx512();
Run halves_avx512();
/// The same in plain loops.
void bytes_plain(const Tile& tile, int64_t pixels, int64_t blocks);
void halves_plain(const Tile& tile, int64_t pixels, int64_t blocks);

}  // namespace reducenet::narrow
