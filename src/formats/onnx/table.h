#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "graph/shape_inference.h"
#include "reducenet/graph.h"

namespace reducenet {

/// The newest version of ONNX's default operator set whose operators this table understands.
inline constexpr int64_t kNewestOpset = 28;

/// What a row's `read` sees of a node. Reading goes on after refuse(), with defaults; the node then stays Opaque and
/// keeps the first reason. Throws Error(bad_input) for what no version of ONNX allows.
class NodeReader {
 public:
  /// `known`: values that follow from constants and shapes. `guessed`: those whose types are not certain.
  NodeReader(const onnx::NodeProto& proto, Graph& graph, const ShapeInference& known,
             const std::unordered_set<int32_t>& guessed, std::vector<ValueId> inputs);

  int64_t opset() const { return graph_.opset; }
  const std::string& type() const { return proto_.op_type(); }

  // Attributes. Absent ones have the default.
  int64_t integer(const char* name, int64_t otherwise);
  double real(const char* name, double otherwise);
  std::string text(const char* name, const std::string& otherwise);
  std::optional<std::vector<int64_t>> integers(const char* name);
  std::optional<Tensor> tensor(const char* name);
  /// (height, width), both `otherwise` when absent; of a line (graph/lines.h) the second is its length.
  Size2 pair(const char* name, int64_t otherwise);
  /// Attribute kernel_shape, or the weight's own.
  Size2 kernel(std::optional<size_t> weight = {});
  /// Attributes pads and auto_pad, the latter resolved.
  Padding padding(Size2 kernel, Size2 stride, Size2 dilation);

  // Inputs.
  bool has(size_t i) const { return i < inputs_.size() && inputs_[i]; }
  ValueId input(size_t i) const { return has(i) ? inputs_[i] : ValueId{}; }
  const Tensor* constant(size_t i) const { return has(i) ? graph_.constant(inputs_[i]) : nullptr; }
  std::optional<Shape> shape(size_t i) const { return has(i) ? graph_[inputs_[i]].shape : std::nullopt; }
  DType dtype(size_t i) const { return graph_[inputs_[i]].dtype; }
  /// DType::string where the type is not certain.
  DType certain_dtype(size_t i) const { return guessed_.contains(inputs_[i].index) ? DType::string : dtype(i); }
  /// An input whose value becomes part of the op: a constant, or computed from constants and shapes. Refuses when it is
  /// neither; `otherwise` when absent.
  std::vector<int64_t> fold_integers(size_t i);
  double fold_scalar(size_t i, double otherwise);
  /// The op reads only the first `count` inputs.
  void keep(size_t count);
  /// The op reads its inputs in this order; −1 stands for none.
  void arrange(const std::vector<int>& order);
  /// A node before it, which makes one value of the first input's element type, and a constant, for it or the op to
  /// read. Only for what is not refused.
  ValueId step(const std::string& stem, Op op, std::vector<ValueId> inputs);
  ValueId constant(const std::string& stem, const Tensor& value);
  /// Of the first input's element type.
  ValueId scalar(const std::string& stem, double value);
  void read(std::vector<ValueId> inputs) { inputs_ = std::move(inputs); }
  /// Nodes before it, in order; their shapes are not inferred.
  std::vector<Node>& steps() { return steps_; }
  /// There is such a node or constant: what was read is not written as it was.
  bool rewritten() const { return rewritten_; }
  /// The op makes up to `count` outputs.
  void allow_outputs(size_t count) { most_outputs_ = count; }
  size_t most_outputs() const { return most_outputs_; }
  /// Those that the op reads, after reading it.
  const std::vector<ValueId>& inputs() const { return inputs_; }
  /// Of other outputs than those allowed (at first one): that the node names any, and that anything reads one.
  bool names_more_outputs() const;
  bool uses_more_outputs() const;

  void refuse(const std::string& why);
  /// Why the node must stay Opaque; empty when it need not. An attribute that was not asked for is a reason.
  std::string refusal() const;

 private:
  const onnx::AttributeProto* attribute(const char* name, onnx::AttributeProto::AttributeType type);
  const Tensor* fold(size_t i);
  std::vector<std::string> more_outputs() const;

  const onnx::NodeProto& proto_;
  Graph& graph_;
  const ShapeInference& known_;
  const std::unordered_set<int32_t>& guessed_;
  std::vector<ValueId> inputs_;
  std::vector<Node> steps_;
  bool rewritten_ = false;
  std::set<std::string> asked_;
  size_t most_outputs_ = 1;
  std::string why_;
};

/// `stem`, or `stem.2`, `stem.3`… where the name is taken; it joins `names`.
std::string fresh_name(std::unordered_set<std::string>& names, const std::string& stem);

/// Writes one node of a graph, as one or several ONNX nodes.
class NodeWriter {
 public:
  NodeWriter(const Graph& graph, const Node& node, onnx::GraphProto& out, std::unordered_set<std::string>& names)
      : graph_(graph), node_(node), out_(out), names_(names) {}

  int64_t opset() const { return graph_.opset; }
  std::string input(size_t i) const;
  std::vector<std::string> inputs() const;
  std::optional<Shape> shape(size_t i) const { return graph_[node_.inputs[i]].shape; }
  /// Those of an image, or of a line (graph/lines.h).
  std::vector<int64_t> along(const Size2& value) const;
  std::vector<int64_t> along(const Padding& value) const;

  /// The last ONNX node: it has the node's name, doc and outputs.
  onnx::NodeProto& emit(std::string_view type, std::vector<std::string> inputs);
  onnx::NodeProto& emit(std::string_view type) { return emit(type, inputs()); }
  /// A node before it; returns it for attributes. Its output is output(0).
  onnx::NodeProto& step(std::string_view type, std::vector<std::string> inputs);
  /// A new initialiser. Scalars have the first input's element type.
  std::string scalar(const std::string& stem, double value);
  std::string constant(const std::string& stem, const Tensor& value);

  [[noreturn]] void refuse(const std::string& why) const;

 private:
  const Graph& graph_;
  const Node& node_;
  onnx::GraphProto& out_;
  std::unordered_set<std::string>& names_;
};

void set(onnx::NodeProto& node, const char* name, int64_t value);
void set(onnx::NodeProto& node, const char* name, double value);
void set(onnx::NodeProto& node, const char* name, const std::string& value);
void set(onnx::NodeProto& node, const char* name, const std::vector<int64_t>& value);
void set(onnx::NodeProto& node, const char* name, const Tensor& value);

/// The domain of ONNX's own operators, by either of its names.
inline bool is_default(const std::string& domain) {
  return domain.empty() || domain == "ai.onnx";
}

/// One operator of ONNX's default domain.
struct OnnxOp {
  std::string_view type;    ///< ONNX's name, and name_of(op)
  int64_t since;            ///< the first operator set whose version `read` understands
  size_t fewest, most;      ///< inputs
  bool floats;              ///< the op means the same as ours only for floating-point inputs
  Op (*read)(NodeReader&);  ///< nullptr: the type is ours, not ONNX's
  void (*write)(const Op&, NodeWriter&);
};

/// The one table; nullptr when there is no such row.
const OnnxOp* find_onnx_op(std::string_view type);

// Rows of index_ops.cc.
Op read_reduce(NodeReader& r);
void write(const Reduce& op, NodeWriter& w);
Op read_arg_reduce(NodeReader& r);
void write(const ArgReduce& op, NodeWriter& w);
Op read_top_k(NodeReader& r);
void write(const TopK& op, NodeWriter& w);
Op read_slice(NodeReader& r);
void write(const Slice& op, NodeWriter& w);
Op read_split(NodeReader& r);
void write(const SplitAxis& op, NodeWriter& w);
Op read_gather(NodeReader& r);
void write(const Gather& op, NodeWriter& w);
Op read_squeeze(NodeReader& r);
void write(const Squeeze& op, NodeWriter& w);
Op read_space_depth(NodeReader& r);
void write(const SpaceDepth& op, NodeWriter& w);
Op read_resize(NodeReader& r);
void write(const Resize& op, NodeWriter& w);
Op read_shape(NodeReader& r);
void write(const ShapeOf& op, NodeWriter& w);
Op read_constant_of_shape(NodeReader& r);
void write(const ConstantOfShape& op, NodeWriter& w);
Op read_cast(NodeReader& r);
void write(const Cast& op, NodeWriter& w);
Op read_normalize(NodeReader& r);
void write(const Normalize& op, NodeWriter& w);
Op read_lrn(NodeReader& r);
void write(const Lrn& op, NodeWriter& w);
Op read_repeat(NodeReader& r);
Op read_pad(NodeReader& r);
void write(const Pad& op, NodeWriter& w);

// Rows of activations.cc.
Op read_activation(NodeReader& r);
void write_activation(const Op& op, NodeWriter& w);
void write_fade(const Op& op, NodeWriter& w);
/// Turns the last node of each sequence that write_activation makes for an activation that an operator set lacks,
/// x·sigmoid(x)…, into that activation. Returns each such node with those that nothing reads any longer.
std::vector<std::pair<NodeId, std::vector<NodeId>>> recognise_activations(Graph& graph);

// Rows of composed.cc.
Op read_gather_nd(NodeReader& r);
Op read_cum_sum(NodeReader& r);
Op read_rms_norm(NodeReader& r);
Op read_attention(NodeReader& r);
// Of einsum.cc.
Op read_einsum(NodeReader& r);

}  // namespace reducenet
