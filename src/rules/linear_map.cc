#include "rules/linear_map.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "graph/reference.h"

namespace reducenet {
namespace {

Axis compose(const Axis& first, const Axis& second) {
  const int64_t step = first.stride * second.dilation;
  const int64_t dilation = std::gcd(first.kernel > 1 ? first.dilation : 0, second.kernel > 1 ? step : 0);
  Axis axis{.stride = first.stride * second.stride,
            .dilation = std::max<int64_t>(dilation, 1),
            .begin = first.begin + first.stride * second.begin,
            .end = first.end + first.stride * second.end};
  axis.kernel = (first.reach() + first.stride * second.reach()) / axis.dilation + 1;
  return axis;
}

std::optional<Axis> sum(const Axis& a, const Axis& b, std::optional<int64_t> size) {
  if (a.stride != b.stride) return std::nullopt;
  const bool same_output = a.slack() == b.slack() || (size && a.output_size(*size) == b.output_size(*size));
  if (!same_output) return std::nullopt;
  const int64_t dilation =
      std::gcd(std::gcd(a.kernel > 1 ? a.dilation : 0, b.kernel > 1 ? b.dilation : 0), a.begin - b.begin);
  Axis axis{.stride = a.stride, .dilation = std::max<int64_t>(dilation, 1), .begin = std::max(a.begin, b.begin)};
  const int64_t last = std::max(a.reach() - a.begin, b.reach() - b.begin);
  axis.kernel = (last + axis.begin) / axis.dilation + 1;
  axis.end = a.slack() + axis.reach() - axis.begin;
  return axis;
}

/// Where tap 0 of `axis` lies in the kernel of `into`, and how far its taps are apart there.
struct Placement {
  int64_t first, step;
};
Placement place(const Axis& axis, const Axis& into) {
  return {(into.begin - axis.begin) / into.dilation, axis.kernel > 1 ? axis.dilation / into.dilation : 0};
}

}  // namespace

Geometry identity_geometry(int64_t channels) {
  return {.in = channels, .out = channels, .groups = channels, .axes = {}};
}

LinearMap identity_map(int64_t channels) {
  const auto count = static_cast<size_t>(channels);
  return {identity_geometry(channels), std::vector<double>(count, 1), std::vector<double>(count, 0)};
}

// Position −1 of the middle reads up to −s₁ − p₁ + reach₁, which must be left of the image. Position H' reads from
// H'·s₁ − p₁ on, which must be right of it; H'·s₁ ≥ H + slack₁ whatever H is.
Border border_between(const Axis& first, const Axis& second, std::optional<int64_t> size) {
  Border border;
  if (second.begin > 0) {
    border.reads_padding = true;
    border.zeros_agree = first.reach() < first.stride + first.begin;
  }
  if (size) {
    const int64_t middle = first.output_size(*size);
    const int64_t last_read = second.stride * (second.output_size(middle) - 1) - second.begin + second.reach();
    if (last_read >= middle) {
      border.reads_padding = true;
      border.zeros_agree &= middle * first.stride - first.begin >= *size;
    }
  } else if (second.end > 0) {
    border.reads_padding = true;
    border.zeros_agree &= first.end >= first.reach();
  }
  return border;
}

Geometry compose(const Geometry& first, const Geometry& second) {
  return {.in = first.in,
          .out = second.out,
          .groups = std::gcd(first.groups, second.groups),
          .axes = {compose(first.axes[0], second.axes[0]), compose(first.axes[1], second.axes[1])}};
}

namespace {

/// row[k] += Σᵢ scale[i] · maps[i·length + k]
void add_scaled(double* row, const double* scale, const double* maps, int64_t count, int64_t length) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const double s0 = scale[i], s1 = scale[i + 1], s2 = scale[i + 2], s3 = scale[i + 3];
    const double* const m = maps + i * length;
    for (int64_t k = 0; k < length; ++k) {
      row[k] += (s0 * m[k] + s1 * m[k + length]) + (s2 * m[k + 2 * length] + s3 * m[k + 3 * length]);
    }
  }
  for (; i < count; ++i) {
    for (int64_t k = 0; k < length; ++k) row[k] += scale[i] * maps[i * length + k];
  }
}

}  // namespace

// w[o, c, u·d₁ + v·s₁·d₂] = Σ_m w₂[o, m, v] · w₁[m, c, u];  b[o] = b₂[o] + Σ_{m,v} w₂[o, m, v] · b₁[m].
LinearMap compose(const LinearMap& first, const LinearMap& second) {
  const Geometry &f = first.geometry, &g = second.geometry;
  LinearMap result{compose(f, g), {}, second.bias};
  const Geometry& r = result.geometry;
  result.weight.resize(static_cast<size_t>(r.weights()));
  const auto steps = [&](size_t i) {  // taps of the result between neighbouring taps of first and of second
    const Axis &a = f.axes[i], &b = g.axes[i], &c = r.axes[i];
    return std::pair{a.kernel > 1 ? a.dilation / c.dilation : 0, b.kernel > 1 ? a.stride * b.dilation / c.dilation : 0};
  };
  const auto [fy, gy] = steps(0);
  const auto [fx, gx] = steps(1);
  const int64_t width = r.axes[1].kernel, taps = r.taps();
  const int64_t middle_in = g.in / g.groups, first_in = f.in / f.groups, result_in = r.in / r.groups;
  const bool dense_pointwise = g.taps() == 1 && f.groups == 1;  // Σ of whole kernels of `first`

  for (int64_t o = 0; o < g.out; ++o) {
    const int64_t base = o / (r.out / r.groups) * result_in;
    double* const row = result.weight.data() + o * result_in * taps;
    const double* w2 = second.weight.data() + o * middle_in * g.taps();
    if (dense_pointwise) {
      const int64_t m = o / (g.out / g.groups) * middle_in;
      add_scaled(row, w2, first.weight.data() + m * first_in * taps, middle_in, first_in * taps);
      add_scaled(&result.bias[static_cast<size_t>(o)], w2, first.bias.data() + m, middle_in, 1);
      continue;
    }
    for (int64_t i = 0; i < middle_in; ++i) {
      const int64_t m = o / (g.out / g.groups) * middle_in + i;
      const double* const w1 = first.weight.data() + m * first_in * f.taps();
      double* const to = row + (m / (f.out / f.groups) * first_in - base) * taps;
      for (int64_t v = 0; v < g.axes[0].kernel; ++v) {
        for (int64_t h = 0; h < g.axes[1].kernel; ++h) {
          const double scale = *w2++;
          if (scale == 0) continue;
          result.bias[static_cast<size_t>(o)] += scale * first.bias[static_cast<size_t>(m)];
          const double* from = w1;
          for (int64_t c = 0; c < first_in; ++c) {
            double* const plane = to + c * taps + v * gy * width + h * gx;
            for (int64_t u = 0; u < f.axes[0].kernel; ++u) {
              for (int64_t t = 0; t < f.axes[1].kernel; ++t) plane[u * fy * width + t * fx] += scale * *from++;
            }
          }
        }
      }
    }
  }
  return result;
}

LinearMap compose(LinearMap&& first, const LinearMap& second) {
  const Geometry &f = first.geometry, &g = second.geometry;
  const Axis pointwise{};
  const bool factors = g.axes[0] == pointwise && g.axes[1] == pointwise && g.groups == g.out && g.in == g.out;
  if (!factors) return compose(std::as_const(first), second);
  LinearMap result = std::move(first);
  const int64_t each = f.weights() / f.out;
  for (int64_t o = 0; o < f.out; ++o) {
    const double scale = second.weight[static_cast<size_t>(o)];
    for (int64_t k = o * each; k < (o + 1) * each; ++k) result.weight[static_cast<size_t>(k)] *= scale;
    double& bias = result.bias[static_cast<size_t>(o)];
    bias = scale * bias + second.bias[static_cast<size_t>(o)];
  }
  return result;
}

namespace {

/// Adds the weights of `map` at their places in `into`, whose geometry holds them all.
void add_embedded(const LinearMap& map, LinearMap& into) {
  const Geometry &from = map.geometry, &to = into.geometry;
  const Placement rows = place(from.axes[0], to.axes[0]), columns = place(from.axes[1], to.axes[1]);
  const int64_t from_in = from.in / from.groups, into_in = to.in / to.groups;
  const double* w = map.weight.data();
  for (int64_t o = 0; o < from.out; ++o) {
    const int64_t offset = o / (from.out / from.groups) * from_in - o / (to.out / to.groups) * into_in;
    for (int64_t c = 0; c < from_in; ++c) {
      double* const plane = into.weight.data() + (o * into_in + offset + c) * to.taps();
      for (int64_t u = 0; u < from.axes[0].kernel; ++u) {
        for (int64_t v = 0; v < from.axes[1].kernel; ++v) {
          plane[(rows.first + u * rows.step) * to.axes[1].kernel + columns.first + v * columns.step] += *w++;
        }
      }
    }
  }
}

}  // namespace

std::optional<Geometry> sum(const Geometry& a, const Geometry& b, const ImageSize& size) {
  if (a.in != b.in || a.out != b.out) return std::nullopt;
  const auto rows = sum(a.axes[0], b.axes[0], size[0]), columns = sum(a.axes[1], b.axes[1], size[1]);
  if (!rows || !columns) return std::nullopt;
  return without_crops({.in = a.in, .out = a.out, .groups = std::gcd(a.groups, b.groups), .axes = {*rows, *columns}});
}

LinearMap sum(LinearMap a, LinearMap b, const Geometry& into) {
  if (a.geometry != into) std::swap(a, b);
  LinearMap result = embed(std::move(a), into);
  add_embedded(b, result);
  std::transform(result.bias.begin(), result.bias.end(), b.bias.begin(), result.bias.begin(), std::plus<>());
  return result;
}

std::optional<Geometry> stack(const Geometry& a, const Geometry& b, const ImageSize& size) {
  if (a.in != b.in) return std::nullopt;
  const auto rows = sum(a.axes[0], b.axes[0], size[0]), columns = sum(a.axes[1], b.axes[1], size[1]);
  if (!rows || !columns) return std::nullopt;
  return without_crops({.in = a.in, .out = a.out + b.out, .groups = 1, .axes = {*rows, *columns}});
}

LinearMap stack(LinearMap a, LinearMap b, const Geometry& into) {
  const auto part = [&](LinearMap map) {
    Geometry alone = into;
    alone.out = map.geometry.out;
    return embed(std::move(map), alone);
  };
  LinearMap result = part(std::move(a));
  const LinearMap other = part(std::move(b));
  result.geometry = into;
  result.weight.insert(result.weight.end(), other.weight.begin(), other.weight.end());
  result.bias.insert(result.bias.end(), other.bias.begin(), other.bias.end());
  return result;
}

LinearMap columns_of(const LinearMap& map, int64_t first, int64_t count) {
  LinearMap part{map.geometry, {}, std::vector<double>(map.bias.size())};
  part.geometry.in = count;
  const int64_t taps = map.geometry.taps();
  for (int64_t o = 0; o < map.geometry.out; ++o) {
    const auto from = map.weight.begin() + (o * map.geometry.in + first) * taps;
    part.weight.insert(part.weight.end(), from, from + count * taps);
  }
  return part;
}

std::optional<LinearMap> groups_of(const LinearMap& map, int64_t first, int64_t count) {
  const Geometry& g = map.geometry;
  const int64_t per_group = g.in / g.groups, out_per_group = g.out / g.groups;
  if (first % per_group != 0 || count % per_group != 0) return std::nullopt;
  const int64_t begin = first / per_group * out_per_group, out = count / per_group * out_per_group;
  const int64_t each = per_group * g.taps();
  LinearMap part{g,
                 {map.weight.begin() + begin * each, map.weight.begin() + (begin + out) * each},
                 {map.bias.begin() + begin, map.bias.begin() + begin + out}};
  part.geometry.in = count;
  part.geometry.out = out;
  part.geometry.groups = count / per_group;
  return part;
}

Geometry without_crops(Geometry geometry) {
  for (Axis& axis : geometry.axes) {
    const auto taps_for = [&](int64_t padding) {
      return (std::max<int64_t>(-padding, 0) + axis.dilation - 1) / axis.dilation;
    };
    const int64_t before = taps_for(axis.begin), after = taps_for(axis.end);
    axis.kernel += before + after;
    axis.begin += before * axis.dilation;
    axis.end += after * axis.dilation;
  }
  return geometry;
}

LinearMap embed(LinearMap map, const Geometry& into) {
  if (map.geometry == into) return map;
  LinearMap result{into, std::vector<double>(static_cast<size_t>(into.weights())), map.bias};
  add_embedded(map, result);
  return result;
}

std::vector<double> pull_back(const LinearMap& map, const std::vector<double>& dy, int64_t rows, Size2 input_size,
                              Size2 output_size) {
  const Geometry& g = map.geometry;
  const Axis &y_axis = g.axes[0], &x_axis = g.axes[1];
  const auto [height, width] = input_size;
  const auto [out_h, out_w] = output_size;
  const int64_t per_group = g.in / g.groups;
  std::vector<double> dx(static_cast<size_t>(rows * g.in * height * width));
  for (int64_t u = 0; u < y_axis.kernel; ++u) {
    const auto ys = reference::covered(out_h, height, y_axis.stride, y_axis.begin, u, y_axis.dilation);
    for (int64_t v = 0; v < x_axis.kernel; ++v) {
      const auto xs = reference::covered(out_w, width, x_axis.stride, x_axis.begin, v, x_axis.dilation);
      for (int64_t o = 0; o < g.out; ++o) {
        for (int64_t i = 0; i < per_group; ++i) {
          const double w =
              map.weight[static_cast<size_t>(((o * per_group + i) * y_axis.kernel + u) * x_axis.kernel + v)];
          if (w == 0) continue;
          const int64_t c = o / (g.out / g.groups) * per_group + i;
          for (int64_t n = 0; n < rows; ++n) {
            const double* from = dy.data() + (n * g.out + o) * out_h * out_w;
            double* to = dx.data() + (n * g.in + c) * height * width;
            for (int64_t y = ys.first; y < ys.last; ++y) {
              double* line = to + (y * y_axis.stride + ys.offset) * width + xs.offset;
              for (int64_t x = xs.first; x < xs.last; ++x) line[x * x_axis.stride] += w * from[y * out_w + x];
            }
          }
        }
      }
    }
  }
  return dx;
}

}  // namespace reducenet
