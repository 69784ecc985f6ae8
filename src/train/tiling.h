#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace reducenet::train {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

/// A channels-last array of `elements` floats, cut into tiles of whole pixels (about 512 floats, so that what is known
/// per channel, repeated for each pixel of a tile, stays in the first-level cache) and chunks of whole tiles (about
/// 32,768 floats: the second-level cache). Chunks are the unit of parallel work and of rounding: the cut depends on
/// shape alone.
class Tiling {
 public:
  explicit Tiling(const at::Tensor& x)
      : channels_(static_cast<size_t>(x.size(1))),
        elements_(static_cast<size_t>(x.numel())),
        tile_(channels_ * std::max<size_t>(1, 512 / channels_)),
        chunk_(tile_ * std::max<size_t>(1, 32768 / tile_)) {}

  size_t channels() const { return channels_; }
  size_t tile() const { return tile_; }
  size_t chunks() const { return (elements_ + chunk_ - 1) / chunk_; }
  double pixels() const { return static_cast<double>(elements_ / channels_); }
  /// Pixels in a chunk.
  double pixels(size_t chunk) const {
    return static_cast<double>((std::min(elements_, (chunk + 1) * chunk_) - chunk * chunk_) / channels_);
  }

  /// body(offset, n) for each tile of a chunk.
  template <class Body>
  void for_tiles(size_t chunk, const Body& body) const {
    const size_t end = std::min(elements_, (chunk + 1) * chunk_);
    for (size_t at = chunk * chunk_; at < end; at += tile_) body(at, std::min(tile_, end - at));
  }

  /// body(chunk), in parallel.
  template <class Body>
  void for_chunks(const Body& body) const {
    at::parallel_for(0, static_cast<int64_t>(chunks()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) body(static_cast<size_t>(chunk));
    });
  }

  /// What holds per channel, repeated over a tile.
  template <class Vector>
  Floats spread(const Vector& per_channel) const {
    Floats tile(tile_);
    for (size_t c = 0; c < channels_; ++c) tile[c] = static_cast<float>(per_channel[c]);
    for (size_t j = channels_; j < tile_; ++j) tile[j] = tile[j - channels_];
    return tile;
  }
  /// The sum over a tile's pixels, added to totals[C].
  void fold(const Floats& tile, double* totals) const {
    for (size_t pixel = 0; pixel < tile_; pixel += channels_) {
      for (size_t c = 0; c < channels_; ++c) totals[c] += static_cast<double>(tile[pixel + c]);
    }
  }

 private:
  size_t channels_, elements_, tile_, chunk_;
};

inline at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(x.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

}  // namespace reducenet::train
