#include "formats/onnx/subgraph.h"

#include <functional>
#include <unordered_set>

#include "reducenet/error.h"

namespace reducenet {
namespace {

using Names = std::unordered_set<std::string>;

/// Calls `visit(name, defined)` for every use of a name that the subgraph itself does not define; `defined` has the
/// names that hide those outside.
class OuterUses {
 public:
  using Visit = std::function<void(std::string& name, const Names& defined)>;
  explicit OuterUses(Visit visit) : visit_(std::move(visit)) {}

  void in(onnx::NodeProto& node, const Names& defined) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) in(*attribute.mutable_g(), defined);
      for (auto& graph : *attribute.mutable_graphs()) in(graph, defined);
    }
  }

 private:
  void in(onnx::GraphProto& graph, Names defined) {
    for (const auto& input : graph.input()) defined.insert(input.name());
    for (const auto& tensor : graph.initializer()) defined.insert(tensor.name());
    for (const auto& tensor : graph.sparse_initializer()) defined.insert(tensor.values().name());
    for (const auto& node : graph.node()) defined.insert(node.output().begin(), node.output().end());
    for (auto& node : *graph.mutable_node()) {
      for (std::string& name : *node.mutable_input()) use(name, defined);
      in(node, defined);
    }
    for (auto& output : *graph.mutable_output()) use(*output.mutable_name(), defined);
  }
  void use(std::string& name, const Names& defined) {
    if (!name.empty() && !defined.contains(name)) visit_(name, defined);
  }

  Visit visit_;
};

}  // namespace

std::vector<std::string> captured_names(const onnx::NodeProto& node) {
  std::vector<std::string> names;
  bool has_subgraph = false;
  for (const auto& attribute : node.attribute()) has_subgraph |= attribute.has_g() || attribute.graphs_size() > 0;
  if (!has_subgraph) return names;
  Names seen;
  onnx::NodeProto copy = node;
  OuterUses([&](std::string& name, const Names&) {
    if (seen.insert(name).second) names.push_back(name);
  }).in(copy, {});
  return names;
}

void rename_captured(onnx::NodeProto& node, const std::unordered_map<std::string, std::string>& renamed) {
  OuterUses([&](std::string& name, const Names& defined) {
    const auto found = renamed.find(name);
    if (found == renamed.end()) return;
    if (defined.contains(found->second)) {
      throw Error(ErrorKind::unsupported, "a subgraph has a value of its own named '" + found->second + "'");
    }
    name = found->second;
  }).in(node, {});
}

}  // namespace reducenet
