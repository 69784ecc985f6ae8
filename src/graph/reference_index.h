#pragma once

#include <cmath>
#include <numeric>

#include "graph/call.h"
#include "graph/resize.h"
#include "reducenet/error.h"

// The oracle's arithmetic: ops that move, select, repeat and count elements.

namespace reducenet::reference {

template <class T>
void run(const Where&, const Call<T>& call) {
  const Shape& y = call.y.shape;
  for_each_index<3>(y,
                    {broadcast_strides(call.x(0).shape, y), broadcast_strides(call.x(1).shape, y),
                     broadcast_strides(call.x(2).shape, y)},
                    [&](int64_t at, const std::array<int64_t, 3>& from) {
                      *call.y.at(at) = *call.x(0).at(from[0]) != 0 ? *call.x(1).at(from[1]) : *call.x(2).at(from[2]);
                    });
}

template <class T>
void run(const ScatterNd&, const Call<T>& call) {
  const Shape &shape = call.x().shape, &indices = call.x(1).shape;
  std::ranges::copy(call.x().data, call.y.at(0));
  const auto depth = static_cast<size_t>(indices.back());
  const std::vector<int64_t> strides = dense_strides(shape);
  int64_t slice = 1;
  for (size_t i = depth; i < shape.size(); ++i) slice *= shape[i];
  const int64_t count = element_count(Shape(indices.begin(), indices.end() - 1));
  for (int64_t k = 0; k < count; ++k) {
    int64_t at = 0;
    for (size_t i = 0; i < depth; ++i) {
      auto index = static_cast<int64_t>(*call.x(1).at(k * static_cast<int64_t>(depth) + static_cast<int64_t>(i)));
      if (index < 0) index += shape[i];
      if (index < 0 || index >= shape[i]) throw Error(ErrorKind::bad_input, "an index is outside its axis");
      at += index * strides[i];
    }
    std::copy_n(call.x(2).at(k * slice), slice, call.y.at(at));
  }
}

template <class T>
void run(const Slice& op, const Call<T>& call) {
  const auto axes = slices(op, call.inputs);
  const auto in = dense_strides(call.x().shape);
  std::vector<int64_t> strides;
  int64_t first = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    first += (*axes)[i].start * in[i];
    strides.push_back((*axes)[i].count > 1 ? (*axes)[i].step * in[i] : 0);
  }
  for_each_index<1>(call.y.shape, {strides}, [&](int64_t at, const std::array<int64_t, 1>& from) {
    *call.y.at(at) = *call.x().at(first + from[0]);
  });
}

template <class T>
void run(const SplitAxis& op, const Call<T>& call) {
  const AroundAxis x(op.axis, call.x().shape);
  int64_t first = 0;
  for (Array<T>* y : call.outputs) {
    const int64_t size = y->shape[x.axis];
    for (int64_t o = 0; o < x.outer; ++o) {
      std::copy_n(call.x().at((o * x.size + first) * x.inner), size * x.inner, y->at(o * size * x.inner));
    }
    first += size;
  }
}

template <class T>
void run(const Gather& op, const Call<T>& call) {
  const AroundAxis x(op.axis, call.x().shape);
  T* to = call.y.at(0);
  for (int64_t o = 0; o < x.outer; ++o) {
    for (const T index : call.x(1).data) {
      const auto at = static_cast<int64_t>(index < 0 ? index + static_cast<T>(x.size) : index);
      if (at < 0 || at >= x.size) throw Error(ErrorKind::bad_input, "an index is outside the axis");
      to = std::copy_n(call.x().at((o * x.size + at) * x.inner), x.inner, to);
    }
  }
}

template <class T>
void run(const Squeeze&, const Call<T>& call) {
  call.y.data = call.x().data;
}

template <class T>
void run(const Repeat& op, const Call<T>& call) {
  const Shape &x = call.x().shape, &y = call.y.shape;
  if (op.kind == Repeat::Kind::expand) {
    for_each_index<1>(y, {broadcast_strides(x, y)},
                      [&](int64_t at, const std::array<int64_t, 1>& from) { *call.y.at(at) = *call.x().at(from[0]); });
    return;
  }
  const auto strides = dense_strides(x);
  for (int64_t at = 0; at < static_cast<int64_t>(call.y.data.size()); ++at) {
    int64_t rest = at, from = 0;
    for (size_t axis = y.size(); axis-- > 0;) {
      from += rest % y[axis] % x[axis] * strides[axis];
      rest /= y[axis];
    }
    *call.y.at(at) = *call.x().at(from);
  }
}

/// Copies x, seen as `split`, with its axes in the order `perm`.
template <class T>
void permute(const Array<T>& x, const Shape& split, const std::vector<size_t>& perm, Array<T>& y) {
  const auto dense = dense_strides(split);
  Shape shape;
  std::vector<int64_t> strides;
  for (const size_t axis : perm) {
    shape.push_back(split[axis]);
    strides.push_back(dense[axis]);
  }
  for_each_index<1>(shape, {strides},
                    [&](int64_t at, const std::array<int64_t, 1>& from) { *y.at(at) = *x.at(from[0]); });
}

template <class T>
void run(const SpaceDepth& op, const Call<T>& call) {
  const Shape &x = call.x().shape, &y = call.y.shape;
  const int64_t b = op.block;
  switch (op.kind) {
    case SpaceDepth::Kind::depth_to_space:
      return permute(call.x(), {x[0], b, b, y[1], x[2], x[3]}, {0, 3, 4, 1, 5, 2}, call.y);
    case SpaceDepth::Kind::depth_to_space_crd:
      return permute(call.x(), {x[0], y[1], b, b, x[2], x[3]}, {0, 1, 4, 2, 5, 3}, call.y);
    case SpaceDepth::Kind::space_to_depth:
      return permute(call.x(), {x[0], x[1], y[2], b, y[3], b}, {0, 3, 5, 1, 2, 4}, call.y);
  }
}

/// One axis after the other: y[…,i,…] = Σ weight·x[…,index,…] over the taps of i.
template <class T>
void run(const Resize& op, const Call<T>& call) {
  Array<T> now = call.x();
  for (size_t axis = 0; axis < now.shape.size(); ++axis) {
    const double scale = resize_scale(call.inputs.values[2], axis, now.shape[axis], call.y.shape[axis]);
    if (now.shape[axis] == call.y.shape[axis] && scale == 1) continue;
    const AroundAxis x(static_cast<int64_t>(axis), now.shape);
    Shape shape = now.shape;
    shape[axis] = call.y.shape[axis];
    Array<T> next(shape);
    for (int64_t i = 0; i < shape[axis]; ++i) {
      for (const Tap& tap : resize_taps(op, i, x.size, scale)) {
        for (int64_t o = 0; o < x.outer; ++o) {
          const T* from = now.at((o * x.size + tap.index) * x.inner);
          T* to = next.at((o * shape[axis] + i) * x.inner);
          for (int64_t k = 0; k < x.inner; ++k) to[k] += static_cast<T>(tap.weight) * from[k];
        }
      }
    }
    now = std::move(next);
  }
  call.y.data = std::move(now.data);
}

template <class T>
void run(const ShapeOf& op, const Call<T>& call) {
  std::ranges::transform(numbers_of(op, call.x().shape).to_doubles(), call.y.data.begin(),
                         [](double size) { return static_cast<T>(size); });
}

template <class T>
void run(const ConstantOfShape& op, const Call<T>& call) {
  std::ranges::fill(call.y.data, static_cast<T>(op.value));
}

template <class T>
void run(const Arange&, const Call<T>& call) {
  for (size_t i = 0; i < call.y.data.size(); ++i) {
    call.y.data[i] = call.x(0).data[0] + static_cast<T>(i) * call.x(2).data[0];
  }
}

template <class T>
void run(const Cast&, const Call<T>& call) {  // the store rounds to integers
  call.y.data = call.x().data;
}

}  // namespace reducenet::reference
