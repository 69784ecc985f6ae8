#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <thread>
#include <vector>

#include "graph/strides.h"
#include "reducenet/op.h"

// The oracle's arithmetic: loops as the definitions read, in T (double, or float to see what float32 does).

namespace reducenet::reference {

template <class T>
struct Array {
  Shape shape;
  std::vector<T> data;

  Array() = default;
  explicit Array(Shape s) : shape(std::move(s)), data(static_cast<size_t>(element_count(shape))) {}
  T* at(int64_t offset) { return data.data() + offset; }
  const T* at(int64_t offset) const { return data.data() + offset; }
};

/// body(i) for i in [0, count), on up to `threads` threads.
inline void parallel(int64_t count, int threads, const std::function<void(int64_t)>& body) {
  const int64_t workers = std::min<int64_t>(std::max(threads, 1), count);
  const auto work = [&](int64_t worker) {
    for (int64_t i = worker; i < count; i += workers) body(i);
  };
  std::vector<std::thread> pool;
  for (int64_t worker = 1; worker < workers; ++worker) pool.emplace_back(work, worker);
  if (count > 0) work(0);
  for (std::thread& thread : pool) thread.join();
}

/// Output positions whose input position  out·stride − before + tap·dilation  lies in [0, size).
struct Covered {
  int64_t first, last;  // half open
  int64_t offset;       // input position of output 0
};
inline Covered covered(int64_t outputs, int64_t size, int64_t stride, int64_t before, int64_t tap, int64_t dilation) {
  const int64_t offset = tap * dilation - before;
  const int64_t first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t last = offset >= size ? 0 : (size - 1 - offset) / stride + 1;
  return {std::min(first, outputs), std::clamp<int64_t>(last, 0, outputs), offset};
}

/// y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n, c, i·sh − top + u·dh, j·sw − left + v·dw], zero outside.
template <class T>
void conv(const Conv2d& op, const Array<T>& x, const Array<T>& w, const Array<T>* b, Array<T>& y, int threads) {
  const int64_t height = x.shape[2], width = x.shape[3], out_h = y.shape[2], out_w = y.shape[3];
  const int64_t outputs = w.shape[0], per_group = w.shape[1], kh = w.shape[2], kw = w.shape[3];
  parallel(y.shape[0] * outputs, threads, [&](int64_t index) {
    const int64_t n = index / outputs, o = index % outputs, group = o / (outputs / op.groups);
    T* plane = y.at(index * out_h * out_w);
    std::fill_n(plane, out_h * out_w, b ? b->data[static_cast<size_t>(o)] : T{0});
    for (int64_t c = 0; c < per_group; ++c) {
      const T* in = x.at((n * x.shape[1] + group * per_group + c) * height * width);
      for (int64_t u = 0; u < kh; ++u) {
        const Covered rows = covered(out_h, height, op.stride[0], op.padding.top, u, op.dilation[0]);
        for (int64_t v = 0; v < kw; ++v) {
          const Covered columns = covered(out_w, width, op.stride[1], op.padding.left, v, op.dilation[1]);
          const T weight = w.data[static_cast<size_t>(((o * per_group + c) * kh + u) * kw + v)];
          for (int64_t i = rows.first; i < rows.last; ++i) {
            const T* from = in + (i * op.stride[0] + rows.offset) * width + columns.offset;
            T* to = plane + i * out_w;
            for (int64_t j = columns.first; j < columns.last; ++j) to[j] += weight * from[j * op.stride[1]];
          }
        }
      }
    }
  });
}

/// y[n,o, i·sh − top + u·dh, j·sw − left + v·dw] += w[c,o,u,v] · x[n,c,i,j], starting from b[o].
template <class T>
void conv_transpose(const ConvTranspose2d& op, const Array<T>& x, const Array<T>& w, const Array<T>* b, Array<T>& y) {
  const int64_t channels = x.shape[1], height = x.shape[2], width = x.shape[3];
  const int64_t outputs = y.shape[1], out_h = y.shape[2], out_w = y.shape[3];
  const int64_t out_per_group = w.shape[1], in_per_group = channels / op.groups, kh = w.shape[2], kw = w.shape[3];
  for (int64_t n = 0; n < y.shape[0]; ++n) {
    for (int64_t o = 0; o < outputs; ++o) {
      T* plane = y.at((n * outputs + o) * out_h * out_w);
      std::fill_n(plane, out_h * out_w, b ? b->data[static_cast<size_t>(o)] : T{0});
      const int64_t group = o / out_per_group;
      for (int64_t c = group * in_per_group; c < (group + 1) * in_per_group; ++c) {
        const T* in = x.at((n * channels + c) * height * width);
        const T* kernel = w.at((c * out_per_group + o % out_per_group) * kh * kw);
        for (int64_t i = 0; i < height; ++i) {
          for (int64_t u = 0; u < kh; ++u) {
            const int64_t row = i * op.stride[0] - op.padding.top + u * op.dilation[0];
            if (row < 0 || row >= out_h) continue;
            for (int64_t j = 0; j < width; ++j) {
              for (int64_t v = 0; v < kw; ++v) {
                const int64_t column = j * op.stride[1] - op.padding.left + v * op.dilation[1];
                if (column < 0 || column >= out_w) continue;
                plane[row * out_w + column] += kernel[u * kw + v] * in[i * width + j];
              }
            }
          }
        }
      }
    }
  }
}

/// Calls visit(plane, output index, window) for every window of every plane; window lists clipped [first, last) rows
/// and columns.
struct Window {
  int64_t row, row_end, column, column_end;  // inside the input
  int64_t padded_count;                      // elements with padding counted, as far as the padding reaches
};
template <class Pool, class Visit>
void for_each_window(const Pool& op, const Shape& x, const Shape& y, Visit visit) {
  for (int64_t plane = 0; plane < y[0] * y[1]; ++plane) {
    for (int64_t i = 0; i < y[2]; ++i) {
      for (int64_t j = 0; j < y[3]; ++j) {
        const int64_t top = i * op.stride[0] - op.padding.top, left = j * op.stride[1] - op.padding.left;
        const int64_t bottom = std::min(top + op.kernel[0], x[2] + op.padding.bottom);
        const int64_t right = std::min(left + op.kernel[1], x[3] + op.padding.right);
        visit(plane, (plane * y[2] + i) * y[3] + j,
              Window{std::max<int64_t>(top, 0), std::min(bottom, x[2]), std::max<int64_t>(left, 0),
                     std::min(right, x[3]), (bottom - top) * (right - left)});
      }
    }
  }
}

template <class T>
void average_pool(const AveragePool& op, const Array<T>& x, Array<T>& y) {
  for_each_window(op, x.shape, y.shape, [&](int64_t plane, int64_t out, const Window& w) {
    T sum = 0;
    for (int64_t i = w.row; i < w.row_end; ++i) {
      for (int64_t j = w.column; j < w.column_end; ++j) sum += *x.at((plane * x.shape[2] + i) * x.shape[3] + j);
    }
    const int64_t inside = std::max<int64_t>(w.row_end - w.row, 0) * std::max<int64_t>(w.column_end - w.column, 0);
    *y.at(out) = sum / static_cast<T>(op.count_include_pad ? w.padded_count : inside);
  });
}

template <class T>
void max_pool(const MaxPool& op, const Array<T>& x, Array<T>& y) {
  for (int64_t plane = 0; plane < y.shape[0] * y.shape[1]; ++plane) {
    for (int64_t i = 0; i < y.shape[2]; ++i) {
      for (int64_t j = 0; j < y.shape[3]; ++j) {
        T best = -std::numeric_limits<T>::infinity();
        for (int64_t u = 0; u < op.kernel[0]; ++u) {
          const int64_t row = i * op.stride[0] - op.padding.top + u * op.dilation[0];
          if (row < 0 || row >= x.shape[2]) continue;
          for (int64_t v = 0; v < op.kernel[1]; ++v) {
            const int64_t column = j * op.stride[1] - op.padding.left + v * op.dilation[1];
            if (column < 0 || column >= x.shape[3]) continue;
            best = std::max(best, *x.at((plane * x.shape[2] + row) * x.shape[3] + column));
          }
        }
        *y.at((plane * y.shape[2] + i) * y.shape[3] + j) = best;
      }
    }
  }
}

/// multiply for rows of b that lie in one piece: each is read once for four rows of y.
template <class T>
void multiply_rows(int64_t rows, int64_t inner, int64_t columns, const T* a, int64_t a_row, int64_t a_col, const T* b,
                   int64_t b_row, T scale, T* y) {
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    T* const y0 = y + i * columns;
    for (int64_t k = 0; k < inner; ++k) {
      const T* const from = a + i * a_row + k * a_col;
      const T s0 = scale * from[0], s1 = scale * from[a_row], s2 = scale * from[2 * a_row],
              s3 = scale * from[3 * a_row];
      const T* const line = b + k * b_row;
      for (int64_t j = 0; j < columns; ++j) {
        y0[j] += s0 * line[j];
        y0[j + columns] += s1 * line[j];
        y0[j + 2 * columns] += s2 * line[j];
        y0[j + 3 * columns] += s3 * line[j];
      }
    }
  }
  for (; i < rows; ++i) {
    for (int64_t k = 0; k < inner; ++k) {
      const T s = scale * a[i * a_row + k * a_col];
      for (int64_t j = 0; j < columns; ++j) y[i * columns + j] += s * b[k * b_row + j];
    }
  }
}

/// y[i,j] += scale · Σ_k a[i,k]·b[k,j], with element strides for transposition.
template <class T>
void multiply(int64_t rows, int64_t inner, int64_t columns, const T* a, int64_t a_row, int64_t a_col, const T* b,
              int64_t b_row, int64_t b_col, T scale, T* y) {
  if (b_col == 1) return multiply_rows(rows, inner, columns, a, a_row, a_col, b, b_row, scale, y);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      T sum = 0;
      for (int64_t k = 0; k < inner; ++k) sum += a[i * a_row + k * a_col] * b[k * b_row + j * b_col];
      y[i * columns + j] += scale * sum;
    }
  }
}

/// Input index for output index `i` on an axis, or −1 where the constant stands.
inline int64_t padded_source(const Pad& op, int64_t i, int64_t begin, int64_t size) {
  const int64_t at = i - begin;
  if (at >= 0 && at < size) return at;
  switch (op.mode) {
    case Pad::Mode::constant:
      return -1;
    case Pad::Mode::edge:
      return std::clamp<int64_t>(at, 0, size - 1);
    case Pad::Mode::reflect:
      return at < 0 ? -at : 2 * (size - 1) - at;
  }
  return -1;
}

using reducenet::broadcast_strides;
using reducenet::for_each_index;

}  // namespace reducenet::reference
