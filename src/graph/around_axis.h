#pragma once

#include "graph/index_shapes.h"
#include "reducenet/tensor.h"

namespace reducenet {

/// A dense tensor around one axis: [outer, size, inner]. Negative axes count from the end.
struct AroundAxis {
  int64_t outer = 1, size, inner = 1;
  size_t axis;
  AroundAxis(int64_t given, const Shape& shape) : axis(static_cast<size_t>(normalised_axis(given, shape.size()))) {
    size = shape[axis];
    for (size_t i = 0; i < axis; ++i) outer *= shape[i];
    for (size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  }
};

}  // namespace reducenet
