#pragma once

#include <cstdint>
#include <future>
#include <span>
#include <vector>

#include "reducenet/data.h"

namespace reducenet::train {

/// How a training image is varied; all off for evaluation.
struct Augmentation {
  int64_t crop = 0;  ///< random shift by up to ±crop pixels; black comes in at the border
  bool flip = false;
  int64_t cutout = 0;  ///< side of a square, centred anywhere in the image, set to the mean
};

/// `indices` in the order of an epoch: by random_bits(seed, epoch, index).
std::vector<int32_t> epoch_order(std::vector<int32_t> indices, uint64_t seed, int64_t epoch);

/// Turns images into network input: out[y][x][c] = the pixel of channel c under `preprocessing`, varied.
class ImageWriter {
 public:
  ImageWriter(const ImageSet& images, const Preprocessing& preprocessing);
  void write(int64_t image, const Augmentation& augmentation, uint64_t random, float* out) const;
  const ImageSet& images() const { return images_; }

 private:
  const ImageSet& images_;
  std::vector<float> table_;  // [channel][pixel value]
};

/// A batch in the loader's memory: pixels [count][height][width][channels].
struct Batch {
  std::span<float> pixels;
  std::span<int64_t> labels;
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

/// Serves batches; the next one is made by another thread while the caller works on this one.
class Loader {
 public:
  struct Source {
    const ImageWriter& images;
    std::span<const int32_t> order;  ///< must outlive the loader
    Augmentation augmentation;
    uint64_t seed = 0;
    int64_t epoch = 0;
  };
  /// Batches first, first + 1, … of at most `size` images into two buffers of size · image floats each (pinned memory,
  /// for a GPU); the last batch holds what remains.
  Loader(Source source, int64_t size, int64_t first, std::span<float> even, std::span<float> odd);
  ~Loader();
  /// Valid until the next call. Empty at the end of the order.
  Batch next();

 private:
  Batch make(int64_t index);
  Source source_;
  int64_t size_, index_;
  std::span<float> pixels_[2];
  std::vector<int64_t> labels_[2];
  std::future<Batch> pending_;
};

}  // namespace reducenet::train
