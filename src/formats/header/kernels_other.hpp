/// y[n,o, i·sh − top + u·dh, j·sw − left + v·dw] += w[c,o,u,v] · x[n,c,i,j], from b[o] on; all plain.
struct ConvTranspose {
  Size images, channels, height, width, outputs, rows, columns, groups;
  Size kernel_h, kernel_w, stride_h, stride_w, top, left, dilation_h, dilation_w;
  float low, high;
};
template <class Curve>
inline void conv_transpose(const ConvTranspose& p, const float* x, const float* w, const float* bias, const float* r,
                           float* y, Curve curve) noexcept {
  const Size out_per_group = p.outputs / p.groups, in_per_group = p.channels / p.groups, area = p.rows * p.columns;
  for (Size n = 0; n < p.images; ++n) {
    for (Size o = 0; o < p.outputs; ++o) {
      float* plane = y + (n * p.outputs + o) * area;
      for (Size k = 0; k < area; ++k) plane[k] = bias[o];
      for (Size c = o / out_per_group * in_per_group; c < (o / out_per_group + 1) * in_per_group; ++c) {
        const float* in = x + (n * p.channels + c) * p.height * p.width;
        const float* kernel = w + (c * out_per_group + o % out_per_group) * p.kernel_h * p.kernel_w;
        for (Size at = 0; at < p.height * p.width; ++at) {
          for (Size u = 0; u < p.kernel_h; ++u) {
            const Size row = at / p.width * p.stride_h - p.top + u * p.dilation_h;
            if (row < 0 || row >= p.rows) continue;
            for (Size v = 0; v < p.kernel_w; ++v) {
              const Size column = at % p.width * p.stride_w - p.left + v * p.dilation_w;
              if (column >= 0 && column < p.columns) {
                plane[row * p.columns + column] += kernel[u * p.kernel_w + v] * in[at];
              }
            }
          }
        }
      }
      for (Size k = 0; k < area; ++k) {
        if (r) plane[k] += r[(n * p.outputs + o) * area + k];
        plane[k] = clamped(plane[k], p.low, p.high);
      }
      bend(plane, area, o * kBlock, curve);
    }
  }
}

/// y[m][o] = b[o] + Σ_k w[o][k] · x[m][k];  weights: [o / 16][k][o % 16].
template <class Curve>
inline void affine(Size rows, Size inputs, Size outputs, float low, float high, const float* x, const float* w,
                   const float* bias, const float* r, float* y, Curve curve) noexcept {
  constexpr Size kWays = 4, kVectors = kBlock / kLanes;
  for (Size first = 0; first < outputs; first += kBlock) {
    const Size valid = outputs - first < kBlock ? outputs - first : kBlock;
    for (Size m = 0; m < rows; ++m) {
      Vector sum[kWays][kVectors];
      for (Size k = 0; k < kVectors; ++k) {
        sum[0][k] = load(bias + first + k * kLanes);
        for (Size way = 1; way < kWays; ++way) sum[way][k] = fill(0);
      }
      const float *in = x + m * inputs, *weights = w + first * inputs;
      const Size whole = inputs / kWays * kWays;
      for (Size at = 0; at < whole; at += kWays) {
        for (Size way = 0; way < kWays; ++way) {
          const Vector value = fill(in[at + way]);
          for (Size k = 0; k < kVectors; ++k) {
            sum[way][k] = sum[way][k] + load(weights + (at + way) * kBlock + k * kLanes) * value;
          }
        }
      }
      for (Size at = whole; at < inputs; ++at) {
        for (Size k = 0; k < kVectors; ++k) {
          sum[0][k] = sum[0][k] + load(weights + at * kBlock + k * kLanes) * fill(in[at]);
        }
      }
      float block[kBlock];
      for (Size k = 0; k < kVectors; ++k) {
        store(block + k * kLanes, (sum[0][k] + sum[1][k]) + (sum[2][k] + sum[3][k]));
      }
      float* to = y + m * outputs + first;
      for (Size o = 0; o < valid; ++o) {
        const float value = r ? block[o] + r[m * outputs + first + o] : block[o];
        to[o] = clamped(value, low, high);
      }
      bend(to, valid, first, curve);
    }
  }
}

/// y[…][i][j] = Σ_k a[…][i][k] · b[…][k][j]; where each matrix of a and of b begins.
inline void matmul(Size batches, Size rows, Size inner, Size columns, const Size* from_a, const Size* from_b,
                   const float* a, const float* b, float* y) noexcept {
  for (Size row = 0; row < batches * rows; ++row) {
    const float *left = a + from_a[row / rows] + row % rows * inner, *right = b + from_b[row / rows];
    float* to = y + row * columns;
    for (Size j = 0; j < columns; ++j) to[j] = 0;
    for (Size k = 0; k < inner; ++k) {
      for (Size j = 0; j < columns; ++j) to[j] += left[k] * right[k * columns + j];
    }
  }
}

/// Mean or maximum over windows; windows are clipped to the image, `padded` counts what the padding adds.
struct Pool {
  Size images, blocks, height, width, rows, columns;
  Size kernel_h, kernel_w, stride_h, stride_w, top, left, bottom, right, dilation_h, dilation_w;
  Layout x, y;
  bool mean, padded;
};
inline void pool(const Pool& p, const float* x, float* y) noexcept {
  for (Size item = 0; item < p.images * p.blocks * p.rows * p.columns; ++item) {
    const Size j = item % p.columns, i = item / p.columns % p.rows, plane = item / (p.columns * p.rows);
    const Size above = i * p.stride_h - p.top, before = j * p.stride_w - p.left;
    const float* from = x + plane / p.blocks * p.x.image + plane % p.blocks * p.x.plane;
    float value[kBlock];
    for (Size lane = 0; lane < kBlock; ++lane) value[lane] = p.mean ? 0 : -kInfinity;
    Size count = 0;
    for (Size u = 0; u < p.kernel_h; ++u) {
      const Size row = above + u * p.dilation_h;
      if (row < 0 || row >= p.height) continue;
      for (Size v = 0; v < p.kernel_w; ++v) {
        const Size column = before + v * p.dilation_w;
        if (column < 0 || column >= p.width) continue;
        const float* at = from + row * p.x.row + column * kBlock;
        ++count;
        if (p.mean) {
          for (Size lane = 0; lane < kBlock; ++lane) value[lane] += at[lane];
        } else {
          for (Size lane = 0; lane < kBlock; ++lane) value[lane] = value[lane] > at[lane] ? value[lane] : at[lane];
        }
      }
    }
    if (p.padded) {
      const Size end = above + p.kernel_h < p.height + p.bottom ? above + p.kernel_h : p.height + p.bottom;
      const Size last = before + p.kernel_w < p.width + p.right ? before + p.kernel_w : p.width + p.right;
      count = (end - above) * (last - before);
    }
    float* to = y + plane / p.blocks * p.y.image + plane % p.blocks * p.y.plane + i * p.y.row + j * kBlock;
    for (Size lane = 0; lane < kBlock; ++lane)
      to[lane] = p.mean ? value[lane] / static_cast<float>(count) : value[lane];
  }
}

/// f over the rows of images: f(row of y, row of a, row of b, floats).
template <class F>
inline void for_each_row(Size images, Size blocks, Size rows, Size floats, Layout ly, Layout la, Layout lb, float* y,
                         const float* a, const float* b, F f) noexcept {
  for (Size item = 0; item < images * blocks * rows; ++item) {
    const Size i = item % rows, o = item / rows % blocks, n = item / (rows * blocks);
    f(y + n * ly.image + o * ly.plane + i * ly.row, a + n * la.image + o * la.plane + i * la.row,
      b + n * lb.image + o * lb.plane + i * lb.row, floats);
  }
}

/// Plain [C][H][W] ↔ rows of `block` channels.
inline void to_rows(Size images, Size channels, Size height, Size width, Size block, Layout l, const float* x,
                    float* y) noexcept {
  for (Size item = 0; item < images * channels * height; ++item) {
    const Size i = item % height, c = item / height % channels, n = item / (height * channels);
    float* to = y + n * l.image + c / block * l.plane + i * l.row + c % block;
    for (Size j = 0; j < width; ++j) to[j * block] = x[item * width + j];
  }
}
inline void to_plain(Size images, Size channels, Size height, Size width, Layout l, const float* x, float* y) noexcept {
  for (Size item = 0; item < images * channels * height; ++item) {
    const Size i = item % height, c = item / height % channels, n = item / (height * channels);
    const float* from = x + n * l.image + c / kBlock * l.plane + i * l.row + c % kBlock;
    for (Size j = 0; j < width; ++j) y[item * width + j] = from[j * kBlock];
  }
}

/// Channels of x become channels `first`… of y.
inline void place_channels(Size images, Size channels, Size height, Size width, Size first, Layout lx, Layout ly,
                           const float* x, float* y) noexcept {
  for (Size item = 0; item < images * height; ++item) {
    const Size i = item % height, n = item / height;
    const float* from = x + n * lx.image + i * lx.row;
    float* to = y + n * ly.image + i * ly.row;
    for (Size c = 0; c < channels; ++c) {
      const float* source = from + c / kBlock * lx.plane + c % kBlock;
      float* target = to + (first + c) / kBlock * ly.plane + (first + c) % kBlock;
      for (Size j = 0; j < width; ++j) target[j * kBlock] = source[j * kBlock];
    }
  }
}

/// Rows and columns added (or, negative, removed) around images. Mode: 0 a constant, 1 mirrored, 2 the edge.
struct Pad {
  Size images, blocks, height, width, rows, columns, top, left;
  int mode;
  float value;
  Layout x, y;
};
inline Size pad_source(Size at, Size size, int mode) noexcept {
  if (at >= 0 && at < size) return at;
  if (mode == 2) return at < 0 ? 0 : size - 1;
  return mode == 1 ? (at < 0 ? -at : 2 * (size - 1) - at) : -1;
}
inline void pad(const Pad& p, const float* x, float* y) noexcept {
  for (Size item = 0; item < p.images * p.blocks * p.rows * p.columns; ++item) {
    const Size j = item % p.columns, i = item / p.columns % p.rows, plane = item / (p.columns * p.rows);
    const Size n = plane / p.blocks, o = plane % p.blocks;
    const Size row = pad_source(i - p.top, p.height, p.mode), column = pad_source(j - p.left, p.width, p.mode);
    const float* from = x + n * p.x.image + o * p.x.plane + row * p.x.row + column * kBlock;
    float* to = y + n * p.y.image + o * p.y.plane + i * p.y.row + j * kBlock;
    for (Size lane = 0; lane < kBlock; ++lane) to[lane] = row < 0 || column < 0 ? p.value : from[lane];
  }
}

/// Height and width interpolated: a pixel of y is Σ weight of its row · weight of its column · pixel of x over `taps`
/// of each, those of all rows first, then those of all columns.
struct Resize {
  Size images, blocks, rows, columns, taps;
  Layout x, y;
};
inline void resize(const Resize& p, const Size* taps, const float* weights, const float* x, float* y) noexcept {
  for (Size item = 0; item < p.images * p.blocks * p.rows * p.columns; ++item) {
    const Size j = item % p.columns, i = item / p.columns % p.rows, plane = item / (p.columns * p.rows);
    const Size n = plane / p.blocks, o = plane % p.blocks, row = i * p.taps, column = (p.rows + j) * p.taps;
    const float* from = x + n * p.x.image + o * p.x.plane;
    float* to = y + n * p.y.image + o * p.y.plane + i * p.y.row + j * kBlock;
    float value[kBlock] = {};
    for (Size u = 0; u < p.taps; ++u) {
      for (Size v = 0; v < p.taps; ++v) {
        const float* at = from + taps[row + u] * p.x.row + taps[column + v] * kBlock;
        const float weight = weights[row + u] * weights[column + v];
        for (Size lane = 0; lane < kBlock; ++lane) value[lane] += weight * at[lane];
      }
    }
    for (Size lane = 0; lane < kBlock; ++lane) to[lane] = value[lane];
  }
}

/// y[index] = f(a[index·strides], b[index·strides]) for every index of a shape of Rank dimensions; all plain.
template <int Rank, class F>
inline void for_each_index(const Size (&shape)[Rank], const Size (&sa)[Rank], const Size (&sb)[Rank], const float* a,
                           const float* b, float* y, F f) noexcept {
  Size count = 1;
  for (int d = 0; d < Rank; ++d) count *= shape[d];
  for (Size at = 0; at < count; ++at) {
    Size rest = at, from_a = 0, from_b = 0;
    for (int d = Rank; d-- > 0;) {
      from_a += rest % shape[d] * sa[d];
      from_b += rest % shape[d] * sb[d];
      rest /= shape[d];
    }
    y[at] = f(a[from_a], b[from_b]);
  }
}

/// y = exp(x)/Σ exp(x), or its logarithm, over `count` elements that lie `inner` apart.
inline void softmax(Size lines, Size count, Size inner, bool logarithm, const float* x, float* y) noexcept {
  for (Size line = 0; line < lines; ++line) {
    const Size start = line / inner * inner * count + line % inner;
    float highest = -kInfinity, sum = 0;
    for (Size i = 0; i < count; ++i) highest = x[start + i * inner] > highest ? x[start + i * inner] : highest;
    for (Size i = 0; i < count; ++i) sum += std::exp(x[start + i * inner] - highest);
    for (Size i = 0; i < count; ++i) {
      const float shifted = x[start + i * inner] - highest;
      y[start + i * inner] = logarithm ? shifted - std::log(sum) : std::exp(shifted) / sum;
    }
  }
}

/// (x − mean)/√(variance + epsilon)·scale + bias over rows of `length` floats; `period` rows have parameters of their
/// own.
inline void normalize(Size rows, Size period, Size length, float epsilon, const float* x, const float* scale,
                      const float* bias, float* y) noexcept {
  for (Size row = 0; row < rows; ++row) {
    const float *in = x + row * length, *s = scale + row % period * length, *b = bias + row % period * length;
    double sum = 0, squares = 0;
    for (Size i = 0; i < length; ++i) sum += static_cast<double>(in[i]);
    const double mean = sum / static_cast<double>(length);
    for (Size i = 0; i < length; ++i) squares += (in[i] - mean) * (in[i] - mean);
    const double by = 1 / std::sqrt(squares / static_cast<double>(length) + epsilon);
    for (Size i = 0; i < length; ++i) y[row * length + i] = static_cast<float>((in[i] - mean) * by) * s[i] + b[i];
  }
}

/// Runs of `length` floats, from where each stands in x, or, at −1, of `outside`.
inline void gather(Size runs, Size length, const Size* from, float outside, const float* x, float* y) noexcept {
  for (Size run = 0; run < runs; ++run, y += length) {
    if (from[run] < 0) {
      for (Size i = 0; i < length; ++i) y[i] = outside;
    } else {
      std::memcpy(y, x + from[run], static_cast<std::size_t>(length) * sizeof(float));
    }
  }
}

/// Rows of `run` floats, one behind the other, to rows that lie `stride` apart.
inline void copy_runs(Size rows, Size run, Size stride, const float* x, float* y) noexcept {
  for (Size row = 0; row < rows; ++row) {
    std::memcpy(y + row * stride, x + row * run, static_cast<std::size_t>(run) * sizeof(float));
  }
}
