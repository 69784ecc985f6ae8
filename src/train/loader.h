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

/// One image under one draw of an Augmentation. Whole numbers of one size, so that a batch of them is a tensor too.
struct View {
  int64_t image = 0;            ///< its index
  int64_t down = 0, right = 0;  ///< out[y][x] is the image's pixel [y + down][x + right] …
  int64_t mirrored = 0;         ///< … 1: counted from the right
  int64_t top = 0, left = 0;    ///< of the cutout's square; it may reach over the border
};

/// What `augmentation` does to that image of height × width pixels; `random` decides.
View draw_view(int64_t image, int64_t height, int64_t width, const Augmentation& augmentation, uint64_t random);

/// `indices` in the order of an epoch: by random_bits(seed, epoch, index).
std::vector<int32_t> epoch_order(std::vector<int32_t> indices, uint64_t seed, int64_t epoch);

/// The network's input for every pixel value: [channel][value].
std::vector<float> pixel_table(const Preprocessing& preprocessing, int64_t channels);

/// Turns images into network input: out[y][x][c] = the pixel of channel c under `preprocessing`, as the view has it.
class ImageWriter {
 public:
  ImageWriter(const ImageSet& images, const Preprocessing& preprocessing);
  void write(const View& view, int64_t cutout, float* out) const;
  const ImageSet& images() const { return images_; }

 private:
  const ImageSet& images_;
  std::vector<float> table_;
};

/// A batch in the loader's memory: pixels [count][height][width][channels], none where the loader was given no memory
/// for them.
struct Batch {
  std::span<float> pixels;
  std::span<int64_t> labels;
  std::span<View> views;
  int64_t cutout = 0;
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
  /// Batches first, first + 1, … of at most `size` images into two buffers of size · image floats each, or two empty
  /// ones where someone else writes the pixels; the last batch holds what remains.
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
  std::vector<View> views_[2];
  std::future<Batch> pending_;
};

}  // namespace reducenet::train
