#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/call.h"

// The oracle's arithmetic: comparisons, and ops that gather many elements into one.

namespace reducenet::reference {

template <class T>
void run(const Compare& op, const Call<T>& call) {
  const auto each = [&](auto f) { combine(call, [&](T a, T b) { return static_cast<T>(f(a, b)); }); };
  switch (op.kind) {
    case Compare::Kind::equal:
      return each([](T a, T b) { return a == b; });
    case Compare::Kind::less:
      return each([](T a, T b) { return a < b; });
    case Compare::Kind::less_or_equal:
      return each([](T a, T b) { return a <= b; });
    case Compare::Kind::greater:
      return each([](T a, T b) { return a > b; });
    case Compare::Kind::greater_or_equal:
      return each([](T a, T b) { return a >= b; });
    case Compare::Kind::logical_and:
      return each([](T a, T b) { return a != 0 && b != 0; });
    case Compare::Kind::logical_or:
      return each([](T a, T b) { return a != 0 || b != 0; });
    case Compare::Kind::logical_xor:
      return each([](T a, T b) { return (a != 0) != (b != 0); });
  }
}

template <class T>
void run(const Variadic& op, const Call<T>& call) {
  for (size_t k = 0; k < call.in.size(); ++k) {
    for_each_index<1>(call.y.shape, {broadcast_strides(call.x(k).shape, call.y.shape)},
                      [&](int64_t at, const std::array<int64_t, 1>& from) {
                        T& y = *call.y.at(at);
                        const T x = *call.x(k).at(from[0]);
                        if (k == 0) {
                          y = x;
                        } else if (op.kind == Variadic::Kind::min) {
                          y = std::min(y, x);
                        } else if (op.kind == Variadic::Kind::max) {
                          y = std::max(y, x);
                        } else {
                          y += x;
                        }
                      });
  }
  if (op.kind != Variadic::Kind::mean) return;
  for (T& y : call.y.data) y /= static_cast<T>(call.in.size());
}

template <class T>
void run(const GlobalMaxPool&, const Call<T>& call) {
  const size_t plane = call.y.data.empty() ? 0 : call.x().data.size() / call.y.data.size();
  for (size_t i = 0; i < call.y.data.size(); ++i) {
    T best = -std::numeric_limits<T>::infinity();
    for (size_t k = 0; k < plane; ++k) best = std::max(best, call.x().data[i * plane + k]);
    call.y.data[i] = best;
  }
}

// The channels c − ⌊(size−1)/2⌋ … c + ⌈(size−1)/2⌉.
template <class T>
void run(const Lrn& op, const Call<T>& call) {
  const AroundAxis x(1, call.x().shape);
  const int64_t before = (op.size - 1) / 2, after = op.size - 1 - before;
  for (int64_t o = 0; o < x.outer; ++o) {
    for (int64_t c = 0; c < x.size; ++c) {
      for (int64_t i = 0; i < x.inner; ++i) {
        T sum = 0;
        for (int64_t k = std::max<int64_t>(c - before, 0); k <= std::min(c + after, x.size - 1); ++k) {
          const T value = *call.x().at((o * x.size + k) * x.inner + i);
          sum += value * value;
        }
        const int64_t at = (o * x.size + c) * x.inner + i;
        const T base = static_cast<T>(op.bias) + static_cast<T>(op.alpha) / static_cast<T>(op.size) * sum;
        *call.y.at(at) = *call.x().at(at) / std::pow(base, static_cast<T>(op.beta));
      }
    }
  }
}

/// Each run of `count` elements to mean 0 and variance 1; further outputs take the mean and the scale.
template <class T>
void standardise(const Call<T>& call, int64_t count, double epsilon) {
  const Array<T>& x = call.x();
  Array<T>& y = call.y;
  for (int64_t first = 0; count > 0 && first < static_cast<int64_t>(x.data.size()); first += count) {
    T mean = 0, variance = 0;
    for (int64_t i = 0; i < count; ++i) mean += *x.at(first + i);
    mean /= static_cast<T>(count);
    for (int64_t i = 0; i < count; ++i) variance += (*x.at(first + i) - mean) * (*x.at(first + i) - mean);
    const T scale = 1 / std::sqrt(variance / static_cast<T>(count) + static_cast<T>(epsilon));
    for (int64_t i = 0; i < count; ++i) *y.at(first + i) = (*x.at(first + i) - mean) * scale;
    if (call.outputs.size() > 1) *call.outputs[1]->at(first / count) = mean;
    if (call.outputs.size() > 2) *call.outputs[2]->at(first / count) = scale;
  }
}

template <class T>
void run(const Normalize& op, const Call<T>& call) {
  const Shape& x = call.x().shape;
  const bool layer = op.kind == Normalize::Kind::layer;
  const int64_t axis = layer ? normalised_axis(op.axis, x.size()) : 2;
  int64_t count = element_count({x.begin() + axis, x.end()});
  if (op.kind == Normalize::Kind::group) count *= x[1] / op.groups;
  standardise(call, count, op.epsilon);
  const Array<T>* bias = call.optional(2);
  if (layer) {
    const auto strides = [&](const Array<T>* a) {
      return a ? broadcast_strides(a->shape, x) : std::vector<int64_t>(x.size());
    };
    for_each_index<2>(x, {strides(&call.x(1)), strides(bias)}, [&](int64_t at, const std::array<int64_t, 2>& from) {
      *call.y.at(at) = *call.y.at(at) * *call.x(1).at(from[0]) + (bias ? *bias->at(from[1]) : T{0});
    });
    return;
  }
  const AroundAxis channel(1, x);
  const int64_t per_parameter = op.per_group ? x[1] / op.groups : 1;
  for (int64_t i = 0; i < static_cast<int64_t>(call.y.data.size()); ++i) {
    const int64_t parameter = i / channel.inner % channel.size / per_parameter;
    *call.y.at(i) = *call.y.at(i) * *call.x(1).at(parameter) + *bias->at(parameter);
  }
}

/// The least and the largest number of a type: what the maximum and the minimum of nothing are.
template <class T>
std::pair<T, T> limits_of(DType dtype) {
  if (is_float(dtype)) return {-std::numeric_limits<T>::infinity(), std::numeric_limits<T>::infinity()};
  if (dtype == DType::boolean) return {T{0}, T{1}};
  const auto bits = static_cast<int>(8 * size_of(dtype));
  const bool is_signed = dtype == DType::i8 || dtype == DType::i16 || dtype == DType::i32 || dtype == DType::i64;
  return is_signed ? std::pair(-std::ldexp(T{1}, bits - 1), std::ldexp(T{1}, bits - 1) - 1)
                   : std::pair(T{0}, std::ldexp(T{1}, bits) - 1);
}

/// Σ, max … of a list of numbers of a type.
template <class T>
T reduced(Reduce::Kind kind, const std::vector<T>& values, DType dtype) {
  using Kind = Reduce::Kind;
  const auto sum = [&](auto f) {
    T total = 0;
    for (const T v : values) total += f(v);
    return total;
  };
  const auto [least, largest] = limits_of<T>(dtype);
  switch (kind) {
    case Kind::sum:
      return sum([](T v) { return v; });
    case Kind::mean:
      return sum([](T v) { return v; }) / static_cast<T>(values.size());
    case Kind::min:
      return std::accumulate(values.begin(), values.end(), largest, [](T a, T b) { return std::min(a, b); });
    case Kind::max:
      return std::accumulate(values.begin(), values.end(), least, [](T a, T b) { return std::max(a, b); });
    case Kind::prod:
      return std::accumulate(values.begin(), values.end(), T{1}, std::multiplies<>());
    case Kind::l1:
      return sum([](T v) { return std::abs(v); });
    case Kind::l2:
      return std::sqrt(sum([](T v) { return v * v; }));
    case Kind::sum_square:
      return sum([](T v) { return v * v; });
    case Kind::log_sum:
      return std::log(sum([](T v) { return v; }));
    case Kind::log_sum_exp: {
      const T highest = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
      return std::log(sum([&](T v) { return std::exp(v - highest); })) + highest;
    }
  }
  return 0;
}

template <class T>
void run(const Reduce& op, const Call<T>& call) {
  const Shape& x = call.x().shape;
  const std::vector<bool> gone = *reduced_axes(op, call.inputs);
  const auto dense = dense_strides(x);
  Shape kept_shape, gone_shape;
  std::vector<int64_t> kept_strides, gone_strides;
  for (size_t i = 0; i < x.size(); ++i) {
    (gone[i] ? gone_shape : kept_shape).push_back(x[i]);
    (gone[i] ? gone_strides : kept_strides).push_back(dense[i]);
  }
  for_each_index<1>(kept_shape, {kept_strides}, [&](int64_t at, const std::array<int64_t, 1>& from) {
    std::vector<T> values;
    for_each_index<1>(gone_shape, {gone_strides}, [&](int64_t, const std::array<int64_t, 1>& offset) {
      values.push_back(*call.x().at(from[0] + offset[0]));
    });
    const bool nothing = op.none_is_identity && gone_shape.empty();
    *call.y.at(at) = nothing ? values[0] : reduced(op.kind, values, call.dtype);
  });
}

/// Indices along an axis by value, the first of equal ones first; visit(line start, step, order).
template <class T, class Visit>
void for_each_ranking(const Array<T>& array, int64_t axis, bool smallest, Visit visit) {
  const AroundAxis x(axis, array.shape);
  std::vector<int64_t> order(static_cast<size_t>(x.size));
  for (int64_t line = 0; line < x.outer * x.inner; ++line) {
    const int64_t first = line / x.inner * x.size * x.inner + line % x.inner;
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const T u = *array.at(first + a * x.inner), v = *array.at(first + b * x.inner);
      return smallest ? u < v : u > v;
    });
    visit(line, first, x.inner, order);
  }
}

template <class T>
void run(const ArgReduce& op, const Call<T>& call) {
  for_each_ranking(call.x(), op.axis, op.smallest,
                   [&](int64_t line, int64_t first, int64_t step, const std::vector<int64_t>& order) {
                     size_t best = 0;
                     const auto value = [&](size_t i) { return *call.x().at(first + order[i] * step); };
                     while (op.last && best + 1 < order.size() && value(best + 1) == value(0)) ++best;
                     *call.y.at(line) = static_cast<T>(order.at(best));
                   });
}

template <class T>
void run(const Hardmax& op, const Call<T>& call) {
  for_each_ranking(call.x(), op.axis, false,
                   [&](int64_t, int64_t first, int64_t step, const std::vector<int64_t>& order) {
                     if (!order.empty()) *call.y.at(first + order[0] * step) = 1;
                   });
}

template <class T>
void run(const TopK& op, const Call<T>& call) {
  const AroundAxis y(op.axis, call.y.shape);
  for_each_ranking(call.x(), op.axis, op.smallest,
                   [&](int64_t line, int64_t first, int64_t step, const std::vector<int64_t>& order) {
                     const int64_t to = line / y.inner * y.size * y.inner + line % y.inner;
                     for (int64_t k = 0; k < y.size; ++k) {
                       const int64_t index = order[static_cast<size_t>(k)];
                       *call.y.at(to + k * y.inner) = *call.x().at(first + index * step);
                       if (call.outputs.size() < 2) continue;
                       *call.outputs[1]->at(to + k * y.inner) = static_cast<T>(index);
                     }
                   });
}

}  // namespace reducenet::reference
