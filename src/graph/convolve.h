#pragma once

#include <span>

#include "graph/reference.h"

namespace reducenet {

/// Weights as they are stored: float32 is widened block by block, so that no second copy of a network is made.
template <class T>
struct Weights {
  Shape shape;
  std::span<const float> f32;
  std::span<const T> exact;  ///< where f32 is empty
  bool transposed = false;   ///< stored [input, output], as x·W reads a matrix; of 1×1 convolutions without groups
};

/// reference::conv for large networks: the same sums in another order, blocked for the cache and on several threads.
/// Products and sums may be fused (one rounding) where the CPU can. reference.h tests it.
template <class T>
void convolve(const Conv2d& op, const reference::Array<T>& x, const Weights<T>& w, const reference::Array<T>* b,
              reference::Array<T>& y, int threads);

extern template void convolve(const Conv2d&, const reference::Array<double>&, const Weights<double>&,
                              const reference::Array<double>*, reference::Array<double>&, int);
extern template void convolve(const Conv2d&, const reference::Array<float>&, const Weights<float>&,
                              const reference::Array<float>*, reference::Array<float>&, int);

}  // namespace reducenet
