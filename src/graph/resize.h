#pragma once

#include <array>
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

/// Of an image [N,C,H,W]: the taps of the rows of y, then of its columns, equally many each.
struct PlaneTaps {
  std::vector<int64_t> indices;
  std::vector<float> weights;
};
PlaneTaps plane_taps(const Resize& op, const Shape& x, const Shape& y, std::array<double, 2> scales);

}  // namespace reducenet
