#include "rules/frame.h"

#include <gtest/gtest.h>

#include "collapse/testing.h"
#include "reducenet/collapse.h"

// Branches of a diverse branch block as PyTorch exports them: 1×1 convolution, zero padding, and its shift written over
// the frame side by side, before a 3×3 convolution or a mean.

namespace reducenet {
namespace {

constexpr Shape::value_type kChannels = 3, kSide = 6, kFramed = kSide + 2;

/// All places of one side of the frame of a [1, kChannels, kFramed, kFramed] tensor.
std::vector<int64_t> side_of_frame(size_t axis, int64_t at) {
  std::vector<int64_t> places;
  for (int64_t c = 0; c < kChannels; ++c) {
    for (int64_t i = 0; i < kFramed; ++i) {
      for (const int64_t n : {int64_t{0}, c, axis == 2 ? at : i, axis == 2 ? i : at}) places.push_back(n);
    }
  }
  return places;
}

struct Numbers {
  std::vector<double> bias{0.5, -2, 0.25}, frame = bias;
  bool inside = false;  ///< something is written inside as well
};

/// 1×1 convolution and its frame.
ValueId framed(GraphBuilder& b, const std::string& name, ValueId x, const Numbers& numbers) {
  std::vector<double> weight;
  for (int i = 0; i < kChannels * kChannels; ++i) weight.push_back(0.3 * i - 1);
  const ValueId w = b.constant(name + ".w", Tensor::from_doubles({kChannels, kChannels, 1, 1}, weight, DType::f32));
  const ValueId bias = b.constant(name + ".b", Tensor::from_doubles({kChannels}, numbers.bias, DType::f32));
  ValueId y = b.node(name + ".pad", Pad{.begin = {0, 0, 1, 1}, .end = {0, 0, 1, 1}},
                     {b.node(name + ".conv", Conv2d{}, {x, w, bias})});
  std::vector<double> updates;
  for (const double v : numbers.frame) updates.insert(updates.end(), kFramed, v);
  const auto write = [&](const std::string& part, const std::vector<int64_t>& places) {
    const auto count = static_cast<int64_t>(places.size() / 4);
    y = b.node(name + part, ScatterNd{},
               {y, b.constant(name + part + ".places", Tensor::of({count, 4}, places)),
                b.constant(name + part + ".values", Tensor::from_doubles({count}, updates, DType::f32))});
  };
  write(".top", side_of_frame(2, 0));
  write(".bottom", side_of_frame(2, -1));
  write(".left", side_of_frame(3, 0));
  write(".right", side_of_frame(3, numbers.inside ? 2 : -1));
  return y;
}

/// conv3×3(x) + conv3×3(framed) + mean3×3(framed), or the middle term alone.
Graph block(const Numbers& numbers, bool alone = false) {
  GraphBuilder b("block");
  const ValueId x = b.input("x", {1, kChannels, kSide, kSide});
  const ValueId wide = b.conv("second", framed(b, "first", x, numbers), kChannels, {3, 3}, {});
  if (alone) {
    b.output(wide);
    return std::move(b).finish();
  }
  const ValueId plain = b.conv("plain", x, kChannels, {3, 3}, {.padding = {1, 1, 1, 1}});
  const ValueId mean = b.node("mean", AveragePool{.kernel = {3, 3}}, {framed(b, "averaged", x, numbers)});
  b.output(b.node("sum", Binary{}, {b.node("part", Binary{}, {plain, wide}), mean}));
  return std::move(b).finish();
}

TEST(Frame, ADiverseBranchBlockBecomesOneConvolution) {
  const Graph graph = testing::in_double(block({}));
  const Collapsed result = collapse(graph);
  EXPECT_EQ(result.graph.nodes.size(), 1u) << print(result.graph);
  EXPECT_LT(testing::relative_error(graph, result.graph, 1), 1e-12);
}

TEST(Frame, MayDifferByTheRoundingOfItsTypeOnly) {
  Numbers numbers;
  numbers.frame[1] = std::nextafter(-2.0F, 0.0F);
  EXPECT_EQ(collapse(block(numbers, true)).graph.nodes.size(), 1u);
  numbers.frame[1] = -2 + 1e-5;
  const Collapsed other = collapse(block(numbers, true));
  EXPECT_GT(other.graph.nodes.size(), 1u);
  ASSERT_FALSE(other.refused.empty());
  EXPECT_NE(other.refused[0].why.find("makes another value of zeros"), std::string::npos) << other.refused[0].why;
}

TEST(Frame, OneThatReachesInsideStays) {
  const Numbers numbers{.inside = true};
  const Graph graph = testing::in_double(block(numbers, true));
  const Collapsed result = collapse(graph);
  EXPECT_GT(result.graph.nodes.size(), 1u);
  EXPECT_LT(testing::relative_error(graph, result.graph, 1), 1e-12);
}

TEST(Frame, AZeroPaddingWithoutAFrameIsNone) {
  const Numbers numbers{.bias = {0.5, -2, 0.25}, .frame = {0, 0, 0}};
  const Collapsed result = collapse(block(numbers, true));
  EXPECT_GT(result.graph.nodes.size(), 1u);
}

}  // namespace
}  // namespace reducenet
