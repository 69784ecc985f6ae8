#include "formats/onnx/subgraph.h"

#include <google/protobuf/text_format.h>

#include "formats/onnx/onnx.h"
#include "formats/testing.h"

namespace reducenet {
namespace {

// then: relu(h) + w, where h comes from outside and t is its own; else: h itself.
constexpr const char* kModel = R"(
  ir_version: 8 opset_import { version: 17 }
  graph {
    name: 'g'
    input { name: 'x' type { tensor_type { elem_type: 1 shape { dim { dim_value: 3 } } } } }
    input { name: 'c' type { tensor_type { elem_type: 9 shape { } } } }
    output { name: 'y' type { tensor_type { elem_type: 1 shape { dim { dim_value: 3 } } } } }
    initializer { name: 'w' data_type: 1 dims: 3 raw_data: 'aaaabbbbcccc' }
    node { input: 'x' output: 'h' name: 'neg' op_type: 'Neg' }
    node {
      input: 'c' output: 'y' name: 'if' op_type: 'If'
      attribute { name: 'then_branch' type: GRAPH g { name: 't' output { name: 'u' }
        node { input: 'h' output: 't' op_type: 'Relu' } node { input: 't' input: 'w' output: 'u' op_type: 'Add' } } }
      attribute { name: 'else_branch' type: GRAPH g { name: 'e' output { name: 'h' } } }
    }
  })";

onnx::ModelProto model() {
  onnx::ModelProto model;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kModel, &model));
  return model;
}

Graph parse(const std::string& bytes) {
  return parse_onnx(std::as_bytes(std::span(bytes)), "m.onnx");
}

TEST(OnnxSubgraph, CapturedValuesAreInputs) {
  const Graph graph = parse(model().SerializeAsString());
  const Node& node = graph.nodes[1];
  EXPECT_EQ(std::get<Opaque>(node.op).reads, 2);
  EXPECT_EQ(node.inputs, (std::vector<ValueId>{graph.find_value("c"), graph.find_value("h"), graph.find_value("w")}));
  EXPECT_EQ(to_onnx(graph), model().SerializeAsString());
}

TEST(OnnxSubgraph, FollowsARenamedValue) {
  Graph graph = parse(model().SerializeAsString());
  graph[graph.find_value("h")].name = "merged";
  onnx::ModelProto after;
  ASSERT_TRUE(after.ParseFromString(to_onnx(graph)));
  EXPECT_EQ(captured_names(after.graph().node(1)), (std::vector<std::string>{"merged", "w"}));
  graph[graph.find_value("merged")].name = "t";
  expect_error(ErrorKind::unsupported, {"node 'if'", "'t'"}, [&] { to_onnx(graph); });
}

TEST(OnnxSubgraph, RefusesAReadOfNothing) {
  onnx::ModelProto broken = model();
  broken.mutable_graph()->mutable_node(1)->mutable_attribute(0)->mutable_g()->mutable_node(0)->set_input(0, "z");
  expect_error(ErrorKind::bad_input, {"m.onnx", "node 'if' (If)", "'z'"}, [&] { parse(broken.SerializeAsString()); });
}

}  // namespace
}  // namespace reducenet
