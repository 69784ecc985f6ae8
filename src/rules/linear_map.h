#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// One spatial axis of a convolution: output i reads input  stride·i − begin + dilation·u  for taps u in [0, kernel),
/// and zero outside the image. A negative `begin` or `end` crops.
struct Axis {
  int64_t kernel = 1, stride = 1, dilation = 1, begin = 0, end = 0;

  int64_t reach() const { return dilation * (kernel - 1); }
  /// Input positions that the outputs may use beyond the first: size + slack() − 1 = last allowed offset.
  int64_t slack() const { return begin + end - reach(); }
  int64_t output_size(int64_t size) const { return (size + slack() - 1) / stride + 1; }
  friend bool operator==(const Axis&, const Axis&) = default;
};

/// Everything about a convolution-like map but its numbers. A map between vectors (Gemm) has kernel 1.
struct Geometry {
  int64_t in = 1, out = 1, groups = 1;
  std::array<Axis, 2> axes;

  int64_t taps() const { return axes[0].kernel * axes[1].kernel; }
  /// Multiply-accumulates per output position, and elements of the weight.
  int64_t weights() const { return out * (in / groups) * taps(); }
  friend bool operator==(const Geometry&, const Geometry&) = default;
};

/// y = w ∗ x + b, with w[out, in/groups, kernel height, kernel width] and b[out], in double.
struct LinearMap {
  Geometry geometry;
  std::vector<double> weight, bias;
};

/// Height and width, where known.
using ImageSize = std::array<std::optional<int64_t>, 2>;

/// x → x on `channels` channels.
Geometry identity_geometry(int64_t channels);
LinearMap identity_map(int64_t channels);

/// How `second` meets the border of what `first` makes.
struct Border {
  bool reads_padding = false;  ///< some output of `second` reads its zero padding
  bool zeros_agree =
      true;  ///< where it does, `first` without bias, continued outside its output, would be zero as well
};
Border border_between(const Axis& first, const Axis& second, std::optional<int64_t> size);

/// second ∘ first: taps add up (u·d₁ + v·s₁·d₂), strides multiply, padding p₁ + s₁·p₂. Equal to running both when the
/// borders agree (border_between) and no bias of `first` meets padding.
Geometry compose(const Geometry& first, const Geometry& second);
LinearMap compose(const LinearMap& first, const LinearMap& second);
/// The same where `first` may be used up: a factor per channel is multiplied into it.
LinearMap compose(LinearMap&& first, const LinearMap& second);

/// The geometry that holds the taps of both; nothing when the outputs of the two are not aligned for this image size.
std::optional<Geometry> sum(const Geometry& a, const Geometry& b, const ImageSize& size);
/// a + b in the geometry `into` (from the function above).
LinearMap sum(LinearMap a, LinearMap b, const Geometry& into);

/// The geometry of [a; b], both maps' outputs one after the other; nothing when those are not aligned.
std::optional<Geometry> stack(const Geometry& a, const Geometry& b, const ImageSize& size);
/// [a; b] in the geometry `into` (from the function above).
LinearMap stack(LinearMap a, LinearMap b, const Geometry& into);
/// The map of inputs first … first + count − 1 alone, without bias; the map has one group.
LinearMap columns_of(const LinearMap& map, int64_t first, int64_t count);
/// The map of inputs first … first + count − 1 to the outputs of their groups; nothing when a group is cut.
std::optional<LinearMap> groups_of(const LinearMap& map, int64_t first, int64_t count);

/// The same map with crops turned into zero taps: no padding is negative.
Geometry without_crops(Geometry geometry);
/// The same map in a geometry that holds all its taps.
LinearMap embed(LinearMap map, const Geometry& into);

/// Transpose of the linear part: for each of `rows` cotangents dy[out, H', W'] the cotangent dx[in, H, W].
std::vector<double> pull_back(const LinearMap& map, const std::vector<double>& dy, int64_t rows, Size2 input_size,
                              Size2 output_size);

}  // namespace reducenet
