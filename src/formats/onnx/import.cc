#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "formats/base64.h"
#include "formats/file.h"
#include "formats/naming.h"
#include "formats/onnx/gates.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/originals.h"
#include "formats/onnx/quantised.h"
#include "formats/onnx/subgraph.h"
#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"
#include "graph/lines.h"
#include "graph/shape_inference.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int64_t kLargestDimension = int64_t{1} << 40;

[[noreturn]] void malformed(const std::string& what) {
  throw Error(ErrorKind::bad_input, what);
}

std::string label(const onnx::NodeProto& proto, const Node& node) {
  return "node '" + node.name + "' (" + proto.op_type() + ")";
}

/// The numbers are raw bytes (as those in another file will be), not typed fields.
bool is_raw(const onnx::TensorProto& tensor) {
  return tensor.has_raw_data() || tensor.data_location() == onnx::TensorProto::EXTERNAL;
}

/// A Constant node's value, when a Tensor can hold it.
std::optional<Tensor> constant_of(onnx::NodeProto& node, TensorReader& tensors) {
  if (node.op_type() != "Constant" || !is_default(node.domain()) || node.attribute_size() != 1) return std::nullopt;
  auto& attribute = *node.mutable_attribute(0);
  if (attribute.name() == "value" && attribute.has_t() && dtype_of(attribute.t().data_type())) {
    const bool raw = is_raw(attribute.t());
    const Tensor tensor = tensors.read(*attribute.mutable_t());
    strip(*attribute.mutable_t(), raw);
    return tensor;
  }
  const std::vector<int64_t> ints(attribute.ints().begin(), attribute.ints().end());
  const std::vector<float> floats(attribute.floats().begin(), attribute.floats().end());
  if (attribute.name() == "value_int") return Tensor::of({}, std::vector<int64_t>{attribute.i()});
  if (attribute.name() == "value_ints") return Tensor::of({attribute.ints_size()}, ints);
  if (attribute.name() == "value_float") return Tensor::of({}, std::vector<float>{attribute.f()});
  if (attribute.name() == "value_floats") return Tensor::of({attribute.floats_size()}, floats);
  return std::nullopt;
}

/// Element type of the k-th output that an operator unknown to the table makes, as far as that follows from the
/// operator.
DType made_by(const onnx::NodeProto& node, std::span<const DType> inputs, int k) {
  for (const auto& attribute : node.attribute()) {
    if (node.op_type() != "If" || attribute.name() != "then_branch" || attribute.g().output_size() <= k) continue;
    return dtype_of(attribute.g().output(k).type().tensor_type().elem_type()).value_or(DType::string);
  }
  for (const char* type : {"Shape", "Size", "ArgMax", "ArgMin", "NonZero"}) {
    if (node.op_type() == type) return DType::i64;
  }
  for (const char* type :
       {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf"}) {
    if (node.op_type() == type) return DType::boolean;
  }
  if (node.op_type() == "Cast") {
    for (const auto& attribute : node.attribute()) {
      if (attribute.name() == "to") return dtype_of(static_cast<int>(attribute.i())).value_or(DType::string);
    }
  }
  for (const char* type : {"CastLike", "DequantizeLinear"}) {
    if (node.op_type() == type && inputs.size() > 1) return inputs[1];
  }
  if (node.op_type() == "QuantizeLinear") return inputs.size() > 2 ? inputs[2] : DType::u8;
  return inputs.empty() ? DType::f32 : inputs[0];
}

/// Builds a Graph from a model, and empties the model of what went into it.
class Importer {
 public:
  Importer(onnx::ModelProto& model, const std::filesystem::path& folder, bool to_run)
      : model_(model), tensors_(folder), to_run_(to_run) {}

  Graph run() {
    if (!model_.has_graph() || !model_.has_ir_version()) malformed("not an ONNX model, or truncated");
    if (model_.ir_version() >= 3 && model_.opset_import_size() == 0) malformed("no opset_import (truncated?)");
    graph_.opset = model_.ir_version() < 3 ? 1 : 0;
    for (const auto& import : model_.opset_import()) {
      if (is_default(import.domain())) graph_.opset = import.version();
    }
    graph_.name = proto().name();
    for (const auto& entry : model_.metadata_props()) graph_.metadata[entry.key()] = entry.value();

    inline_gates(model_);
    for (auto& node : *proto().mutable_node()) {
      if (node.op_type() != "Constant") tensors_.make_inline(node);
    }
    for (auto& training : *model_.mutable_training_info()) {
      if (training.has_initialization()) tensors_.make_inline(*training.mutable_initialization());
      if (training.has_algorithm()) tensors_.make_inline(*training.mutable_algorithm());
    }
    for (auto& function : *model_.mutable_functions()) {
      for (auto& node : *function.mutable_node()) tensors_.make_inline(node);
    }
    add_inputs();
    add_initializers();
    add_nodes();
    add_outputs();
    add_reads();
    sort_topologically(graph_);
    const bool quantised = to_run_ && read_quantised_nodes();
    shapes_.emplace(graph_, true);
    for (Node& node : graph_.nodes) read_node(node);
    if (!steps_.empty()) {
      std::ranges::move(steps_, std::back_inserter(graph_.nodes));
      sort_topologically(graph_);
    }
    simplify();
    check(graph_);
    if (!quantised) keep_remainder();
    lines_to_images(graph_);
    if (quantised) note_scales(graph_);
    return std::move(graph_);
  }

 private:
  onnx::GraphProto& proto() { return *model_.mutable_graph(); }

  ValueId add_value(Value value) {
    const std::string name = value.name;
    const ValueId id = graph_.add_value(std::move(value));
    if (!ids_.emplace(name, id).second) malformed("value '" + name + "' is defined twice");
    return id;
  }

  ValueId find(const std::string& name) const {
    const auto found = ids_.find(name);
    return found == ids_.end() ? ValueId{} : found->second;
  }

  /// Shape, dtype and names of dimensions as declared.
  static void describe(Value& value, const onnx::ValueInfoProto& info) {
    if (!info.has_type()) return;
    value.dtype = DType::string;  // until it is a tensor of numbers
    if (!info.type().has_tensor_type()) return;
    const auto& type = info.type().tensor_type();
    value.dtype = dtype_of(type.elem_type()).value_or(DType::string);
    if (!type.has_shape()) return;
    value.shape.emplace();
    value.dim_names.clear();
    for (const auto& dim : type.shape().dim()) {
      if (dim.dim_value() > kLargestDimension) malformed("value '" + value.name + "' has an absurd dimension");
      value.shape->push_back(dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value() : -1);
      value.dim_names.push_back(dim.dim_param());
    }
    if (std::ranges::all_of(value.dim_names, &std::string::empty)) value.dim_names.clear();
  }

  // Before version 4 of the format every initialiser had to be listed as an input too.
  void add_inputs() {
    std::unordered_map<std::string, bool> initialised;
    for (const auto& tensor : proto().initializer()) initialised[tensor.name()] = true;
    for (const auto& info : proto().input()) {
      if (model_.ir_version() < 4 && initialised.contains(info.name())) continue;
      Value value{.name = info.name()};
      describe(value, info);
      graph_.inputs.push_back(add_value(std::move(value)));
    }
  }

  void add_initializers() {
    google::protobuf::RepeatedPtrField<onnx::TensorProto> kept;
    for (auto& tensor : *proto().mutable_initializer()) {
      naming("initialiser '" + tensor.name() + "'", [&] {
        if (find(tensor.name())) {  // an input's default is no constant
          tensors_.make_inline(tensor);
          kept.Add()->Swap(&tensor);
        } else if (!dtype_of(tensor.data_type())) {
          add_source("Initializer", tensor.name(), tensor.SerializeAsString());
          kept.Add()->set_name(tensor.name());  // its place
        } else {
          const bool raw = is_raw(tensor);
          add_value(Value::of(tensor.name(), tensors_.read(tensor)));
          strip(tensor, raw);
          kept.Add()->Swap(&tensor);
        }
      });
    }
    proto().mutable_initializer()->Swap(&kept);
    for (auto& tensor : *proto().mutable_sparse_initializer()) {
      tensors_.make_inline(tensor);
      add_source("SparseInitializer", tensor.values().name(), tensor.SerializeAsString());
    }
    proto().clear_sparse_initializer();
  }

  /// A constant that no Tensor holds travels as an Opaque without inputs.
  void add_source(const std::string& type, const std::string& name, std::string payload) {
    const ValueId id = add_value({.name = name, .dtype = DType::string});
    graph_.nodes.push_back(
        {unique(name), Opaque{"", type, std::move(payload), 0, "no tensor of numbers"}, {}, {id}, ""});
    protos_.emplace(graph_.nodes.back().name, nullptr);
  }

  std::string unique(const std::string& stem) {
    std::string name = stem;
    for (int i = 2; protos_.contains(name); ++i) name = stem + "." + std::to_string(i);
    return name;
  }

  /// All nodes, unread; Constant nodes become constants.
  void add_nodes() {
    std::unordered_map<std::string, bool> outputs;
    for (const auto& info : proto().output()) outputs[info.name()] = true;
    std::unordered_map<std::string, const onnx::ValueInfoProto*> infos;
    for (const auto& info : proto().value_info()) infos[info.name()] = &info;

    for (auto& node : *proto().mutable_node()) {
      const bool single = node.output_size() == 1 && !outputs.contains(node.output(0));
      std::optional<Tensor> constant;
      if (single) constant = naming("Constant '" + node.output(0) + "'", [&] { return constant_of(node, tensors_); });
      if (constant) {
        add_value(Value::of(node.output(0), *std::move(constant)));
        continue;
      }
      tensors_.make_inline(node);
      const auto first = std::ranges::find_if(node.output(), [](const std::string& name) { return !name.empty(); });
      const std::string stem = !node.name().empty()           ? node.name()
                               : first != node.output().end() ? *first
                                                              : node.op_type();
      Node made{unique(stem), Opaque{.type = node.op_type()}, {}, {}, node.doc_string()};
      protos_.emplace(made.name, &node);
      for (const std::string& name : node.output()) {
        if (name.empty()) {
          made.outputs.push_back({});
          continue;
        }
        Value value{.name = name};
        if (const auto info = infos.find(name); info != infos.end()) {
          describe(value, *info->second);
          value.dim_names.clear();
          declared_.insert(name);
        }
        naming(label(node, made), [&] { made.outputs.push_back(add_value(std::move(value))); });
      }
      graph_.nodes.push_back(std::move(made));
    }
  }

  void add_outputs() {
    for (const auto& info : proto().output()) {
      const ValueId id = find(info.name());
      if (!id) malformed("graph output '" + info.name() + "' is made by no node");
      const bool made = !graph_[id].constant && std::ranges::find(graph_.inputs, id) == graph_.inputs.end();
      if (made) describe(graph_[id], info);
      graph_.outputs.push_back(id);
    }
  }

  /// Inputs of every node, those that its subgraphs capture last.
  void add_reads() {
    for (Node& node : graph_.nodes) {
      onnx::NodeProto* const proto = protos_.at(node.name);
      if (!proto) continue;
      const auto read = [&](const std::string& name) {
        const ValueId id = find(name);
        if (!id && !name.empty()) malformed(label(*proto, node) + " reads '" + name + "', which nothing makes");
        node.inputs.push_back(id);
      };
      for (const std::string& name : proto->input()) read(name);
      const std::vector<std::string> captured = captured_names(*proto);
      for (const std::string& name : captured) read(name);
      std::get<Opaque>(node.op).reads = static_cast<int64_t>(captured.size());
    }
  }

  bool read_quantised_nodes() {
    const bool any = read_quantised(graph_, [&](const Node& node) { return protos_.at(node.name); });
    for (const Node& node : graph_.nodes) {
      if (!std::holds_alternative<Opaque>(node.op)) protos_.at(node.name) = nullptr;
    }
    return any;
  }

  void read_node(Node& node) {
    onnx::NodeProto* const proto = protos_.at(node.name);
    if (!proto && !std::holds_alternative<Opaque>(node.op)) infer(node);
    if (!proto) return;
    naming(label(*proto, node), [&] {
      std::string why = read_known(node, *proto);
      if (why.empty()) {
        infer(node);
      } else {
        make_opaque(node, *proto, std::move(why));
      }
    });
  }

  /// Turns the node into the op that the table reads; otherwise says why not.
  std::string read_known(Node& node, const onnx::NodeProto& proto) {
    const OnnxOp* row = is_default(proto.domain()) ? find_onnx_op(proto.op_type()) : nullptr;
    if (is_quantised(proto))
      return "only pairs of 8 bits with one positive scale are understood, where a model is executed";
    if (!row || !row->read) return "not an operator that ReduceNet knows";
    if (graph_.opset < row->since || graph_.opset > kNewestOpset) {
      return "operator set " + std::to_string(graph_.opset) + " is not understood";
    }
    std::vector<ValueId> inputs = node.inputs;
    while (!inputs.empty() && !inputs.back()) inputs.pop_back();
    if (inputs.size() < row->fewest ||
        !std::ranges::all_of(inputs.begin(), inputs.begin() + row->fewest, &ValueId::operator bool)) {
      malformed("needs " + std::to_string(row->fewest) + " inputs");
    }
    if (inputs.size() > row->most) return "more inputs than are understood";
    const DType dtype = inputs.empty() ? DType::f32 : graph_[inputs[0]].dtype;
    if (row->floats && !is_float(dtype)) {
      return dtype == DType::string ? "the type of its inputs is not known"
                                    : "its inputs are not floating-point numbers";
    }
    if (node.outputs.empty() || !node.outputs[0]) return "its first output is not used";
    NodeReader reader(proto, graph_, *shapes_, guessed_, inputs);
    Op op = row->read(reader);
    if (std::string why = reader.refusal(); !why.empty()) return why;
    node.op = std::move(op);
    std::ranges::copy(inputs, std::back_inserter(read_));
    node.inputs = reader.inputs();
    for (Node& step : reader.steps()) {
      infer(step);
      protos_.emplace(step.name, nullptr);
      steps_.push_back(std::move(step));
    }
    if (reader.rewritten()) protos_[node.name] = nullptr;
    node.outputs.resize(std::min(node.outputs.size(), reader.most_outputs()));
    return "";
  }

  /// Whether the model itself says what type the value has.
  bool is_declared(ValueId id) const {
    return graph_[id].shape || declared_.contains(graph_[id].name) ||
           std::ranges::find(graph_.outputs, id) != graph_.outputs.end();
  }

  void infer(const Node& node) {
    std::vector<std::optional<Shape>> declared;
    std::vector<std::optional<DType>> types;  // what the model says beats what follows from a guess
    const bool guessing =
        std::ranges::any_of(node.inputs, [&](ValueId id) { return id && guessed_.contains(id.index); });
    for (const ValueId id : node.outputs) {
      declared.push_back(id ? graph_[id].shape : std::nullopt);
      types.push_back(guessing && id && is_declared(id) ? std::optional(graph_[id].dtype) : std::nullopt);
    }
    shapes_->visit(node);
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      if (!node.outputs[k]) continue;
      if (types[k]) graph_[node.outputs[k]].dtype = *types[k];
      if (guessing && !types[k]) guessed_.insert(node.outputs[k].index);
    }
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      const ValueId id = node.outputs[k];
      if (!id || !graph_[id].shape) continue;
      Value& made = graph_[id];
      for (size_t i = 0; declared[k] && declared[k]->size() == made.shape->size() && i < made.shape->size(); ++i) {
        if ((*made.shape)[i] < 0) (*made.shape)[i] = (*declared[k])[i];  // what the model says and inference cannot
      }
      for (const int64_t dim : *made.shape) {
        if (dim > kLargestDimension) malformed("its output has an absurd shape, " + to_string(*made.shape));
      }
      if (made.dim_names.size() != made.shape->size()) made.dim_names.clear();
    }
  }

  void make_opaque(Node& node, onnx::NodeProto& proto, std::string why) {
    std::vector<DType> inputs;
    for (const ValueId id : node.inputs) inputs.push_back(id ? graph_[id].dtype : DType::f32);
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      const ValueId id = node.outputs[k];
      if (!id || is_declared(id)) continue;
      graph_[id].dtype = made_by(proto, inputs, static_cast<int>(k));
      guessed_.insert(id.index);
    }
    Opaque& op = std::get<Opaque>(node.op);
    op.domain = is_default(proto.domain()) ? "" : proto.domain();
    op.why = std::move(why);
    op.payload = proto.SerializeAsString();
  }

  /// Recognises sequences that are one activation; removes the constants that became part of an op.
  void simplify() {
    std::vector<bool> dead_nodes(graph_.nodes.size()), dead_values(graph_.values.size());
    for (const Node& node : graph_.nodes) {
      for (const ValueId id : node.inputs) read_.push_back(id);
    }
    for (auto& [last, inner] : recognise_activations(graph_)) {
      std::ranges::sort(inner);  // each behind those that it reads
      for (const NodeId id : inner) {
        dead_nodes[static_cast<size_t>(id.index)] = true;
        for (const ValueId made : graph_[id].outputs) dead_values[static_cast<size_t>(made.index)] = true;
        inner_[graph_[last].name].push_back(protos_.at(graph_[id].name));
      }
    }
    std::vector<Node> nodes;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!dead_nodes[i]) nodes.push_back(std::move(graph_.nodes[i]));
    }
    graph_.nodes = std::move(nodes);
    const Uses uses(graph_);
    OriginalsWriter originals(proto());
    for (const ValueId id : read_) {
      const auto i = static_cast<size_t>(id.index);
      if (!id || !graph_[id].constant || !uses.consumers[i].empty() || uses.is_output[i]) continue;
      originals.fold(graph_[id].name, *graph_[id].constant);
      dead_values[i] = true;
    }
    erase_values(dead_values);
  }

  void erase_values(const std::vector<bool>& dead) {
    std::vector<ValueId> renumbered(graph_.values.size());
    std::vector<Value> values;
    for (size_t i = 0; i < dead.size(); ++i) {
      if (dead[i]) continue;
      renumbered[i] = {static_cast<int32_t>(values.size())};
      values.push_back(std::move(graph_.values[i]));
    }
    graph_.values = std::move(values);
    const auto renumber = [&](std::vector<ValueId>& ids) {
      for (ValueId& id : ids) id = id ? renumbered[static_cast<size_t>(id.index)] : id;
    };
    for (Node& node : graph_.nodes) renumber(node.inputs), renumber(node.outputs);
    renumber(graph_.inputs);
    renumber(graph_.outputs);
  }

  void keep_remainder() {
    OriginalsWriter originals(proto());
    for (const Node& node : graph_.nodes) {
      onnx::NodeProto* const from = protos_.at(node.name);
      if (!from) continue;
      if (std::holds_alternative<Opaque>(node.op)) {
        OriginalsWriter::keep_place(*from);
      } else {
        originals.keep(graph_, node, *from, inner_[node.name]);
      }
    }
    proto().clear_name();
    for (auto& entry : *model_.mutable_metadata_props()) entry.clear_value();  // their order
    graph_.metadata[kRemainderKey] = to_base64(model_.SerializeAsString());
  }

  onnx::ModelProto& model_;
  TensorReader tensors_;
  bool to_run_;  // and not to be written again
  Graph graph_;
  std::optional<ShapeInference> shapes_;
  std::unordered_map<std::string, ValueId> ids_;
  std::unordered_map<std::string, onnx::NodeProto*> protos_;              // by node name; nullptr for what was no node
  std::unordered_set<std::string> declared_;                              // values with a value_info
  std::unordered_set<int32_t> guessed_;                                   // values whose type follows from made_by
  std::vector<Node> steps_;                                               // before nodes that became several
  std::vector<ValueId> read_;                                             // by any node, before simplify()
  std::unordered_map<std::string, std::vector<onnx::NodeProto*>> inner_;  // nodes that became part of another, by name
};

}  // namespace

Graph parse_onnx(std::span<const std::byte> bytes, const std::filesystem::path& path, bool to_run) {
  return naming(path.string(), [&] {
    if (bytes.size() > std::numeric_limits<int>::max())
      malformed("over 2 GB: larger weights belong into external data");
    onnx::ModelProto model;
    if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      malformed("not an ONNX model, or truncated");
    return Importer(model, path.parent_path(), to_run).run();
  });
}

Graph load_onnx(const std::filesystem::path& path) {
  return parse_onnx(map_file(path).bytes, path);
}

Graph load_onnx_to_run(const std::filesystem::path& path) {
  return parse_onnx(map_file(path).bytes, path, /*to_run=*/true);
}

}  // namespace reducenet
