#pragma once

#include <compare>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reducenet/op.h"
#include "reducenet/tensor.h"

namespace reducenet {

/// Index of a Value in its Graph; `none` marks an absent optional input.
struct ValueId {
  int32_t index = -1;
  explicit operator bool() const { return index >= 0; }
  auto operator<=>(const ValueId&) const = default;
};

/// Index of a Node in its Graph. Changes when the graph is edited; names persist.
struct NodeId {
  int32_t index = -1;
  explicit operator bool() const { return index >= 0; }
  auto operator<=>(const NodeId&) const = default;
};

/// An edge of the graph: a tensor that is an input of the graph, a constant, or made by one node.
struct Value {
  std::string name;
  DType dtype = DType::f32;
  /// Absent until known (infer_shapes); unknown dimensions are negative.
  std::optional<Shape> shape;
  /// Set for weights and other constants.
  std::optional<Tensor> constant;
  /// Names of symbolic dimensions, by position ("" where none); only for graph inputs and outputs.
  std::vector<std::string> dim_names;

  /// A constant, of its tensor's shape and element type.
  static Value of(std::string name, Tensor constant);
};

/// One operation. Inputs and outputs are in the op's order; an absent optional input is ValueId{}.
struct Node {
  std::string name;
  Op op;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::string doc;
};

/// The one model definition: trained, collapsed and run. A value type; copies share the weights' storage.
/// Invariants (check()): nodes are in topological order, every value has at most one producer, names are unique.
struct Graph {
  std::string name = "reducenet";
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  /// Class names, preprocessing, recipe…; written into every format.
  std::map<std::string, std::string> metadata;
  /// Version of the ONNX default operator set that the model was read with, and is written with.
  int64_t opset = 17;

  const Value& operator[](ValueId id) const { return values[static_cast<size_t>(id.index)]; }
  Value& operator[](ValueId id) { return values[static_cast<size_t>(id.index)]; }
  const Node& operator[](NodeId id) const { return nodes[static_cast<size_t>(id.index)]; }
  Node& operator[](NodeId id) { return nodes[static_cast<size_t>(id.index)]; }

  /// The constant behind a value, or nullptr.
  const Tensor* constant(ValueId id) const;
  /// First value or node of that name; a false id when there is none.
  ValueId find_value(std::string_view value_name) const;
  NodeId find_node(std::string_view node_name) const;

  ValueId add_value(Value value);
  /// A constant under the first free name of `stem` (unique_name).
  ValueId add_constant(std::string_view stem, Tensor constant);
  /// A name that no value or node has: `stem`, or `stem.2`, `stem.3`…
  std::string unique_name(std::string_view stem) const;
};

/// Who makes and who reads each value; computed once, valid until the graph is edited.
struct Uses {
  explicit Uses(const Graph& graph);
  std::vector<NodeId> producer;                ///< by value index; false for inputs and constants
  std::vector<std::vector<NodeId>> consumers;  ///< by value index; a node stands once for each use
  std::vector<bool> is_output;                 ///< by value index

  NodeId producer_of(ValueId id) const { return producer[static_cast<size_t>(id.index)]; }
  const std::vector<NodeId>& consumers_of(ValueId id) const { return consumers[static_cast<size_t>(id.index)]; }
  /// Exactly one node reads the value and it is no output of the graph.
  bool has_single_use(ValueId id) const {
    return consumers_of(id).size() == 1 && !is_output[static_cast<size_t>(id.index)];
  }
};

/// Throws Error(bad_input) naming the node or value that breaks an invariant (order, cycles, dangling ids, names).
void check(const Graph& graph);
/// Puts nodes into topological order (stable). Throws Error(bad_input) naming a node on a cycle.
void sort_topologically(Graph& graph);
/// Fills in shapes and dtypes of every value from inputs and constants. Throws Error(bad_input) naming node and op when
/// an op cannot apply. Values behind Opaque ops keep whatever shape they have.
void infer_shapes(Graph& graph);
/// Forgets the shapes of all that nodes make, and infers them anew; those that an Opaque makes stay.
void reinfer_shapes(Graph& graph);
/// Output shapes of one op, given its input shapes and (where it matters) constants, a NaN in which stands for a number
/// not known; the messages name no node.
std::vector<std::optional<Shape>> output_shapes(const Op& op, std::span<const std::optional<Shape>> inputs,
                                                std::span<const Tensor* const> constants, size_t outputs);
/// Element type of an op's output, given those of its inputs.
DType output_dtype(const Op& op, std::span<const DType> inputs, size_t output = 0);
/// Removes nodes that no output needs, and values that nothing refers to.
void remove_dead(Graph& graph);
/// Fixes dynamic dimensions of the inputs: every unknown first dimension becomes `batch`. Re-infers shapes.
void set_batch(Graph& graph, int64_t batch);

/// Multiply-accumulates for one run at batch 1 (unknown batch counts as 1), of the node or the whole graph.
int64_t count_macs(const Graph& graph, const Node& node);
int64_t count_macs(const Graph& graph);
/// Elements in float constants that nodes read (shared constants once).
int64_t count_parameters(const Graph& graph);
/// True when the op is affine in its non-constant inputs taken together (Conv, BatchNorm, Add, pooling by mean, …).
bool is_linear(const Graph& graph, const Node& node);
/// Number of nodes that are not affine (a Fade counts unless λ = 0; max-pools count).
int64_t count_nonlinear(const Graph& graph);

/// By node: the number of its linear region (linear nodes joined by edges), counted from 0; −1 for non-linear nodes.
std::vector<int64_t> linear_regions(const Graph& graph);

/// One line per node: name, op, inputs, outputs with shapes. Stable: tests compare it.
std::string print(const Graph& graph);

/// The oracle: evaluates the graph in double, slowly and plainly. `inputs` are in the order of graph.inputs.
/// Throws Error(unsupported) naming the node when an op is Opaque. f32 mode (`round_to_f32`) rounds every node's
/// output, and every accumulation step to float (outputs of half types to these): the reference for "what float32
/// does".
struct EvaluateOptions {
  bool round_to_f32 = false;
  int threads = 1;
};
std::vector<Tensor> evaluate(const Graph& graph, std::span<const Tensor> inputs, const EvaluateOptions& options = {});
/// As above, and hands every intermediate value to `observe` as it is made.
std::vector<Tensor> evaluate(const Graph& graph, std::span<const Tensor> inputs, const EvaluateOptions& options,
                             const std::function<void(ValueId, const Tensor&)>& observe);

}  // namespace reducenet
