#include "reducenet/graph.h"

#include <gtest/gtest.h>

#include "reducenet/builder.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

std::string message(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

Graph two_convs() {
  GraphBuilder b("two");
  const ValueId x = b.input("x", {-1, 2, 8, 8});
  const ValueId y = b.conv("first", x, 4, {3, 5}, {.stride = {2, 1}, .padding = {1, 2, 0, 2}});
  b.output(b.activation("relu", b.conv("second", y, 4, {1, 1}, {.groups = 2}, true), {Activation::Kind::relu}));
  return std::move(b).finish();
}

TEST(Graph, PrintsStably) {
  EXPECT_EQ(print(two_convs()),
            "graph two(x[?x2x8x8])\n"
            "  first[?x4x4x8] = Conv s2x1 p1,2,0,2(x[?x2x8x8], first.weight[4x2x3x5])\n"
            "  second[?x4x4x8] = Conv g2(first[?x4x4x8], second.weight[4x2x1x1], second.bias[4])\n"
            "  relu[?x4x4x8] = Relu(second[?x4x4x8])\n"
            "  return relu[?x4x4x8]\n");
}

TEST(Graph, CountsMacsParametersAndNonlinearNodes) {
  const Graph graph = two_convs();
  EXPECT_EQ(count_macs(graph), 4 * 4 * 8 * 2 * 15 + 4 * 4 * 8 * 2);
  EXPECT_EQ(count_parameters(graph), 4 * 2 * 15 + 4 * 2 + 4);
  EXPECT_EQ(count_nonlinear(graph), 1);
}

TEST(Graph, ErrorsNameTheNode) {
  Graph graph = two_convs();
  graph[graph.find_value("second.weight")].constant = Tensor::filled({4, 3, 1, 1}, 0);
  EXPECT_EQ(message([&] { infer_shapes(graph); }),
            "node 'second' (Conv g2): input channels do not match the weight 4x3x1x1: 4 against 6");
}

TEST(Graph, CheckFindsBrokenInvariants) {
  Graph graph = two_convs();
  std::swap(graph.nodes[0], graph.nodes[1]);
  EXPECT_EQ(message([&] { check(graph); }), "node 'second' (Conv) reads 'first', which nothing before it makes");
  sort_topologically(graph);
  EXPECT_EQ(message([&] { check(graph); }), "no error");

  Graph cyclic = two_convs();
  cyclic.nodes[0].inputs[0] = cyclic.nodes[2].outputs[0];
  EXPECT_EQ(message([&] { sort_topologically(cyclic); }), "node 'first' (Conv) is on a cycle");

  Graph twice = two_convs();
  twice.nodes[1].name = "first";
  EXPECT_EQ(message([&] { check(twice); }), "two nodes are named 'first'");

  Graph dangling = two_convs();
  dangling.nodes[0].inputs[0] = {99};
  EXPECT_EQ(message([&] { check(dangling); }), "node 'first' (Conv) reads a value that does not exist");
}

TEST(Graph, DeadNodesAndValuesGo) {
  Graph graph = two_convs();
  graph.outputs = {graph.find_value("first")};
  remove_dead(graph);
  EXPECT_EQ(graph.nodes.size(), 1u);
  EXPECT_EQ(graph.values.size(), 3u);
  EXPECT_NO_THROW(check(graph));
}

TEST(Graph, UsesCountEveryRead) {
  GraphBuilder b("twice");
  const ValueId x = b.input("x", {1, 2});
  const ValueId y = b.activation("y", x, {Activation::Kind::relu});
  b.output(b.add("sum", y, y));
  const Graph graph = std::move(b).finish();
  const Uses uses(graph);
  EXPECT_EQ(uses.consumers_of(y).size(), 2u);
  EXPECT_FALSE(uses.has_single_use(y));
  EXPECT_TRUE(uses.has_single_use(x));
  EXPECT_FALSE(uses.has_single_use(graph.outputs[0]));
}

TEST(Graph, BatchIsFixedOnDemand) {
  Graph graph = two_convs();
  set_batch(graph, 3);
  EXPECT_EQ(*graph[graph.outputs[0]].shape, (Shape{3, 4, 4, 8}));
}

TEST(Shapes, ReshapeKeepsAnUnknownBatch) {
  GraphBuilder b("reshape");
  const ValueId x = b.input("x", {-1, 2, 3, 4});
  const ValueId to = b.constant("to", Tensor::of({2}, std::vector<int64_t>{0, -1}));
  const ValueId y = b.node("y", Reshape{}, {x, to});
  b.output(y);
  const Graph graph = std::move(b).finish();
  EXPECT_EQ(*graph[y].shape, (Shape{-1, 24}));
}

TEST(Shapes, CeilingPoolsSkipWindowsThatStartInTheTrailingPadding) {
  const auto shape = [](int64_t size, MaxPool pool) {
    const std::optional<Shape> in[] = {Shape{1, 1, size, size}};
    const Tensor* none[] = {nullptr};
    return output_shapes(pool, in, none, 1)[0]->at(2);
  };
  EXPECT_EQ(shape(6, {.kernel = {3, 3}, .stride = {2, 2}, .ceil_mode = true}), 3);
  EXPECT_EQ(shape(6, {.kernel = {3, 3}, .stride = {2, 2}}), 2);
  EXPECT_EQ(shape(3, {.kernel = {1, 1}, .stride = {2, 2}, .padding = {1, 1, 1, 1}, .ceil_mode = true}), 3);
  EXPECT_EQ(shape(4, {.kernel = {1, 1}, .stride = {5, 5}, .padding = {0, 0, 1, 1}, .ceil_mode = true}), 1);
}

}  // namespace
}  // namespace reducenet
