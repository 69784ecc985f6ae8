#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "train/loader.h"
#include "train/network.h"
#include "train/resident.h"

namespace reducenet::train {

/// A batch on the network's device; empty at the end of the order.
struct Labelled {
  at::Tensor pixels;  ///< [N,C,H,W] with channels-last strides, perhaps in the loader's memory
  at::Tensor labels;  ///< [N]
  explicit operator bool() const { return labels.defined() && labels.numel() > 0; }
};

/// Where a batch's pixels are made from its images.
enum class Augmented {
  on_host,    ///< by the loader's thread, then copied to the device
  on_device,  ///< from the images' bytes, which lie there
};

/// Images as batches of tensors.
class Feed {
 public:
  /// `images` must outlive the feed. On a GPU whatever fits is augmented there, on a CPU by the loader's thread.
  Feed(const ImageSet& images, const Preprocessing& preprocessing, int64_t batch, at::Device device);
  Feed(const ImageSet& images, const Preprocessing& preprocessing, int64_t batch, at::Device device, Augmented where);
  /// The same images in batches of another size; those that lie on a device lie there once.
  Feed with_batch(int64_t batch) const;
  int64_t batch() const { return batch_; }
  /// Batches first, first + 1, … of one epoch; one such loader at a time.
  Loader loader(std::span<const int32_t> order, const Augmentation& augmentation = {}, uint64_t seed = 0,
                int64_t epoch = 0, int64_t first = 0);
  /// Valid until the loader's next call.
  Labelled tensors(const Batch& batch) const;

 private:
  void set_batch(int64_t batch);
  ImageWriter writer_;
  int64_t batch_ = 0;
  at::Device device_;
  std::shared_ptr<const ResidentImages> resident_;  // nullptr: on the host
  at::Tensor even_, odd_;                           // floats of the loader's batches, unless resident
};

/// How many images have their own class' score highest; it stays on the device.
at::Tensor right(const at::Tensor& scores, const at::Tensor& labels);

struct Score {
  double top1 = 0, loss = 0;  ///< shares of 1; mean cross-entropy
};

/// The network as it stands on the images of `order`, without augmentation. `by_batch`: BatchNorm by each batch's own
/// statistics (the running ones stay as they are): how the network would do once they were estimated again.
Score evaluate(Network& network, Feed& feed, std::span<const int32_t> order, bool by_batch = false);

}  // namespace reducenet::train
