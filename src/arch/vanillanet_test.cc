#include <gtest/gtest.h>

#include "collapse/testing.h"
#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/verify.h"

// Against Chen et al., arXiv 2305.12972, section 3 and table 1.

namespace reducenet {
namespace {

Graph network(const std::string& name, int64_t size) {
  return build(name, {.widths = {3, 4, 5, 6}, .height = size, .width = size});
}

template <class T>
int64_t count(const Graph& graph) {
  return std::ranges::count_if(graph.nodes, [](const Node& n) { return std::holds_alternative<T>(n.op); });
}

/// The shape after the named node.
Shape shape_after(const Graph& graph, const std::string& node) {
  return *graph[graph[graph.find_node(node)].outputs[0]].shape;
}

// Deep while it trains: two convolutions and what fades between them in the stem, in every block and in the classifier.
TEST(VanillaNetPaper, TrainsTwoLayersForOne) {
  const Graph graph = network("vanillanet6", 64);
  EXPECT_EQ(count<Fade>(graph), 1 + 4 + 1);
  for (const char* fade : {"stem.fade", "block1.fade", "block4.fade", "fc.fade"}) EXPECT_TRUE(graph.find_node(fade));
  const Node& stem = graph[graph.find_node("stem.conv1")];
  EXPECT_EQ(std::get<Conv2d>(stem.op).stride, (Size2{4, 4}));
  EXPECT_EQ(graph.constant(stem.inputs[1])->shape(), (Shape{3, 3, 4, 4}));
  EXPECT_EQ(shape_after(graph, "stem.conv2.bn"), (Shape{-1, 3, 16, 16}));
  // The first 1×1 keeps the width and the second changes it; the pool stands before the activation.
  EXPECT_EQ(shape_after(graph, "block2.conv1"), (Shape{-1, 4, 8, 8}));
  EXPECT_EQ(shape_after(graph, "block2.conv2"), (Shape{-1, 5, 8, 8}));
  EXPECT_EQ(shape_after(graph, "block2.pool"), (Shape{-1, 5, 4, 4}));
  EXPECT_EQ(shape_after(graph, "block2.series"), (Shape{-1, 5, 4, 4}));
  EXPECT_EQ(graph.constant(graph.find_value("block2.series.weight"))->shape(), (Shape{5, 1, 7, 7})) << "n = 3";
}

// While λ = 1 the fades are the activation, and nothing of a pair may merge.
TEST(VanillaNetPaper, DoesNotMergeWhileItIsDeep) {
  Graph graph = testing::as_trained(network("vanillanet5", 32));
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 1;
  }
  EXPECT_EQ(count<Fade>(collapse(graph).graph), 5);
}

TEST(VanillaNetPaper, EveryDepthCollapsesToItsLayers) {
  for (const bool cifar : {false, true}) {
    for (int64_t depth = 5; depth <= 13; ++depth) {
      const std::string name = (cifar ? "vanillanet-cifar" : "vanillanet") + std::to_string(depth);
      const Graph graph = testing::as_trained(network(name, cifar ? 8 : 32));
      const Collapsed result = collapse(graph);
      const Certificate certificate = verify(graph, result, {.samples = 1});
      EXPECT_TRUE(certificate.verified) << name << ": " << certificate.why;
      const Graph& small = result.graph;
      const int64_t blocks = depth - 2, activations = blocks + 1;
      EXPECT_EQ(count<Conv2d>(small), 1 + blocks + activations) << name << print(small);  // each, and each series sum
      EXPECT_EQ(count<Gemm>(small), 1) << name;  // both halves of the classifier
      EXPECT_EQ(count<Activation>(small), activations) << name;
      EXPECT_EQ(count<BatchNorm>(small) + count<Fade>(small), 0) << name;
      EXPECT_LT(testing::relative_error(testing::in_double(graph), collapse(testing::in_double(graph)).graph, 5), 1e-11)
          << name;
    }
  }
}

}  // namespace
}  // namespace reducenet
