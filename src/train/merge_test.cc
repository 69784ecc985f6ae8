// The collapsed network with BatchNorm in it again: the same function, in a form that trains.
#include "train/merge.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "reducenet/arch.h"
#include "reducenet/builder.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "train/network.h"

namespace reducenet::train {
namespace {

/// reduce with a linear branch, all of it trained a little: weights, γ, β and statistics are whatever they are.
Graph deep(double lambda) {
  Graph graph =
      build("reduce",
            {.modules = 1, .widths = {4, 6}, .expansion = 2, .branches = {"1x1"}, .height = 8, .width = 8, .seed = 1});
  uint64_t seed = 7;
  for (Node& node : graph.nodes) {
    if (auto* const fade = std::get_if<Fade>(&node.op)) fade->lambda = lambda;
    if (!std::holds_alternative<BatchNorm>(node.op)) continue;
    for (size_t i = 1; i < 5; ++i) {
      const at::Tensor drawn =
          at::rand(graph.constant(node.inputs[i])->shape(), at::make_generator<at::CPUGeneratorImpl>(++seed));
      graph[node.inputs[i]].constant = from_torch(i == 2 || i == 3 ? drawn - 0.5 : drawn + 0.5);
    }
  }
  return graph;
}

at::Tensor some_images() {
  return at::randn({64, 3, 8, 8}, at::make_generator<at::CPUGeneratorImpl>(3)).to(at::kFloat);
}

template <class Op>
int64_t count(const Graph& graph) {
  return std::ranges::count_if(graph.nodes, [](const Node& n) { return std::holds_alternative<Op>(n.op); });
}

at::Tensor scores(const Graph& graph, bool training) {
  const c10::AutoGradMode no_grad(false);
  return Network(graph).forward(some_images(), training);
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / a.abs().max()).item<double>();
}

TEST(Merge, IsTheSameFunctionAlsoByTheStatisticsOfItsBatch) {
  const Graph before = deep(0);
  const Graph merged = merge(before, some_images, 1, false, at::kCPU);
  EXPECT_EQ(count<Conv2d>(merged), 3);  // stem and two modules
  EXPECT_EQ(count<BatchNorm>(merged), 3);
  EXPECT_TRUE(is_merged(merged));
  EXPECT_FALSE(is_merged(before));
  EXPECT_LT(difference(scores(before, false), scores(merged, false)), 1e-4);
  // The batch that it was measured on; before, each BatchNorm had statistics that fit no batch.
  EXPECT_LT(difference(scores(merged, false), scores(merged, true)), 1e-4);
  EXPECT_GT(difference(scores(before, false), scores(before, true)), 0.1);
}

TEST(Merge, WeightsHaveTheSpreadOfNewOnes) {
  const Graph merged = merge(deep(0), some_images, 2, false, at::kCPU);
  for (const Node& node : merged.nodes) {
    if (!std::holds_alternative<Conv2d>(node.op)) continue;
    const Tensor& weight = *merged.constant(node.inputs[1]);
    const std::vector<float> values = weight.to_floats();
    const at::Tensor w = at::tensor(values);
    const double fan_in = static_cast<double>(weight.size() / weight.shape()[0]);
    EXPECT_NEAR(w.std(/*unbiased=*/false).item<double>(), std::sqrt(2 / fan_in), 1e-5) << node.name;
  }
}

TEST(Merge, ShortcutsStandBesideWhateverKeepsItsShape) {
  const Graph before = deep(0);
  const Graph merged = merge(before, some_images, 1, true, at::kCPU);
  EXPECT_EQ(count<Conv2d>(merged), 3);
  EXPECT_EQ(count<BatchNorm>(merged), 3);
  EXPECT_EQ(merged.nodes.size(), merge(before, some_images, 1, false, at::kCPU).nodes.size() + 1);  // 4 → 4 channels
  EXPECT_LT(difference(scores(before, false), scores(merged, false)), 1e-4);
  EXPECT_LT(difference(scores(merged, false), scores(merged, true)), 1e-4);
  EXPECT_EQ(count<Conv2d>(collapse(merged).graph), 3);
  EXPECT_EQ(collapse(merged).graph.nodes.size(), collapse(before).graph.nodes.size());
}

TEST(Merge, ADepthwiseConvolutionTakesAShortcutTooUnlessItSeesTheImage) {
  GraphBuilder b("depthwise", 5);
  ValueId x = b.input("image", {-1, 3, 8, 8});
  const auto layer = [&](const std::string& name, int64_t out) {
    x = b.conv(name, x, out, {3, 3}, Conv2d{.padding = {1, 1, 1, 1}, .groups = 3});
    x = b.activation(name + ".act", b.batch_norm(name + ".bn", x), {});
  };
  layer("conv1", 3);
  layer("conv2", 3);
  layer("conv3", 6);
  b.output(b.gemm("fc", b.node("flatten", Flatten{}, {b.node("pool", GlobalAveragePool{}, {x})}), 4));
  const Graph before = std::move(b).finish();
  const Graph merged = merge(before, some_images, 1, true, at::kCPU);
  EXPECT_EQ(count<Binary>(merged), 1);
  EXPECT_LT(difference(scores(before, false), scores(merged, false)), 1e-4);
  EXPECT_EQ(count<Binary>(collapse(merged).graph), 0);
}

TEST(Merge, WithoutBatchNormNoneIsAdded) {
  const Graph graph = build("softmax", {.height = 8, .width = 8});
  const Graph merged = merge(graph, some_images, 1, false, at::kCPU);
  EXPECT_EQ(count<BatchNorm>(merged), 0);
  EXPECT_LT(difference(scores(graph, false), scores(merged, false)), 1e-5);
}

TEST(Merge, AFadeMustHaveComeToAnEnd) {
  EXPECT_EQ(count_nonlinear(merge(deep(0), some_images, 1, false, at::kCPU)), 3);
  EXPECT_EQ(count_nonlinear(merge(deep(1), some_images, 1, false, at::kCPU)), 5);  // λ = 1: two activations that stay
  Graph halfway = deep(0.5);
  for (Node& node : halfway.nodes) {
    if (auto* const fade = std::get_if<Fade>(&node.op)) fade->activation.kind = Activation::Kind::gelu;
  }
  try {
    merge(halfway, some_images, 1, false, at::kCPU);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
  }
}

}  // namespace
}  // namespace reducenet::train
