#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "reducenet/graph.h"

// How a model wrote what a Graph says in its own words: attributes left at their defaults, scalars as inputs, sequences
// that are one activation, Constant nodes, typed numbers. What nobody changed is written back field for field.

namespace reducenet {

/// What the table writes for a node; "refused: …" when it cannot. Equal texts mean that the node is unchanged.
std::string written_form(const Graph& graph, const Node& node);

/// Takes the numbers out of a tensor, or puts them back as they were: as raw bytes or in typed fields.
void strip(onnx::TensorProto& tensor, bool raw);
void restore(onnx::TensorProto& stripped, const Tensor& tensor);

/// Remembers, inside the model that the numbers were taken out of. The model's nodes and initialisers stay in place.
class OriginalsWriter {
 public:
  explicit OriginalsWriter(onnx::GraphProto& graph) : graph_(graph) {}
  /// The graph's node came from `proto` and from the nodes `inner` before it.
  void keep(const Graph& graph, const Node& node, onnx::NodeProto& proto, const std::vector<onnx::NodeProto*>& inner);
  /// The node travels as an Opaque: only its place is remembered.
  static void keep_place(onnx::NodeProto& proto);
  /// The value became part of an op; its stripped tensor, by name of the value, gets its numbers back.
  void fold(const std::string& name, const Tensor& tensor);

 private:
  int index_of(const onnx::NodeProto* proto);
  onnx::GraphProto& graph_;
  std::unordered_map<const onnx::NodeProto*, int> indices_;
  std::unordered_map<std::string, onnx::TensorProto*> tensors_;  // by name of value
};

/// What was remembered.
class Originals {
 public:
  /// Empties the graph of nodes and initialisers.
  explicit Originals(onnx::GraphProto& graph);

  /// The nodes that the graph's node was read from, with their places in the model, if it is unchanged. `names` are
  /// those in use; what the nodes define joins them. Folded constants that they read go to `folded`.
  using Placed = std::vector<std::pair<int64_t, onnx::NodeProto>>;
  std::optional<Placed> of(const Graph& graph, const Node& node, std::unordered_set<std::string>& names,
                           Placed& folded_nodes, std::vector<onnx::TensorProto>& folded_tensors);
  /// The Constant node that the value was, if it was one.
  std::optional<std::pair<int64_t, onnx::NodeProto>> constant(const Value& value) const;
  /// Defaults of inputs.
  std::vector<onnx::TensorProto> defaults(const std::unordered_set<std::string>& inputs) const;
  /// Place of the node that makes this value; −1 when there was none.
  int64_t place_of_node(const std::string& output) const;
  /// Place among the initialisers; behind all of them for a new one.
  int64_t place_of_tensor(const std::string& name) const;
  /// An initialiser as it was, without its numbers (and their form to be used by restore); nullptr for a new one.
  const onnx::TensorProto* tensor(const std::string& name) const;

 private:
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes_;
  google::protobuf::RepeatedPtrField<onnx::TensorProto> tensors_;
  std::unordered_map<std::string, int> node_places_, tensor_places_;
  std::set<std::string> folded_;  ///< written already
};

}  // namespace reducenet
