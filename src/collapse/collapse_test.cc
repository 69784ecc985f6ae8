#include "reducenet/collapse.h"

#include <gtest/gtest.h>

#include "collapse/testing.h"
#include "reducenet/arch.h"
#include "reducenet/error.h"
#include "reducenet/verify.h"
#include "rules/example.h"

namespace reducenet {
namespace {

using testing::in_double;
using testing::relative_error;

template <class T>
int64_t count(const Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                       [](const Node& node) { return std::holds_alternative<T>(node.op); });
}

/// The network as training leaves it: statistics and biases far from their initial values, every λ at 0.
Graph trained(std::string_view arch, ArchOptions options, uint64_t seed = 1) {
  Graph graph = build(arch, std::move(options));
  Example draw(seed);
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 0;
    if (!std::holds_alternative<BatchNorm>(node.op)) continue;
    for (size_t i = 1; i < 5; ++i) {
      std::vector<double> values = draw.normal(graph[node.inputs[i]].constant->shape(), 0.2).to_doubles();
      for (double& v : values) v = i == 1 || i == 4 ? std::exp(v) : v;
      graph[node.inputs[i]].constant =
          Tensor::from_doubles(graph[node.inputs[i]].constant->shape(), values, DType::f32);
    }
  }
  return graph;
}

TEST(Collapse, EveryModuleBecomesOneConvolution) {
  const Graph graph = trained("reduce20", {.expansion = 2, .branches = {"1x1", "3x3", "identity-bn"}});
  const Collapsed result = collapse(graph);
  EXPECT_EQ(count<Conv2d>(result.graph), 10) << print(result.graph);
  EXPECT_EQ(count<Activation>(result.graph), 10);
  EXPECT_EQ(result.graph.nodes.size(), 10u + 10u + 3u);  // GlobalAveragePool, Flatten, Gemm
  for (const Value& value : result.graph.values) EXPECT_EQ(value.dtype, DType::f32) << value.name;
  const Certificate certificate = verify(graph, result, {.samples = 2});
  EXPECT_TRUE(certificate.verified) << certificate.why;
  EXPECT_EQ(certificate.regions.size(), 10u);
}

TEST(Collapse, PaddedInputMakesTheBackboneOneConvolution) {
  for (const char* head : {"pool", "flatten"}) {
    ArchOptions options{
        .modules = 2, .widths = {4, 6, 8}, .branches = {"1x1", "identity-bn"}, .height = 16, .width = 12};
    options.head = head;
    options.padding = "input";
    const Graph graph = in_double(trained("article", options));
    const Collapsed result = collapse(graph, {.target = Target::conv});
    EXPECT_EQ(count<Conv2d>(result.graph), 1) << print(result.graph);
    EXPECT_LE(result.graph.nodes.size(), 4u) << print(result.graph);
    EXPECT_LT(relative_error(graph, result.graph, 3), 1e-9);
  }
}

TEST(Collapse, PaddingInsideTheBackboneIsRefusedByName) {
  const Graph graph = trained("article", {.modules = 1, .widths = {4, 6}});
  try {
    collapse(graph, {.target = Target::conv});
    FAIL() << "collapsed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("zero padding inside the chain at node 'stage1.module1.conv2'"),
              std::string::npos)
        << error.what();
  }
}

TEST(Collapse, LinearNetworksBecomeOneAffineMap) {
  for (const char* head : {"pool", "flatten"}) {
    ArchOptions options{.modules = 2, .widths = {4, 6, 8}, .branches = {"1x1"}, .height = 16, .width = 12};
    options.head = head;
    const Graph graph = in_double(trained("article", options));
    const Collapsed result = collapse(graph, {.target = Target::single});
    EXPECT_EQ(result.graph.nodes.size(), 2u) << print(result.graph);
    EXPECT_EQ(count<Gemm>(result.graph), 1);
    EXPECT_LT(relative_error(graph, result.graph, 4), 1e-9);
    const Certificate certificate = verify(graph, result, {.samples = 1});
    EXPECT_TRUE(certificate.verified) << certificate.why;
    EXPECT_EQ(certificate.regions.size(), 1u);
  }
}

}  // namespace
}  // namespace reducenet
