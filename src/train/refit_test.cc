#include "train/refit.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "reducenet/arch.h"
#include "reducenet/error.h"
#include "train/feed.h"
#include "train/graphs.h"

namespace reducenet::train {
namespace {

struct Subject {
  ImageSet images = generate_images(96, 3, 8);
  std::vector<int32_t> order = std::vector<int32_t>(96);
  Graph graph;
  Subject() {
    std::iota(order.begin(), order.end(), 0);
    graph = build("resnet", {.modules = 1, .widths = {4, 6}, .height = 8, .width = 8, .seed = 1});
    Preprocessing::of(images).to_metadata(graph.metadata);
    for (const Node& node : graph.nodes) {  // statistics that are far from the images'
      if (!std::holds_alternative<BatchNorm>(node.op)) continue;
      graph[node.inputs[4]].constant = Tensor::filled(graph.constant(node.inputs[4])->shape(), 9);
    }
  }
  double loss(const Graph& model, bool by_batch) {
    Network network(model);
    Feed feed(images, *Preprocessing::from_metadata(model.metadata), 96, at::kCPU);
    return evaluate(network, feed, order, by_batch).loss;
  }
};

// With statistics of the very batch, evaluation agrees with evaluation by that batch (but for n/(n−1) in the variance).
TEST(Refit, StatisticsAreThoseOfTheSample) {
  Subject s;
  const Graph fitted = estimate_statistics(s.graph, {s.images, s.order, 1, 96});
  EXPECT_GT(std::abs(s.loss(s.graph, false) - s.loss(s.graph, true)), 0.05);
  EXPECT_NEAR(s.loss(fitted, false), s.loss(s.graph, true), 0.01);
}

TEST(Refit, WithoutBatchNormNothingChanges) {
  Subject s;
  Graph graph = build("softmax", {.height = 8, .width = 8});
  Preprocessing::of(s.images).to_metadata(graph.metadata);
  EXPECT_EQ(print(estimate_statistics(graph, {s.images, s.order})), print(graph));
}

// Columns scaled by 1 − ε change the loss by −ε·Σ w·∂L/∂w.
TEST(Refit, GradientsAreThoseOfTheLoss) {
  Subject s;
  const Sample sample{s.images, s.order, 1, 96};
  int64_t batches = 0, checked = 0;
  loss_gradients(s.graph, sample)([&](const std::map<int32_t, Tensor>& gradients) {
    ++batches;
    const double base = s.loss(s.graph, true), epsilon = 0.02;
    for (const char* name : {"stage1.module1.conv2", "stage2.module1.conv1", "fc"}) {
      const ValueId weight = s.graph[s.graph.find_node(name)].inputs[1];
      const std::vector<double> w = s.graph.constant(weight)->to_doubles(), g = gradients.at(weight.index).to_doubles();
      Graph nudged = s.graph;
      std::vector<double> near = w;
      double expected = 0;
      for (size_t i = 0; i < near.size(); i += 3) {
        expected -= epsilon * w[i] * g[i];
        near[i] *= 1 - epsilon;
      }
      nudged[weight].constant = Tensor::from_doubles(s.graph.constant(weight)->shape(), near, DType::f32);
      EXPECT_NEAR(s.loss(nudged, true) - base, expected, 0.1 * std::abs(expected) + 1e-5) << name;
      ++checked;
    }
  });
  EXPECT_EQ(batches, 1);
  EXPECT_EQ(checked, 3);
}

TEST(Refit, TaylorRanksByWhatCuttingCosts) {
  Subject s;
  const Channels channels = find_channels(s.graph);
  const Sample sample{s.images, s.order, 3, 32};
  const std::vector<double> scores =
      find_criterion("taylor").score({s.graph, channels, loss_gradients(s.graph, sample)});
  for (size_t unit = 1; unit < scores.size(); ++unit) EXPECT_GT(scores[unit], 0) << unit;
}

TEST(Refit, NamesWhatIsMissing) {
  Subject s;
  Graph graph = s.graph;
  graph.metadata.clear();
  EXPECT_THROW(estimate_statistics(graph, {s.images, s.order}), Error);
  EXPECT_THROW(estimate_statistics(s.graph, {s.images, {}}), Error);
}

}  // namespace
}  // namespace reducenet::train
