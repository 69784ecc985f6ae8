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

Graph trained(std::string_view arch, ArchOptions options) {
  return testing::as_trained(build(arch, std::move(options)));
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

TEST(Collapse, WhatIsNotLinearIsNamed) {
  const Graph graph = trained("reduce8", {.widths = {4, 6, 8}, .height = 8, .width = 8});
  try {
    collapse(graph, {.target = Target::single});
    FAIL() << "collapsed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    for (const char* name : {"stem.act", "stage1.module1.act", "stage3.module1.act"}) {
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  }
}

TEST(Collapse, FadesThatHaveNotEndedStay) {
  Graph graph = build("reduce8", {.widths = {4, 6, 8}, .height = 8, .width = 8});
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 0.25;
  }
  const Collapsed result = collapse(graph);
  EXPECT_EQ(count<Fade>(result.graph), count<Fade>(graph));
  EXPECT_TRUE(verify(graph, result, {.samples = 1}).verified);
}

TEST(Collapse, StopsAfterAnyNumberOfPatches) {
  const Graph graph =
      in_double(trained("reduce8", {.widths = {4, 6, 8}, .branches = {"1x1"}, .height = 8, .width = 8}));
  const Collapsed whole = collapse(graph);
  Measure last = measure(graph);
  for (int64_t n = 0; n <= static_cast<int64_t>(whole.steps.size()); ++n) {
    const Collapsed part = collapse(graph, {.stop_after = n});
    ASSERT_EQ(static_cast<int64_t>(part.steps.size()), n);
    EXPECT_NO_THROW(check(part.graph));
    EXPECT_LT(relative_error(graph, part.graph, 1), 1e-9) << "after " << n << " patches";
    if (n > 0) {
      EXPECT_LT(measure(part.graph), last) << part.steps.back().rule;
    }
    last = measure(part.graph);
  }
  EXPECT_EQ(print(collapse(graph, {.stop_after = 1000}).graph), print(whole.graph));
}

// An LSTM whose last state alone is read leaves its first output out.
TEST(Collapse, OutputsMayBeLeftOut) {
  GraphBuilder b("last state");
  const ValueId x = b.batch_norm("bn", b.conv("conv", b.input("x", {1, 3, 8, 8}), 4, {1, 1}, {}));
  b.output(b.activation("act", b.node("lstm", Opaque{"", "LSTM", "", 0}, {x}), {}));
  Graph graph = std::move(b).finish();
  const auto lstm = std::ranges::find(graph.nodes, "lstm", &Node::name);
  lstm->outputs.insert(lstm->outputs.begin(), ValueId{});
  const Collapsed collapsed = collapse(graph);
  EXPECT_EQ(collapsed.graph.nodes.size(), 3u) << print(collapsed.graph);
  EXPECT_TRUE(verify(graph, collapsed).verified);
}

TEST(Collapse, ASecondCollapseFindsNothing) {
  const Collapsed once = collapse(trained("gen2", {.modules = 1, .widths = {4, 6, 8}, .height = 8, .width = 8}));
  const Collapsed twice = collapse(once.graph);
  EXPECT_TRUE(twice.steps.empty());
  EXPECT_TRUE(twice.regions.empty());
  EXPECT_EQ(print(twice.graph), print(once.graph));
}

// DBB (arXiv 2103.13425): 3×3, 1×1, 1×1 then 3×3, and 1×1 then mean, each with batch norms; where a branch pads in its
// middle, it pads with the shift of its batch norm.
TEST(Collapse, ADiverseBranchBlockBecomesOneConvolution) {
  Example e(11);
  const ValueId x = e.node(Activation{}, {e.image()});
  const ConvChoice pointwise{.out = 3, .kernel = 1, .stride = 1, .padding = Padding{}, .bias = false};
  const ConvChoice square{
      .out = 4, .kernel = 3, .stride = 1, .dilation = 1, .groups = 1, .padding = Padding{}, .bias = false};
  const auto padded = [&](ValueId y) {
    y = e.batch_norm(y);
    const Graph& graph = e.graph();
    const Node& bn = graph.nodes.back();
    std::vector<double> shift;
    for (int64_t c = 0; c < e.channels(y); ++c) {
      const auto at = [&](size_t i) { return graph.constant(bn.inputs[i])->to_doubles()[static_cast<size_t>(c)]; };
      shift.push_back(at(2) - at(3) * at(1) / std::sqrt(at(4) + 1e-5));
    }
    const Shape each{1, e.channels(y), 1, 1};
    const ValueId v = e.constant(Tensor::from_doubles(each, shift, DType::f32));
    y = e.node(Pad{.begin = {0, 0, 1, 1}, .end = {0, 0, 1, 1}}, {e.node(Binary{Binary::Kind::sub}, {y, v})});
    return e.node(Binary{}, {y, v});
  };
  ConvChoice same = square;
  same.padding = Padding{1, 1, 1, 1};
  ConvChoice wide = pointwise;
  wide.out = 4;
  ValueId sum = e.batch_norm(e.conv(x, same));
  sum = e.node(Binary{}, {sum, e.batch_norm(e.conv(x, wide))});
  sum = e.node(Binary{}, {sum, e.batch_norm(e.conv(padded(e.conv(x, pointwise)), square))});
  const ValueId mean = e.node(AveragePool{.kernel = {3, 3}}, {padded(e.conv(x, wide))});
  sum = e.node(Binary{}, {sum, e.batch_norm(mean)});
  e.output(e.node(Activation{}, {sum}));
  const Graph graph = std::move(e).finish();
  const Collapsed result = collapse(graph);
  EXPECT_EQ(result.graph.nodes.size(), 3u) << print(result.graph);
  const Certificate certificate = verify(graph, result, {.samples = 2});
  EXPECT_TRUE(certificate.verified) << certificate.why;
}

TEST(Collapse, NamesOfInputsAndOutputsPersist) {
  GraphBuilder b("names");
  const ValueId x = b.input("x", {1, 2, 4, 4});
  b.output(b.node("same", Identity{}, {x}));  // both ends must keep their names
  const ValueId y = b.activation("relu", x, {});
  b.output(b.node("dropped", Dropout{}, {y}));
  b.output(b.batch_norm("bn", b.conv("conv", y, 3, {1, 1}, {})));
  const Graph graph = std::move(b).finish();
  const Collapsed result = collapse(graph);
  std::vector<std::string> names;
  for (const ValueId id : result.graph.outputs) names.push_back(result.graph[id].name);
  EXPECT_EQ(names, (std::vector<std::string>{"same", "dropped", "bn"}));
  EXPECT_EQ(result.graph[result.graph.inputs[0]].name, "x");
  EXPECT_EQ(result.graph.nodes.size(), 3u) << print(result.graph);
  EXPECT_EQ(relative_error(graph, graph, 1), 0);
  EXPECT_LT(relative_error(graph, result.graph, 1), 1e-6);
}

TEST(Collapse, RefusalsSayWhy) {
  Example e(3);
  const ValueId x = e.image();
  const ValueId shifted = e.node(Binary{}, {x, e.constant(Tensor::filled({1}, 1))});
  e.output(e.conv(shifted, {.kernel = 3, .stride = 1, .padding = Padding{1, 1, 1, 1}}));
  const Collapsed result = collapse(std::move(e).finish());
  ASSERT_EQ(result.refused.size(), 1u);
  EXPECT_EQ(result.refused[0].rule, "affine-before");
  EXPECT_NE(result.refused[0].why.find("adds its bias inside the image only"), std::string::npos)
      << result.refused[0].why;
}

TEST(Collapse, WhatWouldOverflowIsRefused) {
  GraphBuilder b("overflow");
  const ValueId x = b.input("x", {1, 1, 4, 4});
  const ValueId y = b.node("up", Binary{Binary::Kind::mul}, {x, b.constant("large", Tensor::filled({1}, 1e30))});
  b.output(b.node("up again", Binary{Binary::Kind::mul}, {y, b.constant("large too", Tensor::filled({1}, 1e30))}));
  const Collapsed result = collapse(std::move(b).finish());
  EXPECT_TRUE(result.steps.empty());
  ASSERT_EQ(result.refused.size(), 1u);
  EXPECT_NE(result.refused[0].why.find("would not be finite in"), std::string::npos) << result.refused[0].why;
}

}  // namespace
}  // namespace reducenet
