#include "runtime/kernels/narrow_pack.h"

#include <algorithm>
#include <cstring>

#include "fades/fades.h"
#include "reducenet/quantize.h"

namespace reducenet::narrow {
namespace {

void keep(Step& step, const std::vector<uint8_t>& weights, const std::vector<Set>& sets) {
  step.packed.assign(weights.size() / sizeof(float), 0.0f);
  std::memcpy(step.packed.data(), weights.data(), weights.size());
  step.table.resize(sets.size() * sizeof(Set) / sizeof(int64_t));
  std::memcpy(step.table.data(), sets.data(), sets.size() * sizeof(Set));
}

/// b = k − z·Σ q for integers k and q, m = x·s or, where y is bytes, x·s/y.
void keep_scales(Step& step, const ByteLayer& layer, Layout out) {
  const size_t outputs = layer.scales.size(), row = layer.weight.size() / outputs;
  const auto padded = static_cast<size_t>(round_up(static_cast<int64_t>(outputs), kBlock));
  step.packed_bias.assign(2 * padded, 0.0f);
  for (size_t o = 0; o < outputs; ++o) {
    int32_t bias = layer.bias[o];
    for (size_t i = 0; i < row; ++i) bias -= step.in_affine.zero * layer.weight[o * row + i];
    std::memcpy(&step.packed_bias[o], &bias, sizeof bias);
    const float scale = step.in_affine.scale * layer.scales[o];
    step.packed_bias[padded + o] = out == Layout::bytes ? scale / step.out_affine.scale : scale;
  }
}

/// Which rows of x a block of outputs reads.
Set set_of(int64_t block, int64_t outputs, int64_t groups, int64_t channels, int64_t per_word) {
  const int64_t each = outputs / groups, last = std::min((block + 1) * kBlock, outputs) - 1;
  const int64_t first = block * kBlock / each * channels / kBlock, end = (last / each + 1) * channels;
  const int64_t rows = ceil_div(end, kBlock) - first;
  return {block, 1, first, rows, ceil_div(end - (first + rows - 1) * kBlock, per_word), 0};
}

}  // namespace

void pack_dense(Step& step, Layout in, Layout out, int64_t groups, int64_t channels, int64_t taps) {
  const int64_t size = size_of(in), per_word = 4 / size, words = kBlock / per_word, outputs = step.weight_shape[0];
  const ByteLayer layer = in == Layout::bytes
                              ? in_bytes(step.weight, step.bias, outputs, static_cast<double>(step.in_affine.scale))
                              : ByteLayer{};
  std::vector<Set> sets, blocks;
  int64_t bytes = 0;
  for (int64_t block = 0; block < ceil_div(outputs, kBlock); ++block) {
    Set set = set_of(block, outputs, groups, channels, per_word);
    set.weights = bytes;
    bytes += ((set.rows - 1) * words + set.last_words) * taps * 64;
    blocks.push_back(set);
    const bool joins = !sets.empty() && sets.back().together < kMostBlocks && sets.back().first == set.first &&
                       sets.back().rows == set.rows && sets.back().last_words == set.last_words;
    joins ? void(++sets.back().together) : sets.push_back(set);
  }
  std::vector<uint8_t> weights(static_cast<size_t>(bytes), 0);
  for (int64_t o = 0; o < outputs; ++o) {
    const Set& set = blocks[static_cast<size_t>(o / kBlock)];
    for (int64_t i = 0; i < channels; ++i) {
      const int64_t c = o / (outputs / groups) * channels + i - set.first * kBlock, row = c / kBlock;
      const int64_t row_words = row + 1 == set.rows ? set.last_words : words;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const auto at = static_cast<size_t>((o * channels + i) * taps + tap);
        const int64_t word = row * words * taps + tap * row_words + c % kBlock / per_word;
        uint8_t* const to = weights.data() + set.weights + (word * kBlock + o % kBlock) * 4 + c % per_word * size;
        if (in == Layout::bytes) {
          *to = static_cast<uint8_t>(layer.weight[at]);
        } else {
          const uint16_t bits = float_to_bfloat16(static_cast<float>(step.weight[at]));
          std::memcpy(to, &bits, sizeof bits);
        }
      }
    }
  }
  if (in == Layout::bytes) {
    keep_scales(step, layer, out);
  } else {
    pack_bias(step, 2 * round_up(outputs, kBlock));
  }
  keep(step, weights, sets);
}

void pack_depthwise(Step& step, Layout out) {
  const Shape& w = step.weight_shape;
  const int64_t words = ceil_div(w[3], 4), blocks = ceil_div(w[0], kBlock);
  const ByteLayer layer = in_bytes(step.weight, step.bias, w[0], static_cast<double>(step.in_affine.scale));
  std::vector<uint8_t> weights(static_cast<size_t>(blocks * w[2] * words * 64), 0);
  for (int64_t c = 0; c < w[0]; ++c) {
    for (int64_t u = 0; u < w[2]; ++u) {
      for (int64_t v = 0; v < w[3]; ++v) {
        const int64_t at = (((c / kBlock * w[2] + u) * words + v / 4) * kBlock + c % kBlock) * 4 + v % 4;
        weights[static_cast<size_t>(at)] =
            static_cast<uint8_t>(layer.weight[static_cast<size_t>((c * w[2] + u) * w[3] + v)]);
      }
    }
  }
  std::vector<Set> sets;
  for (int64_t block = 0; block < blocks; ++block) {
    sets.push_back({block, 1, block, 1, 0, block * w[2] * words * 64});
  }
  keep_scales(step, layer, out);
  keep(step, weights, sets);
}

Tile tile_of(const Step& step, Layout out) {
  Tile tile{};
  tile.store = store_of(out);
  tile.low = step.epilogue.low;
  tile.high = step.epilogue.high;
  if (out == Layout::bytes) {
    const Affine& y = step.out_affine;
    tile.zero = y.zero;
    tile.low = std::max(tile.low / y.scale, static_cast<float>(-y.zero));
    tile.high = std::min(tile.high / y.scale, static_cast<float>(255 - y.zero));
    tile.residual_scale = step.residual_affine.scale / y.scale;
    tile.residual_zero = step.residual_affine.zero;
  }
  return tile;
}

void bend(const Epilogue& epilogue, int64_t block, float* row, int64_t count) {
  if (const float* slopes = epilogue.slopes_of(block)) {
    for (int64_t i = 0; i < count; ++i) row[i] *= row[i] < 0 ? slopes[i % kBlock] : 1;
  }
  if (!epilogue.curve) return;
  for (int64_t i = 0; i < count; ++i) {
    if (const auto* activation = std::get_if<Activation>(&*epilogue.curve)) {
      row[i] = static_cast<float>(apply(*activation, row[i]));
    } else {
      row[i] = static_cast<float>(apply(std::get<Fade>(*epilogue.curve), row[i]));
    }
  }
}

double relative_cost(Layout in, bool depthwise) {
  constexpr double kPlain = 20;  // a byte at a time
  const Runs& runs = fast_runs();
  if (in == Layout::halves) return runs.halves ? 0.55 : kPlain;
  if (depthwise) return runs.depthwise ? 0.6 : kPlain;
  return runs.bytes ? 0.28 : kPlain;
}

}  // namespace reducenet::narrow
