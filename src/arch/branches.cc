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

ValueId norm(const Beside& c, const std::string& name, ValueId x) {
  return c.b.graph().batch_norm(name + ".bn", x);
}

/// A convolution rows × columns of stride and borders as the one that it runs beside, and BN.
ValueId conv(const Beside& c, int64_t rows, int64_t columns) {
  Conv2d op{.stride = {c.stride, c.stride}, .groups = c.groups};
  if (c.b.pads_each()) op.padding = {rows / 2, columns / 2, rows / 2, columns / 2};
  return norm(c, c.name, c.b.graph().conv(c.name, beside(c, rows, columns), c.out, {rows, columns}, op));
}

// δ∗x
ValueId identity(const Beside& c) {
  return keeps_shape(c) ? beside(c, 1, 1) : ValueId{};
}

// RepVGG, arXiv 2101.03697, section 3.2.
ValueId identity_norm(const Beside& c) {
  return keeps_shape(c) ? norm(c, c.name, beside(c, 1, 1)) : ValueId{};
}

ValueId one_by_one(const Beside& c) {
  return conv(c, 1, 1);
}

ValueId three_by_three(const Beside& c) {
  return c.kernel >= 3 ? conv(c, 3, 3) : ValueId{};
}

// One more convolution of the same kind; several of them: MobileOne, arXiv 2206.04040, section 3.2.
ValueId copy(const Beside& c) {
  return conv(c, c.kernel, c.kernel);
}

// ACNet, arXiv 1908.03930.
ValueId row(const Beside& c) {
  return c.kernel > 1 ? conv(c, 1, c.kernel) : ValueId{};
}
ValueId column(const Beside& c) {
  return c.kernel > 1 ? conv(c, c.kernel, 1) : ValueId{};
}

// BN( w₂∗BN( w₁∗x ) ), w₁ 1×1 (DBB, section 3.2, transform III).
ValueId one_by_one_then_copy(const Beside& c) {
  if (c.kernel == 1) return {};
  const ValueId y = norm(
      c, c.name + ".inner",
      c.b.graph().conv(c.name + ".inner", inside_padding(c), c.b.channels(c.x), {1, 1}, Conv2d{.groups = c.groups}));
  const Conv2d op{.stride = {c.stride, c.stride}, .groups = c.groups};
  return norm(c, c.name, c.b.graph().conv(c.name, y, c.out, {c.kernel, c.kernel}, op));
}

// BN( mean over k×k of BN( w∗x ) ), w 1×1 (DBB, section 3.2, transform V).
ValueId one_by_one_then_average(const Beside& c) {
  if (c.kernel == 1) return {};
  const ValueId y =
      norm(c, c.name + ".inner",
           c.b.graph().conv(c.name + ".inner", inside_padding(c), c.out, {1, 1}, Conv2d{.groups = c.groups}));
  const AveragePool pool{.kernel = {c.kernel, c.kernel}, .stride = {c.stride, c.stride}};
  return norm(c, c.name, c.b.graph().node(c.name, pool, {y}));
}

// BN( w₃∗w₂∗w₁∗x ), w₁ and w₃ 1×1, the middle `expansion` times as wide (ExpandNet, arXiv 1811.10495, section 3.1).
ValueId expand(const Beside& c) {
  const int64_t times = c.b.options().expansion;
  GraphBuilder& g = c.b.graph();
  Conv2d op{.stride = {c.stride, c.stride}, .groups = c.groups};
  if (c.b.pads_each()) op.padding = {c.kernel / 2, c.kernel / 2, c.kernel / 2, c.kernel / 2};
  ValueId y = g.conv(c.name + ".in", c.x, c.b.channels(c.x) * times, {1, 1}, Conv2d{.groups = c.groups});
  y = g.conv(c.name + ".middle", y, c.out * times, {c.kernel, c.kernel}, op);
  return norm(c, c.name, g.conv(c.name, y, c.out, {1, 1}, Conv2d{.groups = c.groups}));
}

constexpr BranchKind kKinds[] = {
    {"identity", "x, where shapes agree", identity},
    {"identity-bn", "BN(x), where shapes agree (RepVGG)", identity_norm},
    {"1x1", "1x1-BN (RepVGG)", one_by_one},
    {"3x3", "3x3-BN, beside kernels of 3 and more", three_by_three},
    {"kxk", "the same convolution and BN once more (MobileOne with *N)", copy},
    {"1xk", "a row: 1xk-BN (ACNet)", row},
    {"kx1", "a column: kx1-BN (ACNet)", column},
    {"1x1-kxk", "1x1-BN-kxk-BN (DBB)", one_by_one_then_copy},
    {"1x1-avg", "1x1-BN-average-BN (DBB)", one_by_one_then_average},
    {"expand", "1x1-kxk-1x1-BN, the middle `expansion` times as wide (ExpandNet)", expand},
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
