// Images lie in rows of pixels with zeros to the left and right, so that no kernel meets a border sideways:
//   element (c, i, j) at [c / block][i][left + j][c % block], block = 16 channels (1: planes).
// Pointers to images point at the pixel (0, 0) of channel 0. "plain" is dense and row-major.

using Size = std::ptrdiff_t;
constexpr Size kBlock = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Vectors as wide as the target's registers; elsewhere a loop over an array.
#if defined(__AVX512F__)
constexpr Size kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr Size kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr Size kLanes = 4, kRegisters = 32;
#else
constexpr Size kLanes = 4, kRegisters = 16;
#endif
#if defined(__GNUC__)
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
inline Vector fill(float value) noexcept {
  return Vector{} + value;
}
inline Vector greater(Vector a, Vector b) noexcept {
  return a > b ? a : b;
}
inline Vector lesser(Vector a, Vector b) noexcept {
  return a < b ? a : b;
}
#else
struct Vector {
  float lane[kLanes];
};
template <class F>
inline Vector each(const Vector& a, const Vector& b, F f) noexcept {
  Vector y;
  for (Size i = 0; i < kLanes; ++i) y.lane[i] = f(a.lane[i], b.lane[i]);
  return y;
}
inline Vector operator+(const Vector& a, const Vector& b) noexcept {
  return each(a, b, [](float p, float q) { return p + q; });
}
inline Vector operator*(const Vector& a, const Vector& b) noexcept {
  return each(a, b, [](float p, float q) { return p * q; });
}
inline Vector greater(const Vector& a, const Vector& b) noexcept {
  return each(a, b, [](float p, float q) { return p > q ? p : q; });
}
inline Vector lesser(const Vector& a, const Vector& b) noexcept {
  return each(a, b, [](float p, float q) { return p < q ? p : q; });
}
inline Vector fill(float value) noexcept {
  Vector y;
  for (Size i = 0; i < kLanes; ++i) y.lane[i] = value;
  return y;
}
#endif
inline Vector load(const float* from) noexcept {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store(float* to, Vector v) noexcept {
  std::memcpy(to, &v, sizeof v);
}

constexpr Size ceil_div(Size a, Size b) noexcept {
  return (a + b - 1) / b;
}

inline float clamped(float v, float low, float high) noexcept {
  return v < low ? low : v > high ? high : v;
}

/// The nearest number that 8 bits hold:  scale·clamp(round(v/scale), −zero, 255 − zero); of one, and of a row.
struct Rounded {
  float inverse, scale, least, most;
  float operator()(float v) const noexcept { return scale * clamped(std::nearbyint(v * inverse), least, most); }
  void operator()(float* y, const float* a, const float*, Size count) const noexcept {
    const Size whole = count / kLanes * kLanes;
    for (Size k = 0; k < whole; k += kLanes) {
      float steps[kLanes];
      store(steps, load(a + k) * fill(inverse));
      for (Size lane = 0; lane < kLanes; ++lane) steps[lane] = std::nearbyint(steps[lane]);
      store(y + k, fill(scale) * lesser(greater(load(steps), fill(least)), fill(most)));
    }
    for (Size k = whole; k < count; ++k) y[k] = (*this)(a[k]);
  }
};
/// Weights of 16 output channels, each with its scale.
inline void scale_lanes(float* weights, Size count, const float* scales) noexcept {
  for (Size i = 0; i < count; ++i) weights[i] *= scales[i % kBlock];
}

/// One that the compiler removes, for a step without a curve behind its clamp.
struct NoCurve {
  float operator()(float v) const noexcept { return v; }
};
/// Slopes below zero, of channel after channel in blocks.
struct Slopes {
  const float* of;
};
/// `count` outputs of the block that begins at `channel`.
inline void bend(float* y, Size count, Size, Rounded curve) noexcept {
  curve(y, y, nullptr, count);
}
inline void bend(float* y, Size count, Size channel, Slopes slopes) noexcept {
  for (Size i = 0; i < count; ++i) y[i] *= y[i] < 0 ? slopes.of[channel + i % kBlock] : 1.0f;
}
template <class Curve>
inline void bend(float* y, Size count, Size, Curve curve) noexcept {
  if (std::is_same<Curve, NoCurve>::value) return;
  for (Size i = 0; i < count; ++i) y[i] = curve(y[i]);
}

/// An image in memory: floats between images, planes (of `block` channels) and rows.
struct Layout {
  Size image, plane, row;
};

/// Zeros to the left and right of every row.
inline void zero_borders(float* y, Size rows, Size row, Size left, Size right) noexcept {
  for (Size i = 0; i < rows; ++i) {
    std::memset(y + i * row - left, 0, static_cast<std::size_t>(left) * sizeof(float));
    std::memset(y + (i + 1) * row - left - right, 0, static_cast<std::size_t>(right) * sizeof(float));
  }
}

/// The channels that a block of outputs reads: rows of `block` channels from `first` on, and where its weights begin.
struct Range {
  Size first, channels, weights;
};

/// y[o][i][j] = b[o] + Σ_{c,u,v} w[o][c][u][v] · x[c][i·sh − top + u·dh][j·sw − left + v·dw]
/// Weights: [o / 16][c / block][u][v][c % block][o % 16].
struct Conv {
  Size images, rows, columns, out_blocks, height;  // height: of x
  Size kernel_h, kernel_w, stride_h, top, dilation_h;
  Size block, tap, pixel;  // floats of x between taps of a row, and between pixels of y
  Layout x, y, r;
  const Range* ranges;  // one for each block of outputs; nullptr: all alike, with `channels`
  Size channels;
  float low, high;
  bool rows_first;
};

struct Taps {
  Size channels, first_u, last_u;
  const float *x, *w, *bias, *r;  // x at row first_u of the window; r: added before the clamp, or nullptr
  float* y;
  Size w_block, r_plane, y_plane;
};

/// Blocks × Pixels × 16 sums in registers. Pixel: p.pixel when known here, 0 otherwise.
template <Size Blocks, Size Pixels, Size Pixel>
inline void conv_tile(const Conv& p, const Taps& t, Size j) noexcept {
  constexpr Size kVectors = kBlock / kLanes;
  const Size pixel = Pixel ? Pixel : p.pixel;
  Vector sum[Blocks * kVectors][Pixels];
  for (Size k = 0; k < Blocks * kVectors; ++k) {
    for (Size q = 0; q < Pixels; ++q) sum[k][q] = load(t.bias + k * kLanes);
  }
  const float* from = t.x + j * pixel;
  for (Size first = 0, row = 0; first < t.channels; first += p.block, ++row) {
    const Size channels = t.channels - first < p.block ? t.channels - first : p.block;
    const float* w = t.w + (first * p.kernel_h + t.first_u * channels) * p.kernel_w * kBlock;
    for (Size u = t.first_u; u < t.last_u; ++u) {
      const float* at = from + row * p.x.plane + (u - t.first_u) * p.dilation_h * p.x.row;
      for (Size v = 0; v < p.kernel_w; ++v, at += p.tap) {
        for (Size c = 0; c < channels; ++c, w += kBlock) {
          Vector weight[Blocks * kVectors];
          for (Size k = 0; k < Blocks * kVectors; ++k) {
            weight[k] = load(w + k / kVectors * t.w_block + k % kVectors * kLanes);
          }
          for (Size q = 0; q < Pixels; ++q) {
            const Vector value = fill(at[q * pixel + c]);
            for (Size k = 0; k < Blocks * kVectors; ++k) sum[k][q] = sum[k][q] + weight[k] * value;
          }
        }
      }
    }
  }
  const Vector low = fill(p.low), high = fill(p.high);
  for (Size k = 0; k < Blocks * kVectors; ++k) {
    const Size lanes = j * kBlock + k % kVectors * kLanes;
    for (Size q = 0; q < Pixels; ++q) {
      Vector value = sum[k][q];
      if (t.r) value = value + load(t.r + k / kVectors * t.r_plane + lanes + q * kBlock);
      store(t.y + k / kVectors * t.y_plane + lanes + q * kBlock, lesser(greater(value, low), high));
    }
  }
}

/// Depthwise: block o of x meets block o of w, [u][v][16].
template <Size Pixels>
inline void depthwise_tile(const Conv& p, const Taps& t, Size j) noexcept {
  const Vector low = fill(p.low), high = fill(p.high);
  for (Size lane = 0; lane < kBlock; lane += kLanes) {
    Vector sum[Pixels];
    for (Size q = 0; q < Pixels; ++q) sum[q] = load(t.bias + lane);
    for (Size u = t.first_u; u < t.last_u; ++u) {
      const float* at = t.x + j * p.pixel + (u - t.first_u) * p.dilation_h * p.x.row + lane;
      const float* w = t.w + u * p.kernel_w * kBlock + lane;
      for (Size v = 0; v < p.kernel_w; ++v, at += p.tap, w += kBlock) {
        const Vector weight = load(w);
        for (Size q = 0; q < Pixels; ++q) sum[q] = sum[q] + weight * load(at + q * p.pixel);
      }
    }
    for (Size q = 0; q < Pixels; ++q) {
      const Size at = (j + q) * kBlock + lane;
      if (t.r) sum[q] = sum[q] + load(t.r + at);
      store(t.y + at, lesser(greater(sum[q], low), high));
    }
  }
}

using Tile = void (*)(const Conv&, const Taps&, Size);

/// Pixels of the widest tile: its sums fill the registers that the weights leave.
constexpr Size widest(Size blocks) {
  return kRegisters == 32 ? (kLanes == 16 ? 8 : 6 / blocks) : (kLanes == 8 ? 6 / blocks : 3 / blocks);
}

/// The run of at most `most` pixels that covers a row with the least work; the last may overlap the one before it.
constexpr Size best_run(Size columns, Size most) noexcept {
  Size best = 1, least = columns * 3;
  for (Size run = 2; run <= most && run <= columns; ++run) {
    const Size work = ceil_div(columns, run) * (run + 2);
    if (work <= least) {
      best = run;
      least = work;
    }
  }
  return best;
}

/// The tiles that one layer needs, and no others: for `together` blocks at once, and for a block that is left over.
struct Tiles {
  Tile set, one;
  Size together, run, run_of_one;
};
template <Size Columns, Size OutBlocks, Size Pixel, bool Grouped>
inline Tiles conv_tiles() noexcept {
  constexpr Size one = best_run(Columns, widest(1)), two = best_run(Columns, widest(2));
  if constexpr (Grouped || OutBlocks == 1 || widest(2) < 2) {
    return {conv_tile<1, one, Pixel>, conv_tile<1, one, Pixel>, 1, one, one};
  } else if constexpr (OutBlocks % 2 == 0) {
    return {conv_tile<2, two, Pixel>, conv_tile<2, two, Pixel>, 2, two, two};
  } else {
    return {conv_tile<2, two, Pixel>, conv_tile<1, one, Pixel>, 2, two, one};
  }
}

template <class Curve>
inline void conv_rows(const Conv& p, const Tiles& tiles, bool depthwise, const float* x, const float* w,
                      const float* bias, const float* r, float* y, Curve curve) noexcept {
  const Size together = tiles.together, sets = ceil_div(p.out_blocks, together);
  for (Size item = 0; item < p.images * p.rows * sets; ++item) {
    const Size n = item / (p.rows * sets), rest = item % (p.rows * sets);
    const Size i = p.rows_first ? rest / sets : rest % p.rows;
    const Size o = (p.rows_first ? rest % sets : rest / p.rows) * together;
    const Size blocks = p.out_blocks - o < together ? 1 : together;
    const Size above = i * p.stride_h - p.top;
    const Range all{depthwise ? o : 0, p.channels, o * p.channels * p.kernel_h * p.kernel_w * kBlock};
    const Range range = p.ranges ? p.ranges[o] : all;
    Taps t;
    t.channels = range.channels;
    t.first_u = above < 0 ? ceil_div(-above, p.dilation_h) : 0;
    t.last_u = ceil_div(p.height - above, p.dilation_h);
    if (t.last_u > p.kernel_h) t.last_u = p.kernel_h;
    if (t.last_u < t.first_u) t.last_u = t.first_u;
    t.x = x + n * p.x.image + range.first * p.x.plane + (above + t.first_u * p.dilation_h) * p.x.row;
    t.w = w + range.weights;
    t.bias = bias + o * kBlock;
    t.r = r ? r + n * p.r.image + o * p.r.plane + i * p.r.row : nullptr;
    t.y = y + n * p.y.image + o * p.y.plane + i * p.y.row;
    t.w_block = p.channels * p.kernel_h * p.kernel_w * kBlock;
    t.r_plane = p.r.plane;
    t.y_plane = p.y.plane;
    const Tile tile = blocks == together ? tiles.set : tiles.one;
    const Size step = blocks == together ? tiles.run : tiles.run_of_one;
    for (Size j = 0; j < p.columns; j += step) tile(p, t, j + step <= p.columns ? j : p.columns - step);
    for (Size k = 0; k < blocks; ++k) bend(t.y + k * p.y.plane, p.columns * kBlock, (o + k) * kBlock, curve);
  }
}
template <Size Columns, Size OutBlocks, Size Pixel, bool Grouped, class Curve>
inline void conv(const Conv& p, const float* x, const float* w, const float* bias, const float* r, float* y,
                 Curve curve) noexcept {
  conv_rows(p, conv_tiles<Columns, OutBlocks, Pixel, Grouped>(), false, x, w, bias, r, y, curve);
}
template <Size Columns, class Curve>
inline void depthwise(const Conv& p, const float* x, const float* w, const float* bias, const float* r, float* y,
                      Curve curve) noexcept {
  constexpr Size run = best_run(Columns, 4);
  conv_rows(p, {depthwise_tile<run>, depthwise_tile<run>, 1, run, run}, true, x, w, bias, r, y, curve);
}
