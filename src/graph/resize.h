#pragma once

#include <cstdint>
#include <vector>

#include "reducenet/op.h"
#include "reducenet/tensor.h"

// Resize along one axis, as weights of input elements (the ONNX documentation of Resize).

namespace reducenet {

struct Tap {
  int64_t index;
  double weight;
};

/// Output size over input size along an axis: the scale (input 2 of a Resize) where there are any, else as the sizes
/// are.
double resize_scale(const Tensor* scales, size_t axis, int64_t input, int64_t output);

/// What output element i is made of, of an input of `input` elements.
std::vector<Tap> resize_taps(const Resize& op, int64_t i, int64_t input, double scale);

}  // namespace reducenet
