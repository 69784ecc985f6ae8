#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "train/loader.h"

namespace reducenet::train {

/// Images that lie on a device as bytes and are cropped, mirrored, cut out and preprocessed there: for each batch only
/// its views travel. The same numbers as ImageWriter's, to the bit.
class ResidentImages {
 public:
  ResidentImages(const ImageSet& images, const Preprocessing& preprocessing, at::Device device);
  /// [N,C,H,W] with channels-last strides, on the device.
  at::Tensor pixels(std::span<const View> views, int64_t cutout) const;

 private:
  int64_t height_, width_, channels_;
  at::Tensor rows_;   // [images · H · W, C] bytes
  at::Tensor table_;  // [C · 256] floats
};

}  // namespace reducenet::train
