#include "formats/onnx/gates.h"

#include <algorithm>

#include "formats/onnx/subgraph.h"
#include "formats/onnx/testing.h"
#include "reducenet/arch.h"
#include "reducenet/collapse.h"

namespace reducenet {
namespace {

// Two stages of two blocks; the second stage's first block has no gate.
Graph skipnet() {
  return build("skipnet", {.modules = 2, .widths = {4, 8}, .height = 8, .width = 8});
}

int64_t count(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const std::string& type) {
  return std::ranges::count(nodes, type, &onnx::NodeProto::op_type);
}

TEST(OnnxGates, EachGatedBlockIsInsideAnIf) {
  const onnx::ModelProto model = written(skipnet());
  const auto& nodes = model.graph().node();
  EXPECT_EQ(count(nodes, "If"), 3);
  EXPECT_EQ(count(nodes, "Conv"), 1 + 3);  // stem, and the block without a gate with its projection
  for (const auto& node : nodes) {
    if (node.op_type() != "If") continue;
    const auto& then = node.attribute(0).g();
    EXPECT_EQ(node.attribute(0).name(), "then_branch");
    EXPECT_EQ(count(then.node(), "Conv"), 2);
    EXPECT_EQ(then.node().rbegin()->op_type(), "Add");
    EXPECT_EQ(count(then.node(), "Gemm"), 0) << "the gate is computed in any case";
    EXPECT_EQ(node.attribute(1).g().node_size(), 1);
  }
}

TEST(OnnxGates, CollapsedBlocksStayInside) {
  const onnx::ModelProto model = written(collapse(skipnet()).graph);
  EXPECT_EQ(count(model.graph().node(), "If"), 3);
}

TEST(OnnxGates, ReadBackIsTheNetworkThatWasWritten) {
  const Graph graph = skipnet();
  const onnx::ModelProto model = written(graph);
  const Graph back = read(model);
  EXPECT_EQ(print(back), print(graph));
  EXPECT_EQ(to_onnx(back), model.SerializeAsString());
}

TEST(OnnxGates, AnotherModelsFormIsKept) {
  onnx::ModelProto model = written(skipnet());
  model.clear_metadata_props();  // as another program's: its If is not opened
  const Graph opaque = read(model);
  EXPECT_EQ(std::ranges::count_if(opaque.nodes, [](const Node& n) { return std::holds_alternative<Opaque>(n.op); }), 3);
  EXPECT_EQ(to_onnx(opaque), model.SerializeAsString());
  // The same network without an If: none is made.
  Graph graph = skipnet();
  graph.metadata[kRemainderKey] = read(written(build("plain", {}))).metadata.at(kRemainderKey);
  const onnx::ModelProto plain = written(graph);
  EXPECT_EQ(count(plain.graph().node(), "If"), 0);
  EXPECT_EQ(to_onnx(read(plain)), plain.SerializeAsString());
}

TEST(OnnxGates, AConditionThatSomethingElseReadsStays) {
  onnx::ModelProto model = written(skipnet());
  auto& graph = *model.mutable_graph();
  const auto open = std::ranges::find(graph.node(), "Cast", &onnx::NodeProto::op_type);
  ASSERT_NE(open, graph.node().end());
  onnx::NodeProto reader;
  reader.set_op_type("Not");
  reader.set_name("closed");
  reader.add_input(open->output(0));
  reader.add_output("closed");
  *graph.add_node() = reader;
  auto& output = *graph.add_output();
  output.set_name("closed");
  output.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::BOOL);
  const Graph back = read(model);
  EXPECT_TRUE(back.find_node(open->name()));
  EXPECT_EQ(std::ranges::count_if(back.nodes, [](const Node& n) { return std::holds_alternative<Opaque>(n.op); }), 0);
  // Read from inside a subgraph, by a block that the gate itself does not let run.
  onnx::ModelProto inner = written(skipnet());
  auto& nodes = *inner.mutable_graph()->mutable_node();
  std::string first;
  for (auto& node : nodes) {
    if (node.op_type() != "If") continue;
    if (first.empty()) {
      first = node.input(0);
      continue;
    }
    auto& then = *node.mutable_attribute(0)->mutable_g();
    onnx::NodeProto inside = reader;
    inside.set_input(0, first);
    inside.set_name("inside");
    inside.set_output(0, "inside");
    const auto rest = then.node();
    then.clear_node();
    *then.add_node() = inside;
    then.mutable_node()->MergeFrom(rest);
    break;
  }
  EXPECT_TRUE(read(inner).find_node("inside"));
}

TEST(OnnxGates, OnlyThatConditionIsOpened) {
  const auto changed = [](auto change) {
    onnx::ModelProto model = written(skipnet());
    for (auto& node : *model.mutable_graph()->mutable_node()) {
      if (node.op_type() != "If") continue;
      change(node);
      break;
    }
    const Graph graph = read(model);
    EXPECT_EQ(to_onnx(graph), model.SerializeAsString());
    return std::ranges::count_if(graph.nodes, [](const Node& n) { return std::holds_alternative<Opaque>(n.op); });
  };
  EXPECT_EQ(changed([](auto&) {}), 0);
  EXPECT_GE(changed([](auto& node) {
              node.mutable_attribute(0)->set_name("else_branch"), node.mutable_attribute(1)->set_name("then_branch");
            }),
            1);
  EXPECT_GE(changed([](auto& node) { node.mutable_attribute(1)->mutable_g()->mutable_node(0)->set_op_type("Neg"); }),
            1);
  EXPECT_GE(
      changed([](auto& node) { node.mutable_attribute(0)->mutable_g()->mutable_node()->rbegin()->set_op_type("Sub"); }),
      1);
}

}  // namespace
}  // namespace reducenet
