#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "reducenet/tensor.h"

namespace reducenet {

/// Steps of elements along each axis of a dense tensor.
inline std::vector<int64_t> dense_strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

/// The same, seen through NumPy's broadcasting to `to`: 0 along axes that repeat.
inline std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& to) {
  const std::vector<int64_t> dense = dense_strides(shape);
  std::vector<int64_t> strides(to.size(), 0);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1) strides[to.size() - shape.size() + i] = dense[i];
  }
  return strides;
}

/// visit(position in `shape`, Σ index·strides[k] for each k), for every index of `shape` in row-major order.
template <size_t N, class Visit>
void for_each_index(const Shape& shape, const std::array<std::vector<int64_t>, N>& strides, Visit visit) {
  const int64_t count = element_count(shape);
  Shape index(shape.size(), 0);
  std::array<int64_t, N> offset{};
  for (int64_t position = 0; position < count; ++position) {
    visit(position, offset);
    for (size_t axis = shape.size(); axis-- > 0;) {
      for (size_t k = 0; k < N; ++k) offset[k] += strides[k][axis];
      if (++index[axis] < shape[axis]) break;
      for (size_t k = 0; k < N; ++k) offset[k] -= strides[k][axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace reducenet
