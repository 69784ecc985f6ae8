#include "arch/branches.h"

#include <algorithm>

#include "arch/stages.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

bool keeps_shape(const Beside& c) {
  return c.stride == 1 && c.b.channels(c.x) == c.out;
}

/// x with `rows` and `columns` added on either side (negative: removed).
ValueId padded(const Beside& c, const std::string& name, int64_t rows, int64_t columns) {
  if (rows == 0 && columns == 0) return c.x;
  return c.b.graph().node(name, Pad{.begin = {0, 0, rows, columns}, .end = {0, 0, rows, columns}}, {c.x});
}

/// x as a convolution of that size meets it beside the one of size `kernel`: cropped where that one does not pad.
ValueId beside(const Beside& c, int64_t rows, int64_t columns) {
  if (c.b.pads_each()) return c.x;
  return padded(c, c.name + ".crop", (rows - c.kernel) / 2, (columns - c.kernel) / 2);
}

/// x with the zeros around it that the convolution would pad: what follows reads no padding, so it stays exact behind a
/// shift (DBB, arXiv 2103.13425, section 3.3, pads with the shift instead, which is the same).
ValueId inside_padding(const Beside& c) {
  return c.b.pads_each() ? padded(c, c.name + ".pad", c.kernel / 2, c.kernel / 2) : c.x;
}

bool is_normed(const Beside& c) {
  return c.b.options().branch_sum == "normed";
}

/// BN between two layers of a branch; none where branches are scaled.
ValueId inner_norm(const Beside& c, const std::string& name, ValueId x) {
  return is_normed(c) ? c.b.graph().batch_norm(name + ".bn", x) : x;
}

/// γ·x, γ one number a channel, in the given shape.
ValueId scaled(const Beside& c, ValueId x, const Shape& shape) {
  GraphBuilder& g = c.b.graph();
  return g.node(c.name + ".scaled", Binary{Binary::Kind::mul},
                {x, g.constant(c.name + ".scale", Tensor::filled(shape, 1))});
}

/// BN or scale at a branch's end.
ValueId norm(const Beside& c, ValueId x) {
  return is_normed(c) ? c.b.graph().batch_norm(c.name + ".bn", x) : scaled(c, x, {1, c.out, 1, 1});
}

/// γ·w as a kernel of the convolution's size, zeros around what is smaller.
ValueId embedded(const Beside& c, ValueId w) {
  const ValueId s = scaled(c, w, {c.out, 1, 1, 1});
  const Shape& shape = *c.b.graph().graph()[s].shape;
  const int64_t rows = (c.kernel - shape[2]) / 2, columns = (c.kernel - shape[3]) / 2;
  if (rows == 0 && columns == 0) return s;
  return c.b.graph().node(c.name + ".embedded", Pad{.begin = {0, 0, rows, columns}, .end = {0, 0, rows, columns}}, {s});
}

ValueId weight(const Beside& c, const std::string& name, int64_t out, int64_t in, int64_t rows, int64_t columns) {
  return c.b.graph().kernel(name + ".weight", {out, in, rows, columns});
}

ValueId transposed(const Beside& c, const std::string& name, ValueId w) {
  return c.b.graph().node(name, Transpose{{1, 0, 2, 3}}, {w});
}

/// The kernel of v∗(w∗x), w 1×1: v's channels as images, convolved with wᵀ.
ValueId after_one_by_one(const Beside& c, const std::string& name, ValueId v, ValueId w) {
  if (c.groups > 1) {
    throw Error(ErrorKind::usage, "model.branch_sum: '" + c.name +
                                      "' lies beside a convolution of several groups, and "
                                      "has no kernel of one step there");
  }
  return c.b.graph().node(name, Conv2d{}, {v, transposed(c, name + ".transposed", w)});
}

/// A convolution rows × columns of stride and borders as the one that it runs beside, and BN.
ValueId conv(const Beside& c, int64_t rows, int64_t columns) {
  Conv2d op{.stride = {c.stride, c.stride}, .groups = c.groups};
  if (c.b.pads_each()) op.padding = {rows / 2, columns / 2, rows / 2, columns / 2};
  return norm(c, c.b.graph().conv(c.name, beside(c, rows, columns), c.out, {rows, columns}, op));
}
ValueId kernel(const Beside& c, int64_t rows, int64_t columns) {
  return embedded(c, weight(c, c.name, c.out, c.b.channels(c.x) / c.groups, rows, columns));
}

// δ∗x
ValueId identity(const Beside& c) {
  if (!keeps_shape(c)) return {};
  return is_normed(c) ? beside(c, 1, 1) : norm(c, beside(c, 1, 1));
}

// γ·δ: diag(γ) is γ as a column, n zeros behind each number, read as n rows of n.
ValueId identity_kernel(const Beside& c) {
  if (!keeps_shape(c)) return {};
  GraphBuilder& g = c.b.graph();
  const int64_t n = c.out;
  ValueId y = g.constant(c.name + ".scale", Tensor::filled({n, 1, 1, 1}, 1));
  if (c.groups == 1) {
    const auto shaped = [&](const char* what, const Shape& shape) {
      const std::string name = c.name + what;
      y = g.node(name, Reshape{},
                 {y, g.constant(name + ".shape", Tensor::of({static_cast<int64_t>(shape.size())}, shape))});
    };
    y = g.node(c.name + ".spaced", Pad{.begin = {0, 0, 0, 0}, .end = {0, n, 0, 0}}, {y});
    shaped(".flat", {n * (n + 1)});
    y = g.node(c.name + ".cut", Pad{.begin = {0}, .end = {-n}}, {y});
    shaped(".diagonal", {n, n, 1, 1});
  }
  const int64_t half = c.kernel / 2;
  if (half == 0) return y;
  return g.node(c.name + ".embedded", Pad{.begin = {0, 0, half, half}, .end = {0, 0, half, half}}, {y});
}

ValueId identity_norm(const Beside& c) {
  return keeps_shape(c) ? norm(c, beside(c, 1, 1)) : ValueId{};
}

// One of rows × columns; 0 stands for the convolution's own size.
template <int64_t rows, int64_t columns>
bool fits(const Beside& c) {
  return c.kernel >= std::max(rows, columns) && (c.kernel > 1 || (rows > 0) == (columns > 0));
}
template <int64_t rows, int64_t columns>
ValueId sized(const Beside& c) {
  return fits<rows, columns>(c) ? conv(c, rows ? rows : c.kernel, columns ? columns : c.kernel) : ValueId{};
}
template <int64_t rows, int64_t columns>
ValueId sized_kernel(const Beside& c) {
  return fits<rows, columns>(c) ? kernel(c, rows ? rows : c.kernel, columns ? columns : c.kernel) : ValueId{};
}

// BN( w₂∗BN( w₁∗x ) ), w₁ 1×1 (DBB, section 3.2, transform III).
ValueId one_by_one_then_copy(const Beside& c) {
  if (c.kernel == 1) return {};
  const ValueId y = inner_norm(
      c, c.name + ".inner",
      c.b.graph().conv(c.name + ".inner", inside_padding(c), c.b.channels(c.x), {1, 1}, Conv2d{.groups = c.groups}));
  const Conv2d op{.stride = {c.stride, c.stride}, .groups = c.groups};
  return norm(c, c.b.graph().conv(c.name, y, c.out, {c.kernel, c.kernel}, op));
}
ValueId one_by_one_then_copy_kernel(const Beside& c) {
  if (c.kernel == 1) return {};
  const int64_t in = c.b.channels(c.x);
  const ValueId w = weight(c, c.name + ".inner", in, in / c.groups, 1, 1),
                v = weight(c, c.name, c.out, in / c.groups, c.kernel, c.kernel);
  return embedded(c, after_one_by_one(c, c.name, v, w));
}

// BN( mean over k×k of BN( w∗x ) ), w 1×1 (DBB, section 3.2, transform V).
ValueId one_by_one_then_average(const Beside& c) {
  if (c.kernel == 1) return {};
  const ValueId y =
      inner_norm(c, c.name + ".inner",
                 c.b.graph().conv(c.name + ".inner", inside_padding(c), c.out, {1, 1}, Conv2d{.groups = c.groups}));
  const AveragePool pool{.kernel = {c.kernel, c.kernel}, .stride = {c.stride, c.stride}};
  return norm(c, c.b.graph().node(c.name, pool, {y}));
}
// w/k² at each of k×k: means of w in the middle of zeros.
ValueId one_by_one_then_average_kernel(const Beside& c) {
  if (c.kernel == 1) return {};
  const int64_t reach = c.kernel - 1;
  const ValueId w = weight(c, c.name + ".inner", c.out, c.b.channels(c.x) / c.groups, 1, 1);
  const Pad pad{.begin = {0, 0, reach, reach}, .end = {0, 0, reach, reach}};
  const ValueId wide = c.b.graph().node(c.name + ".inner.spread", pad, {w});
  return embedded(c, c.b.graph().node(c.name, AveragePool{.kernel = {c.kernel, c.kernel}}, {wide}));
}

// BN( w₃∗w₂∗w₁∗x ), w₁ and w₃ 1×1, the middle `expansion` times as wide (ExpandNet, arXiv 1811.10495, section 3.1).
ValueId expand(const Beside& c) {
  const int64_t times = c.b.options().expansion;
  GraphBuilder& g = c.b.graph();
  Conv2d op{.stride = {c.stride, c.stride}, .groups = c.groups};
  if (c.b.pads_each()) op.padding = {c.kernel / 2, c.kernel / 2, c.kernel / 2, c.kernel / 2};
  ValueId y = g.conv(c.name + ".in", c.x, c.b.channels(c.x) * times, {1, 1}, Conv2d{.groups = c.groups});
  y = g.conv(c.name + ".middle", y, c.out * times, {c.kernel, c.kernel}, op);
  return norm(c, g.conv(c.name, y, c.out, {1, 1}, Conv2d{.groups = c.groups}));
}
ValueId expand_kernel(const Beside& c) {
  const int64_t times = c.b.options().expansion, in = c.b.channels(c.x);
  const ValueId w1 = weight(c, c.name + ".in", in * times, in / c.groups, 1, 1),
                w2 = weight(c, c.name + ".middle", c.out * times, in * times / c.groups, c.kernel, c.kernel),
                w3 = weight(c, c.name, c.out, c.out * times / c.groups, 1, 1);
  const ValueId inner = transposed(c, c.name + ".inner.turned", after_one_by_one(c, c.name + ".inner", w2, w1));
  return embedded(c, transposed(c, c.name, c.b.graph().node(c.name + ".outer", Conv2d{}, {inner, w3})));
}

constexpr BranchKind kKinds[] = {
    {"identity", "x, where shapes agree", identity, identity_kernel},
    {"identity-bn", "BN(x), where shapes agree (RepVGG, arXiv 2101.03697)", identity_norm, identity_kernel},
    {"1x1", "1x1-BN (RepVGG)", sized<1, 1>, sized_kernel<1, 1>},
    {"3x3", "3x3-BN, beside kernels of 3 and more", sized<3, 3>, sized_kernel<3, 3>},
    {"kxk", "the same convolution and BN once more (MobileOne, arXiv 2206.04040, with *N)", sized<0, 0>,
     sized_kernel<0, 0>},
    {"1xk", "a row: 1xk-BN (ACNet, arXiv 1908.03930)", sized<1, 0>, sized_kernel<1, 0>},
    {"kx1", "a column: kx1-BN (ACNet)", sized<0, 1>, sized_kernel<0, 1>},
    {"1x1-kxk", "1x1-BN-kxk-BN (DBB)", one_by_one_then_copy, one_by_one_then_copy_kernel},
    {"1x1-avg", "1x1-BN-average-BN (DBB)", one_by_one_then_average, one_by_one_then_average_kernel},
    {"expand", "1x1-kxk-1x1-BN, the middle `expansion` times as wide (ExpandNet)", expand, expand_kernel},
};

}  // namespace

const BranchKind& find_branch(std::string_view name) {
  const auto found = std::ranges::find(kKinds, name, &BranchKind::name);
  if (found != std::end(kKinds)) return *found;
  std::string names;
  for (const BranchKind& kind : kKinds) names += (names.empty() ? "" : ", ") + std::string(kind.name);
  throw Error(ErrorKind::usage, "model.branches: unknown branch '" + std::string(name) + "'; known: " + names);
}

std::vector<ArchChoice> branch_kinds() {
  std::vector<ArchChoice> choices;
  for (const BranchKind& kind : kKinds) choices.push_back({kind.name, kind.summary});
  return choices;
}

}  // namespace reducenet
