#include <gtest/gtest.h>

#include "collapse/driver.h"
#include "collapse/region.h"
#include "collapse/testing.h"
#include "reducenet/verify.h"
#include "rules/example.h"
#include "rules/rows.h"
#include "rules/view.h"

// Two convolutions with zero padding between them, merged: outputs that read that padding are compared apart from those
// that do not.

namespace reducenet {
namespace {

/// A random pair with a wide middle; `pointwise`: the first leaves zeros outside, but for its bias.
Graph pair(uint64_t seed, bool pointwise) {
  Example e(seed);
  const auto side = [&] { return e.integer(0, 2); };
  const ValueId x = e.image();
  ConvChoice first{.out = 24, .kernel = 1, .stride = 1, .dilation = 1, .groups = 1, .padding = Padding{}, .bias = true};
  if (!pointwise) {
    first.kernel.reset();
    first.stride.reset();
    first.dilation.reset();
    first.bias.reset();
    first.padding = Padding{side(), side(), side(), side()};
  }
  const Padding padding{e.integer(1, 2), side(), side(), e.integer(0, 1)};
  e.output(e.conv(e.conv(x, first), {.out = e.integer(1, 2), .groups = 1, .padding = padding}));
  return testing::in_double(std::move(e).finish());
}

/// Largest errors relative to the largest output, apart for outputs whose window in the middle meets padding.
struct Errors {
  double interior = 0, border = 0;
};
Errors errors(const Graph& before, const Graph& after, uint64_t seed) {
  const std::vector<Tensor> inputs = testing::random_inputs(before, seed);
  const Tensor x = evaluate(before, inputs)[0], y = evaluate(after, inputs)[0];
  EXPECT_EQ(x.shape(), y.shape());
  const View second = *view(before, {static_cast<int32_t>(before.nodes.size() - 1)});
  const Shape& middle = *before[second.source].shape;
  const auto clear = [&](size_t axis, int64_t i) {
    const Axis& a = second.geometry.axes[axis];
    const int64_t first = i * a.stride - a.begin;
    return first >= 0 && first + a.reach() < middle[axis + 2];
  };
  const std::vector<double> a = x.to_doubles(), b = y.to_doubles();
  const int64_t height = x.shape()[2], width = x.shape()[3];
  double scale = 1e-300;
  for (const double v : a) scale = std::max(scale, std::abs(v));
  Errors worst;
  for (size_t k = 0; k < a.size(); ++k) {
    const auto place = static_cast<int64_t>(k);
    double& so_far = clear(0, place / width % height) && clear(1, place % width) ? worst.interior : worst.border;
    so_far = std::max(so_far, std::abs(a[k] - b[k]) / scale);
  }
  return worst;
}

Collapsed merge_border(const Graph& graph) {
  const CollapseOptions options;
  Driver driver(graph, border_rules(), options);
  driver.run({.borders = true});
  Collapsed result = std::move(driver).finish();
  result.regions = find_regions(graph, result.graph);
  return result;
}

void expect_exact(bool pointwise) {
  int64_t merged = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const Graph graph = pair(seed, pointwise);
    const Collapsed result = merge_border(graph);
    if (result.steps.empty()) continue;
    ++merged;
    const Errors found = errors(graph, result.graph, seed);
    ASSERT_LT(found.interior, 1e-12) << "seed " << seed << "\n" << print(graph) << print(result.graph);
    ASSERT_LT(found.border, 1e-12) << "seed " << seed << "\n" << print(graph) << print(result.graph);
    for (const RegionCheck& region : check_regions(graph, result)) {
      ASSERT_TRUE(region.holds()) << "seed " << seed << ", " << region.name << "\n" << print(result.graph);
    }
  }
  EXPECT_GT(merged, 50);
}

TEST(Border, ABiasBeforePaddingIsExactInsideAndAtTheBorder) {
  expect_exact(true);
}

TEST(Border, StripsAreExactInsideAndAtTheBorder) {
  expect_exact(false);
}

// What both would be without correction: right inside, wrong at the border. The comparison above sees that.
TEST(Border, WithoutCorrectionOnlyTheBorderIsWrong) {
  int64_t wrong = 0, pairs = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    for (const bool pointwise : {true, false}) {
      const Graph graph = pair(seed, pointwise);
      const View first = *view(graph, {0}), second = *view(graph, {1});
      GraphBuilder b("naive");
      const Shape shape = testing::random_inputs(graph, seed)[0].shape();
      const ValueId x = b.input("x", shape);
      const LinearMap map = compose(numbers_of(graph, first), numbers_of(graph, second));
      const Geometry& g = map.geometry;
      const Axis &rows = g.axes[0], &columns = g.axes[1];
      const ValueId w =
          b.constant("w", Tensor::from_doubles({g.out, g.in / g.groups, rows.kernel, columns.kernel}, map.weight));
      const ValueId bias = b.constant("b", Tensor::from_doubles({g.out}, map.bias));
      b.output(b.node("y",
                      Conv2d{.stride = {rows.stride, columns.stride},
                             .padding = {rows.begin, columns.begin, rows.end, columns.end},
                             .dilation = {rows.dilation, columns.dilation},
                             .groups = g.groups},
                      {x, w, bias}));
      const Errors found = errors(graph, std::move(b).finish(), seed);
      ASSERT_LT(found.interior, 1e-12) << print(graph);
      wrong += found.border > 1e-6;
      ++pairs;
    }
  }
  EXPECT_GT(wrong, pairs / 2);
}

TEST(Border, TheBorderStaysWhereItsCorrectionIsNotAskedFor) {
  for (const bool pointwise : {true, false}) {
    const Graph graph = pair(3, pointwise);
    const CollapseOptions options;
    Driver driver(graph, border_rules(), options);
    driver.run({});
    EXPECT_TRUE(std::move(driver).finish().steps.empty());
  }
}

TEST(Border, AnOpenImageSizeIsRefused) {
  GraphBuilder b("open");
  const ValueId x = b.input("x", {1, 2, -1, -1});
  const ValueId y = b.conv("first", x, 24, {3, 3}, {.padding = {1, 1, 1, 1}});
  b.output(b.conv("second", y, 1, {3, 3}, {.padding = {1, 1, 1, 1}}));
  const Collapsed result = merge_border(std::move(b).finish());
  EXPECT_TRUE(result.steps.empty());
  ASSERT_EQ(result.refused.size(), 1u);
  EXPECT_NE(result.refused[0].why.find("the image size is open"), std::string::npos);
}

}  // namespace
}  // namespace reducenet
