#include <google/protobuf/util/field_comparator.h>
#include <google/protobuf/util/message_differencer.h>
#include <onnx/onnx_pb.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <map>

#include "formats/onnx/onnx.h"
#include "formats/onnx/tensor.h"
#include "formats/testing.h"

// ONNX's own test models (Debian: libonnx-testdata), where they are installed; ONNX_TESTDATA names another folder of
// such models, the newest operator sets among them (`collect_testcases` of the onnx package on PyPI makes them).

namespace reducenet {
namespace {

const char* const kChosen = std::getenv("ONNX_TESTDATA");
const std::filesystem::path kModels = kChosen ? kChosen : "/usr/share/libonnx-testdata/data";

template <class Message>
Message parse_file(const std::filesystem::path& path) {
  Message message;
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(message.ParseFromIstream(&file)) << path;
  return message;
}

/// Nodes that are Opaque must come back field for field.
void expect_opaque_nodes_kept(const Graph& graph, const onnx::ModelProto& before, const onnx::ModelProto& after) {
  std::map<std::string, std::string> kept;  // by first output
  for (const auto& node : after.graph().node()) {
    if (node.output_size() > 0) kept[node.output(0)] = node.SerializeAsString();
  }
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<Opaque>(node.op) || node.outputs.empty() || !node.outputs[0]) continue;
    for (const auto& original : before.graph().node()) {
      if (original.output_size() > 0 && original.output(0) == graph[node.outputs[0]].name) {
        EXPECT_EQ(original.SerializeAsString(), kept[original.output(0)]) << node.name;
      }
    }
  }
}

/// A tensor that comes with a model; bfloat16 is stored there as its bits.
Tensor read_tensor(const std::filesystem::path& path, DType dtype) {
  auto proto = parse_file<onnx::TensorProto>(path);
  if (dtype == DType::bf16) proto.set_data_type(onnx::TensorProto::BFLOAT16);
  return TensorReader(path.parent_path()).read(proto);
}

/// The oracle's outputs against those that come with the model; false when it cannot evaluate it.
bool evaluates_as_expected(const Graph& graph, const std::filesystem::path& folder) {
  std::vector<Tensor> inputs;
  for (const Node& node : graph.nodes) {
    if (std::holds_alternative<Opaque>(node.op)) return false;
  }
  for (const Value& value : graph.values) {
    if (value.dtype == DType::string) return false;  // not a tensor of numbers
  }
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    inputs.push_back(read_tensor(folder / ("input_" + std::to_string(i) + ".pb"), graph[graph.inputs[i]].dtype));
  }
  const std::vector<Tensor> outputs = evaluate(graph, inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor expected =
        read_tensor(folder / ("output_" + std::to_string(i) + ".pb"), graph[graph.outputs[i]].dtype);
    EXPECT_EQ(outputs[i].shape(), expected.shape());
    const auto x = outputs[i].to_doubles(), y = expected.to_doubles();
    // The data hold bfloat16 numbers cut off, not rounded: off by up to a unit in the last place.
    const double relative = expected.dtype() == DType::bf16 ? 0x1p-7 : 1e-3;
    for (size_t k = 0; k < x.size() && k < y.size(); ++k) {
      const bool equal = x[k] == y[k] || (std::isnan(x[k]) && std::isnan(y[k]));
      EXPECT_TRUE(equal || std::abs(x[k] - y[k]) <= 1e-7 + relative * std::abs(y[k])) << x[k] << " against " << y[k];
      if (!equal && !(std::abs(x[k] - y[k]) <= 1e-7 + relative * std::abs(y[k]))) break;
    }
  }
  return true;
}

TEST(OnnxTestData, EveryModelComesBack) {
  if (!std::filesystem::exists(kModels)) GTEST_SKIP() << "libonnx-testdata is not installed";
  int models = 0, nodes = 0, opaque = 0, identical = 0, evaluated = 0;
  std::map<std::string, int> reasons;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kModels)) {
    if (entry.path().filename() != "model.onnx") continue;
    SCOPED_TRACE(entry.path());
    ++models;
    Graph graph = load_onnx(entry.path());
    const std::string copy = to_onnx(graph);
    Graph back = parse_onnx(std::as_bytes(std::span(copy)), "copy.onnx");
    EXPECT_EQ(to_onnx(back), copy);
    onnx::ModelProto before = parse_file<onnx::ModelProto>(entry.path()), after;
    ASSERT_TRUE(after.ParseFromString(copy));
    expect_opaque_nodes_kept(graph, before, after);
    std::string report;
    google::protobuf::util::DefaultFieldComparator nan_is_nan;
    nan_is_nan.set_treat_nan_as_equal(true);
    google::protobuf::util::MessageDifferencer differencer;
    differencer.set_field_comparator(&nan_is_nan);
    differencer.ReportDifferencesToString(&report);
    const bool same = differencer.Compare(before, after);
    identical += same;
    EXPECT_TRUE(same) << report;
    graph.metadata.erase(kRemainderKey);  // a constant that was a node may now be listed among the inputs
    back.metadata.erase(kRemainderKey);
    expect_equal(back, graph);
    evaluated += evaluates_as_expected(graph, entry.path().parent_path() / "test_data_set_0");
    for (const Node& node : graph.nodes) {
      ++nodes;
      if (const auto* op = std::get_if<Opaque>(&node.op)) {
        ++opaque;
        ++reasons[op->type + ": " + op->why];
      }
    }
  }
  EXPECT_GT(models, 1000);
  EXPECT_GT(evaluated, 600);
  std::cout << models << " models, " << nodes << " nodes, " << opaque << " of them Opaque; " << identical
            << " models equal field for field, " << evaluated << " evaluated as expected\n";
  for (const auto& [reason, count] : reasons) {
    if (reason.find("not an operator") == reason.npos) std::cout << "  " << count << " " << reason << "\n";
  }
}

}  // namespace
}  // namespace reducenet
