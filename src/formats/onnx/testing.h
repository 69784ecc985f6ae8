#pragma once

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <onnx/onnx_pb.h>

#include <set>

#include "formats/onnx/onnx.h"
#include "formats/testing.h"

// What the tests of ONNX files share.

namespace reducenet {

/// A model as protobuf text; `graph` is the GraphProto's content.
inline onnx::ModelProto model_of(const std::string& graph,
                                 const std::string& rest = "ir_version: 8 opset_import { version: 17 }") {
  onnx::ModelProto model;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(rest + " graph { name: 'g' " + graph + "}", &model));
  return model;
}

inline Graph parse(const std::string& bytes) {
  return parse_onnx(std::as_bytes(std::span(bytes)), "m.onnx");
}
inline Graph read(const onnx::ModelProto& model) {
  return parse(model.SerializeAsString());
}

inline Graph round_trip(const Graph& graph) {
  return parse(to_onnx(graph));
}

/// `name` as a float tensor's ValueInfoProto.
inline std::string info(const std::string& name, const std::vector<std::string>& dims) {
  std::string shape;
  for (const std::string& dim : dims) {
    shape += std::isdigit(dim[0]) ? "dim { dim_value: " + dim + "} " : "dim { dim_param: '" + dim + "'} ";
  }
  return "{ name: '" + name + "' type { tensor_type { elem_type: 1 shape { " + shape + "} } } } ";
}

/// Every node stands behind those whose outputs it reads, as the format demands.
inline void expect_sorted(const onnx::GraphProto& graph) {
  std::set<std::string> made{""};
  for (const auto& input : graph.input()) made.insert(input.name());
  for (const auto& tensor : graph.initializer()) made.insert(tensor.name());
  for (const auto& tensor : graph.sparse_initializer()) made.insert(tensor.values().name());
  for (const auto& node : graph.node()) {
    for (const auto& input : node.input()) EXPECT_TRUE(made.contains(input)) << node.name() << " reads " << input;
    made.insert(node.output().begin(), node.output().end());
  }
}

inline onnx::ModelProto written(const Graph& graph) {
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(to_onnx(graph)));
  expect_sorted(model.graph());
  return model;
}

inline bool same(const onnx::ModelProto& a, const onnx::ModelProto& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}
inline void expect_same(const onnx::ModelProto& a, const onnx::ModelProto& b) {
  EXPECT_TRUE(same(a, b)) << a.DebugString() << b.DebugString();
}

}  // namespace reducenet
