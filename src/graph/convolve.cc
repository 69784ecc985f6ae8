#include "graph/convolve.h"

#include <cstring>
#include <vector>

namespace reducenet {
namespace {

using reference::Array;

constexpr int64_t kRows = 6;      // output channels that are computed together
constexpr int64_t kDepth = 256;   // products between two visits of a sum
constexpr int64_t kPlaces = 192;  // output positions whose inputs stay in the cache
constexpr int64_t kFewest = 4;    // output channels of a group from which on blocks pay; long sums are in blocks anyway

/// Output positions computed together: 64 bytes of them.
template <class T>
constexpr int64_t kColumns = 64 / sizeof(T);

/// 32 bytes of numbers in one register, or in as many as the CPU needs.
template <class T>
struct Vector {
  typedef T Type __attribute__((vector_size(32)));
};

/// sums[r][j] += Σ_k weights[k][r] · inputs[k][j]
template <class T>
[[gnu::always_inline]] inline void multiply_tile(const T* weights, const T* inputs, int64_t depth, T* sums,
                                                 int64_t stride) {
  using V = typename Vector<T>::Type;
  constexpr int64_t half = kColumns<T> / 2;
  V tile[kRows][2] = {};
  for (int64_t k = 0; k < depth; ++k, weights += kRows, inputs += 2 * half) {
    V left, right;
    std::memcpy(&left, inputs, sizeof left);
    std::memcpy(&right, inputs + half, sizeof right);
    for (int64_t r = 0; r < kRows; ++r) {
      tile[r][0] += weights[r] * left;
      tile[r][1] += weights[r] * right;
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t j = 0; j < half; ++j) {
      sums[r * stride + j] += tile[r][0][j];
      sums[r * stride + half + j] += tile[r][1][j];
    }
  }
}

template <class T>
using Tile = void (*)(const T*, const T*, int64_t, T*, int64_t);

template <class T>
void plain_tile(const T* weights, const T* inputs, int64_t depth, T* sums, int64_t stride) {
  multiply_tile(weights, inputs, depth, sums, stride);
}

#if defined(__x86_64__)
template <class T>
__attribute__((target("avx2,fma"))) void wide_tile(const T* weights, const T* inputs, int64_t depth, T* sums,
                                                   int64_t stride) {
  multiply_tile(weights, inputs, depth, sums, stride);
}
#endif

template <class T>
Tile<T> best_tile() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return wide_tile<T>;
#endif
  return plain_tile<T>;
}

/// One group of one convolution as a product of matrices: W[outputs, depth] · X[depth, places], X's row (c, u, v) being
/// the inputs that tap (u, v) of channel c reads at each output position of every sample.
template <class T>
struct Product {
  const Conv2d& op;
  const Array<T>& x;
  const Weights<T>& w;
  Array<T>& y;
  int64_t group;

  int64_t outputs = w.shape[0] / op.groups, channels = w.shape[1], kh = w.shape[2], kw = w.shape[3];
  int64_t depth = channels * kh * kw, plane = y.shape[2] * y.shape[3], places = y.shape[0] * plane;

  /// Rows [k0, k1) of X at `count` places from `first`, as panels of kColumns places, each [k][column]; zero beyond.
  void gather(int64_t k0, int64_t k1, int64_t first, int64_t count, T* to) const {
    constexpr int64_t N = kColumns<T>;
    const int64_t height = x.shape[2], width = x.shape[3], out_w = y.shape[3];
    for (int64_t panel = 0; panel < count; panel += N) {
      const T* sample[N];
      int64_t row[N], column[N];
      const int64_t used = std::min(N, count - panel);
      for (int64_t j = 0; j < used; ++j) {
        const int64_t place = first + panel + j, n = place / plane, i = place % plane;
        sample[j] = x.at((n * x.shape[1] + group * channels) * height * width);
        row[j] = i / out_w * op.stride[0] - op.padding.top;
        column[j] = i % out_w * op.stride[1] - op.padding.left;
      }
      int64_t c = k0 / (kh * kw), u = k0 / kw % kh, v = k0 % kw;
      for (int64_t k = k0; k < k1; ++k, to += N) {
        for (int64_t j = 0; j < used; ++j) {
          const int64_t r = row[j] + u * op.dilation[0], s = column[j] + v * op.dilation[1];
          const bool inside = r >= 0 && r < height && s >= 0 && s < width;
          to[j] = inside ? sample[j][(c * height + r) * width + s] : T{0};
        }
        for (int64_t j = used; j < N; ++j) to[j] = 0;
        if (++v < kw) continue;
        v = 0;
        if (++u < kh) continue;
        u = 0;
        ++c;
      }
    }
  }

  /// Rows [o, o + kRows) of W, columns [k0, k1), transposed; zero from row `end` on.
  template <class Stored>
  void widen(const Stored* stored, int64_t o, int64_t end, int64_t k0, int64_t k1, T* to) const {
    if (w.transposed) {
      const int64_t used = std::min(kRows, end - o);
      for (int64_t k = k0; k < k1; ++k, to += kRows) {
        std::copy_n(stored + k * outputs + o, used, to);
        std::fill(to + used, to + kRows, T{0});
      }
      return;
    }
    static constexpr Stored zeros[kDepth] = {};
    const Stored* rows[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      rows[r] = o + r < end ? stored + (group * outputs + o + r) * depth + k0 : zeros;
    }
    for (int64_t k = 0; k < k1 - k0; ++k) {
      for (int64_t r = 0; r < kRows; ++r) to[k * kRows + r] = static_cast<T>(rows[r][k]);
    }
  }

  /// Outputs [o0, o1) at `count` places from `first`, added to what y holds.
  void run(Tile<T> tile, int64_t o0, int64_t o1, int64_t first, int64_t count) const {
    constexpr int64_t N = kColumns<T>;
    const int64_t padded = (count + N - 1) / N * N, rows = (o1 - o0 + kRows - 1) / kRows * kRows;
    std::vector<T> inputs(static_cast<size_t>(std::min(depth, kDepth) * padded));
    std::vector<T> weights(static_cast<size_t>(std::min(depth, kDepth) * kRows));
    std::vector<T> sums(static_cast<size_t>(rows * padded));
    for (int64_t k0 = 0; k0 < depth; k0 += kDepth) {
      const int64_t k1 = std::min(depth, k0 + kDepth);
      gather(k0, k1, first, count, inputs.data());
      for (int64_t o = o0; o < o1; o += kRows) {
        if (w.f32.empty()) {
          widen(w.exact.data(), o, o1, k0, k1, weights.data());
        } else {
          widen(w.f32.data(), o, o1, k0, k1, weights.data());
        }
        T* const to = sums.data() + (o - o0) * padded;
        for (int64_t j = 0; j < padded; j += N) {
          tile(weights.data(), inputs.data() + (k1 - k0) * j, k1 - k0, to + j, padded);
        }
      }
    }
    for (int64_t o = o0; o < o1; ++o) {
      const T* const from = sums.data() + (o - o0) * padded;
      for (int64_t j = 0; j < count; ++j) {
        const int64_t place = first + j, n = place / plane;
        *y.at((n * y.shape[1] + group * outputs + o) * plane + place % plane) += from[j];
      }
    }
  }
};

}  // namespace

template <class T>
void convolve(const Conv2d& op, const Array<T>& x, const Weights<T>& w, const Array<T>* b, Array<T>& y, int threads) {
  const int64_t outputs = w.shape[0] / op.groups, plane = y.shape[2] * y.shape[3];
  if (outputs < kFewest && element_count({w.shape.begin() + 1, w.shape.end()}) <= kDepth) {
    Array<T> weights(w.shape);
    const int64_t depth = w.transposed ? w.shape[1] : 1;
    for (int64_t i = 0; i < static_cast<int64_t>(weights.data.size()); ++i) {
      const auto from = static_cast<size_t>(w.transposed ? i % depth * outputs + i / depth : i);
      *weights.at(i) = w.f32.empty() ? w.exact[from] : static_cast<T>(w.f32[from]);
    }
    return reference::conv(op, x, weights, b, y, threads);
  }
  for (int64_t i = 0; i < y.shape[0] * y.shape[1]; ++i) {
    std::fill_n(y.at(i * plane), plane, b ? b->data[static_cast<size_t>(i % y.shape[1])] : T{0});
  }
  const Tile<T> tile = best_tile<T>();
  const int64_t places = y.shape[0] * plane, blocks = (places + kPlaces - 1) / kPlaces;
  // A thread takes whole blocks of places; where there are few, it takes a share of the outputs.
  const int64_t shares = blocks * op.groups >= threads ? 1 : std::min<int64_t>(threads, (outputs + kRows - 1) / kRows);
  const int64_t share = (outputs + shares * kRows - 1) / (shares * kRows) * kRows;
  reference::parallel(op.groups * blocks * shares, threads, [&](int64_t task) {
    const Product<T> product{op, x, w, y, task / (blocks * shares)};
    const int64_t first = task / shares % blocks * kPlaces, o0 = task % shares * share;
    product.run(tile, o0, std::min(outputs, o0 + share), first, std::min(kPlaces, places - first));
  });
}

template void convolve(const Conv2d&, const Array<double>&, const Weights<double>&, const Array<double>*,
                       Array<double>&, int);
template void convolve(const Conv2d&, const Array<float>&, const Weights<float>&, const Array<float>*, Array<float>&,
                       int);

}  // namespace reducenet
