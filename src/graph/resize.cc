#include "graph/resize.h"

#include <algorithm>
#include <cmath>

namespace reducenet {
namespace {

/// Where output element i lies among the input's elements.
double source(const Resize& op, double i, double input, double output, double scale) {
  switch (op.coordinates) {
    case Resize::Coordinates::half_pixel:
      return (i + 0.5) / scale - 0.5;
    case Resize::Coordinates::pytorch_half_pixel:
      return output > 1 ? (i + 0.5) / scale - 0.5 : 0;
    case Resize::Coordinates::align_corners:
      return output > 1 ? i * (input - 1) / (output - 1) : 0;
    case Resize::Coordinates::asymmetric:
      return i / scale;
  }
  return i;
}

int64_t nearest(Resize::Rounding rounding, double x) {
  switch (rounding) {
    case Resize::Rounding::prefer_floor:
      return static_cast<int64_t>(std::ceil(x - 0.5));
    case Resize::Rounding::prefer_ceil:
      return static_cast<int64_t>(std::floor(x + 0.5));
    case Resize::Rounding::floor:
      return static_cast<int64_t>(std::floor(x));
    case Resize::Rounding::ceil:
      return static_cast<int64_t>(std::ceil(x));
  }
  return 0;
}

// Keys, Cubic convolution interpolation for digital image processing, 1981, equation 15, with a free.
double cubic(double a, double distance) {
  const double t = std::abs(distance);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

}  // namespace

double resize_scale(const Tensor* scales, size_t axis, int64_t input, int64_t output) {
  if (scales && scales->size() > 0) return scales->to_doubles()[axis];
  return static_cast<double>(output) / static_cast<double>(input);
}

std::vector<Tap> resize_taps(const Resize& op, int64_t i, int64_t input, double scale) {
  const auto size = static_cast<double>(input);
  const double x = source(op, static_cast<double>(i), size, size * scale, scale);  // as ONNX's reference: not rounded
  const auto clipped = [&](int64_t index) { return std::clamp<int64_t>(index, 0, input - 1); };
  if (op.mode == Resize::Mode::nearest) return {{clipped(nearest(op.rounding, x)), 1}};
  const auto left = static_cast<int64_t>(std::floor(x));
  const double part = x - static_cast<double>(left);
  std::vector<Tap> taps;
  if (op.mode == Resize::Mode::linear) {
    taps = {{left, 1 - part}, {left + 1, part}};
  } else {
    for (int64_t k = -1; k <= 2; ++k) taps.push_back({left + k, cubic(op.cubic_a, part - static_cast<double>(k))});
  }
  double total = 0;
  for (Tap& tap : taps) {
    if (op.exclude_outside && tap.index != clipped(tap.index)) tap.weight = 0;
    tap.index = clipped(tap.index);
    total += tap.weight;
  }
  if (op.exclude_outside) {
    for (Tap& tap : taps) tap.weight /= total;
  }
  return taps;
}

PlaneTaps plane_taps(const Resize& op, const Shape& x, const Shape& y, std::array<double, 2> scales) {
  PlaneTaps taps;
  for (const size_t axis : {size_t{2}, size_t{3}}) {
    for (int64_t i = 0; i < y[axis]; ++i) {
      for (const Tap& tap : resize_taps(op, i, x[axis], scales[axis - 2])) {
        taps.indices.push_back(tap.index);
        taps.weights.push_back(static_cast<float>(tap.weight));
      }
    }
  }
  return taps;
}

}  // namespace reducenet
