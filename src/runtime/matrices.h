#pragma once

#include <array>
#include <vector>

#include "graph/strides.h"

namespace reducenet {

/// Where each matrix of a and of b begins whose product is a matrix of y, as MatMul broadcasts them; in y's order.
inline std::vector<std::array<int64_t, 2>> matrix_starts(const Shape& a, const Shape& b, const Shape& y) {
  Shape batch = y;
  if (b.size() > 1) batch.pop_back();
  if (a.size() > 1) batch.pop_back();
  const auto strides = [&](const Shape& shape) {
    if (shape.size() < 3) return std::vector<int64_t>(batch.size(), 0);
    std::vector<int64_t> steps = broadcast_strides({shape.begin(), shape.end() - 2}, batch);
    for (int64_t& step : steps) step *= shape[shape.size() - 2] * shape.back();
    return steps;
  };
  std::vector<std::array<int64_t, 2>> starts;
  for_each_index<2>(batch, {strides(a), strides(b)},
                    [&](int64_t, const std::array<int64_t, 2>& from) { starts.push_back(from); });
  return starts;
}

}  // namespace reducenet
