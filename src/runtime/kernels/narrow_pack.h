#pragma once

#include "runtime/kernels/narrow.h"
#include "runtime/kernels/rows.h"

// What the kernels in 8 and 16 bits share: how weights lie, and what a store does.

namespace reducenet::narrow {

constexpr int64_t size_of(Layout layout) {
  return layout == Layout::bytes ? 1 : layout == Layout::halves ? 2 : 4;
}
constexpr Store store_of(Layout layout) {
  return layout == Layout::bytes ? Store::bytes : layout == Layout::halves ? Store::halves : Store::floats;
}

/// The CPU's own instructions or, without them, plain loops.
inline Run run_of(Layout in, bool depthwise) {
  const auto pick = [&](const Runs& runs) {
    return in == Layout::halves ? runs.halves : depthwise ? runs.depthwise : runs.bytes;
  };
  const Run fast = pick(fast_runs());
  return fast ? fast : pick(plain_runs());
}

/// Blocks [block, block + together) of outputs, which read rows [first, first + rows) of 16 channels of x.
struct Set {
  int64_t block, together, first, rows, last_words, weights;  // weights: bytes before theirs
};
/// As pack_dense and pack_depthwise left them in Step::table.
inline std::span<const Set> sets_of(const Step& step) {
  return {reinterpret_cast<const Set*>(step.table.data()), step.table.size() / (sizeof(Set) / sizeof(int64_t))};
}

/// A stretch of a tensor: pixels [0, count) of one block of channels. `stride`: floats from channel to channel in a
/// plain tensor, where there are `channels`; `bytes`: [pixel][16].
struct Stretch {
  const float* x;
  float* y;
  uint8_t* bytes;
  int64_t stride, channels, count;
  Affine as;
};

/// Weights [O][channels of a group][taps] → [set][block][row][tap][word][o % 16][number in the word]; packed_bias: b,
/// then m of every output channel. `out`: how y is stored.
void pack_dense(Step& step, Layout in, Layout out, int64_t groups, int64_t channels, int64_t taps);
/// Weights [C][kh][kw] → [C / 16][u][v / 4][c % 16][v % 4].
void pack_depthwise(Step& step, Layout out);

/// A tile with the fields that the store needs; `blocks` of y, each padded to 16 channels.
Tile tile_of(const Step& step, Layout out);
/// Bias and scale of a set.
inline void use(Tile& tile, const Step& step, const Set& set, int64_t blocks) {
  const float* const bias = step.packed_bias.data() + set.block * kBlock;
  tile.w = reinterpret_cast<const uint8_t*>(step.packed.data()) + set.weights;
  tile.bias = bias;
  tile.scale = bias + blocks * kBlock;
  tile.rows = set.rows;
  tile.last_words = set.last_words;
}

/// row[i] ← curve(row[i]), in a block of output channels
void bend(const Epilogue& epilogue, int64_t block, float* row, int64_t count);

/// What one multiply–add costs on this CPU, in the time of one in float32.
double relative_cost(Layout in, bool depthwise);

}  // namespace reducenet::narrow
