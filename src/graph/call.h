#pragma once

#include <vector>

#include "graph/around_axis.h"
#include "graph/index_shapes.h"
#include "graph/reference.h"

namespace reducenet::reference {

/// What an op sees: its inputs (nullptr where absent) and the arrays to fill, already shaped; y is the first.
template <class T>
struct Call {
  std::vector<const Array<T>*> in;
  Array<T>& y;
  int threads;
  DType dtype;  ///< of y
  OpInputs inputs;
  std::vector<Array<T>*> outputs;

  const Array<T>& x(size_t i = 0) const { return *in[i]; }
  const Array<T>* optional(size_t i) const { return i < in.size() ? in[i] : nullptr; }
};

template <class T, class F>
void map(const Call<T>& call, F f) {
  for (size_t i = 0; i < call.y.data.size(); ++i) call.y.data[i] = static_cast<T>(f(call.x().data[i]));
}

template <class T, class F>
void combine(const Call<T>& call, F f) {
  const Shape& shape = call.y.shape;
  for_each_index<2>(shape, {broadcast_strides(call.x(0).shape, shape), broadcast_strides(call.x(1).shape, shape)},
                    [&](int64_t at, const std::array<int64_t, 2>& from) {
                      *call.y.at(at) = static_cast<T>(f(*call.x(0).at(from[0]), *call.x(1).at(from[1])));
                    });
}

}  // namespace reducenet::reference
