#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "formats/base64.h"
#include "formats/file.h"
#include "formats/naming.h"
#include "formats/onnx/gates.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/originals.h"
#include "formats/onnx/subgraph.h"
#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"
#include "graph/lines.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int64_t kAlignment = 4096;               // of external data, so that they can be mapped
constexpr int64_t kSmall = 1024;                   // bytes; such constants stay inline
constexpr int64_t kLargestConstantNode = 1 << 20;  // bytes; larger constants become initialisers

/// The version of the file format that goes with an operator set
/// (https://github.com/onnx/onnx/blob/main/docs/Versioning.md).
int64_t ir_version(int64_t opset) {
  return opset <= 18 ? 8 : opset <= 20 ? 9 : opset <= 22 ? 10 : opset - 12;
}

/// What the model was read with and a Graph has no place for; otherwise a model by this library.
onnx::ModelProto remainder_of(const Graph& graph) {
  onnx::ModelProto model;
  const auto found = graph.metadata.find(kRemainderKey);
  if (found == graph.metadata.end()) {
    model.set_ir_version(ir_version(graph.opset));
    model.set_producer_name("reducenet");
  } else if (!model.ParseFromString(from_base64(found->second))) {
    throw Error(ErrorKind::bad_input, std::string("metadata ") + kRemainderKey + " is malformed");
  }
  return model;
}

/// `info` as it was, with what is known now; a shape that was not declared stays so unless `shaped`.
void describe(onnx::ValueInfoProto& info, const Value& value, bool shaped) {
  info.set_name(value.name);
  const bool other = info.has_type() && (!info.type().has_tensor_type() || value.dtype == DType::string);
  if (other || value.dtype == DType::string) return;
  const bool keep = !shaped && info.has_type() && !info.type().tensor_type().has_shape();
  auto& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx_type_of(value.dtype));
  if (!value.shape || keep) return;
  auto& shape = *type.mutable_shape();
  const auto rank = static_cast<int>(value.shape->size());
  if (shape.dim_size() != rank) shape.clear_dim();
  for (int i = 0; i < rank; ++i) {
    auto& dim = shape.dim_size() > i ? *shape.mutable_dim(i) : *shape.add_dim();
    const auto at = static_cast<size_t>(i);
    if ((*value.shape)[at] >= 0) {
      dim.set_dim_value((*value.shape)[at]);
    } else if (at < value.dim_names.size() && !value.dim_names[at].empty()) {
      dim.set_dim_param(value.dim_names[at]);
    } else if (dim.has_dim_value() && dim.dim_value() >= 0) {
      dim.clear_value();
    }
  }
}

class Exporter {
 public:
  explicit Exporter(const Graph& graph)
      : graph_(as_onnx_has_it(graph)), model_(remainder_of(graph_)), branches_(gated_branches(graph_)) {
    for (const Value& value : graph_.values) names_.insert(value.name);
    for (const Node& node : graph_.nodes) names_.insert(node.name);
  }

  onnx::ModelProto run() {
    onnx::GraphProto& out = *model_.mutable_graph();
    Originals originals(out);
    out.set_name(graph_.name);
    std::vector<onnx::TensorProto> tensors;
    write_constants(originals, tensors);
    bool all_original = branches_.empty();
    const std::map<NodeId, GatedBranch*> behind = behind_gates();
    for (int32_t i = 0; i < static_cast<int32_t>(graph_.nodes.size()); ++i) {
      const Node& node = graph_[NodeId{i}];
      const auto found = behind.find({i});
      naming("node '" + node.name + "' (" + describe_op(node) + ")", [&] {
        if (found != behind.end()) {
          write_gated(node, *found->second, tensors);
        } else {
          all_original &= write(node, originals, tensors, out);
        }
      });
    }
    if (all_original) {
      std::ranges::stable_sort(nodes_, {}, [](const auto& entry) { return entry.first; });
    }
    for (auto& [place, node] : nodes_) out.add_node()->Swap(&node);
    add_initializers(originals, tensors, out);
    describe_values(out);
    import_opset();
    write_metadata();
    return std::move(model_);
  }

  /// Initialisers, by index, that still lack their data.
  const std::vector<std::pair<int, Tensor>>& constants() const { return constants_; }

 private:
  static Graph as_onnx_has_it(Graph graph) {
    images_to_lines(graph);
    return graph;
  }

  /// Constants as they were: nodes, or initialisers that still lack their numbers.
  void write_constants(const Originals& originals, std::vector<onnx::TensorProto>& tensors) {
    std::unordered_set<std::string> inputs;
    for (const ValueId id : graph_.inputs) inputs.insert(graph_[id].name);
    tensors = originals.defaults(inputs);
    for (const Value& value : graph_.values) {
      if (!value.constant) continue;
      const bool small = std::ssize(value.constant->bytes()) <= kLargestConstantNode;
      if (auto node = small ? originals.constant(value) : std::nullopt) {
        nodes_.push_back(std::move(*node));
        continue;
      }
      onnx::TensorProto& tensor = tensors.emplace_back(describe_tensor(value.name, *value.constant));
      const onnx::TensorProto* was = originals.tensor(value.name);
      if (!was) continue;
      if (was->has_doc_string()) tensor.set_doc_string(was->doc_string());
      *tensor.mutable_external_data() = was->external_data();  // the form of its numbers
    }
  }

  /// In the model's order; new ones last.
  void add_initializers(const Originals& originals, std::vector<onnx::TensorProto>& tensors, onnx::GraphProto& out) {
    std::unordered_map<std::string_view, const Value*> values;
    for (const Value& value : graph_.values) {
      if (value.constant) values[value.name] = &value;
    }
    std::ranges::stable_sort(tensors, {}, [&](const auto& tensor) { return originals.place_of_tensor(tensor.name()); });
    for (onnx::TensorProto& tensor : tensors) {
      onnx::TensorProto& added = *out.add_initializer();
      added.Swap(&tensor);
      const auto found = values.find(added.name());
      if (found != values.end()) constants_.emplace_back(out.initializer_size() - 1, *found->second->constant);
    }
  }

  void write_metadata() {
    std::set<std::string> left;
    for (const auto& [key, text] : graph_.metadata) {
      if (key != kRemainderKey) left.insert(key);
    }
    google::protobuf::RepeatedPtrField<onnx::StringStringEntryProto> entries;
    const auto add = [&](const std::string& key) {
      auto& entry = *entries.Add();
      entry.set_key(key);
      entry.set_value(graph_.metadata.at(key));
    };
    for (const auto& entry : model_.metadata_props()) {  // the old order first
      if (left.erase(entry.key())) add(entry.key());
    }
    for (const std::string& key : left) add(key);
    if (!branches_.empty() && !graph_.metadata.contains(kGatesKey)) {
      auto& entry = *entries.Add();
      entry.set_key(kGatesKey);
      entry.set_value("if");
    }
    entries.Swap(model_.mutable_metadata_props());
  }

  static std::string describe_op(const Node& node) { return reducenet::describe(node.op); }

  /// Nodes inside a branch, and the sum that ends it.
  std::map<NodeId, GatedBranch*> behind_gates() {
    std::map<NodeId, GatedBranch*> found;
    for (GatedBranch& branch : branches_) {
      for (const NodeId id : branch.members) found[id] = &branch;
      found[branch.block.sum] = &branch;
    }
    return found;
  }

  void write_gated(const Node& node, GatedBranch& branch, std::vector<onnx::TensorProto>& tensors) {
    write_new(node, branch.written);
    std::ranges::move(*branch.written.mutable_initializer(), std::back_inserter(tensors));
    branch.written.clear_initializer();
    if (&node != &graph_[branch.block.sum]) return;
    for (onnx::NodeProto& made : write_if(graph_, branch, names_)) nodes_.emplace_back(-1, std::move(made));
  }

  void write_new(const Node& node, onnx::GraphProto& to) {
    const OnnxOp* row = find_onnx_op(name_of(node.op));
    if (!row || !row->write) throw Error(ErrorKind::unsupported, "ONNX has no such operator");
    NodeWriter writer(graph_, node, to, names_);
    row->write(node.op, writer);
  }

  /// Adds the node to nodes_; true when it is as the model had it.
  bool write(const Node& node, Originals& originals, std::vector<onnx::TensorProto>& tensors, onnx::GraphProto& out) {
    onnx::GraphProto part;
    int64_t place = -1;
    if (const auto* opaque = std::get_if<Opaque>(&node.op)) {
      write_opaque(*opaque, node, part);
      out.mutable_sparse_initializer()->MergeFrom(part.sparse_initializer());
      if (part.node_size() == 1 && part.node(0).output_size() > 0) place = place_of(part.node(0), originals);
    } else if (auto was = originals.of(graph_, node, names_, nodes_, tensors)) {
      std::ranges::move(*was, std::back_inserter(nodes_));
      return true;
    } else {
      write_new(node, part);
    }
    std::ranges::move(*part.mutable_initializer(), std::back_inserter(tensors));
    for (auto& made : *part.mutable_node()) nodes_.emplace_back(place, std::move(made));
    return place >= 0 || part.node_size() == 0;
  }

  static int64_t place_of(const onnx::NodeProto& node, const Originals& originals) {
    const auto named = std::ranges::find_if(node.output(), [](const std::string& name) { return !name.empty(); });
    return named == node.output().end() ? -1 : originals.place_of_node(*named);
  }

  void write_opaque(const Opaque& op, const Node& node, onnx::GraphProto& out) {
    const auto parse = [&](auto& message) {
      if (!message.ParseFromString(op.payload)) throw Error(ErrorKind::bad_input, "its payload is no ONNX");
    };
    if (node.inputs.empty() && op.type == "Initializer") return parse(*out.add_initializer());
    if (node.inputs.empty() && op.type == "SparseInitializer") return parse(*out.add_sparse_initializer());
    onnx::NodeProto& proto = *out.add_node();
    parse(proto);
    proto.clear_input();
    proto.clear_output();
    const auto name = [&](ValueId id) { return id ? graph_[id].name : ""; };
    const size_t own = node.inputs.size() - static_cast<size_t>(op.reads);
    for (size_t i = 0; i < own; ++i) proto.add_input(name(node.inputs[i]));
    for (const ValueId id : node.outputs) proto.add_output(name(id));
    const std::vector<std::string> captured = captured_names(proto);
    std::unordered_map<std::string, std::string> renamed;
    for (size_t i = 0; i < captured.size() && own + i < node.inputs.size(); ++i) {
      const std::string now = name(node.inputs[own + i]);
      if (now != captured[i]) renamed[captured[i]] = now;
    }
    if (!renamed.empty()) rename_captured(proto, renamed);
  }

  /// Inputs, outputs and whatever the model declared about values that still exist.
  void describe_values(onnx::GraphProto& out) {
    std::unordered_map<std::string, onnx::ValueInfoProto> declared;
    google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> infos;
    infos.Swap(out.mutable_value_info());
    for (const auto* list : {&out.input(), &out.output()}) {
      for (const auto& info : *list) declared[info.name()] = info;
    }
    std::unordered_map<std::string_view, const Value*> values;
    for (const Value& value : graph_.values) values[value.name] = &value;
    std::vector<std::string> inputs;
    for (const ValueId id : graph_.inputs) inputs.push_back(graph_[id].name);
    if (model_.ir_version() < 4) {  // there every initialiser is listed as an input too
      for (const auto& tensor : out.initializer()) {
        if (std::ranges::find(inputs, tensor.name()) == inputs.end()) inputs.push_back(tensor.name());
        if (values.contains(tensor.name()) || declared.contains(tensor.name())) continue;
        auto& type = *declared[tensor.name()].mutable_type()->mutable_tensor_type();
        declared[tensor.name()].set_name(tensor.name());
        type.set_elem_type(tensor.data_type());
        for (const int64_t dim : tensor.dims()) type.mutable_shape()->add_dim()->set_dim_value(dim);
      }
    }
    const auto was = out.input();
    out.clear_input();
    const auto add = [&](auto* list, const std::string& name, bool shaped) {
      auto& info = *list->Add();
      if (const auto found = declared.find(name); found != declared.end()) info = found->second;
      if (const auto found = values.find(name); found != values.end()) describe(info, *found->second, shaped);
    };
    std::unordered_set<std::string> left(inputs.begin(), inputs.end());
    for (const auto& info : was) {  // the old order first
      if (left.erase(info.name())) add(out.mutable_input(), info.name(), info.type().tensor_type().has_shape());
    }
    for (const std::string& name : inputs) {
      if (left.erase(name)) add(out.mutable_input(), name, true);
    }
    out.clear_output();
    for (const ValueId id : graph_.outputs) add(out.mutable_output(), graph_[id].name, false);
    std::unordered_set<std::string_view> made;
    for (const auto& node : out.node()) made.insert(node.output().begin(), node.output().end());
    for (const auto& tensor : out.initializer()) made.insert(tensor.name());
    for (auto& info : infos) {
      const auto found = values.find(info.name());
      if (found == values.end() && !made.contains(info.name())) continue;
      if (found != values.end()) describe(info, *found->second, false);
      out.add_value_info()->Swap(&info);
    }
  }

  void import_opset() {
    if (graph_.opset == 0) return;
    for (auto& import : *model_.mutable_opset_import()) {
      if (is_default(import.domain())) {
        import.set_version(graph_.opset);
        return;
      }
    }
    if (model_.ir_version() < 3) return;
    auto& import = *model_.add_opset_import();
    import.set_domain("");
    import.set_version(graph_.opset);
  }

  const Graph graph_;
  onnx::ModelProto model_;
  std::vector<GatedBranch> branches_;
  std::unordered_set<std::string> names_;
  Originals::Placed nodes_;
  std::vector<std::pair<int, Tensor>> constants_;
};

/// Hands protobuf's blocks to an AtomicFile.
class Sink : public google::protobuf::io::CopyingOutputStream {
 public:
  explicit Sink(AtomicFile& file) : file_(file) {}
  bool Write(const void* data, int size) override {
    file_.write({static_cast<const std::byte*>(data), static_cast<size_t>(size)});
    return true;
  }

 private:
  AtomicFile& file_;
};

using Constants = std::vector<std::pair<int, Tensor>>;

/// Gives their data to the initialisers that do not refer to another file.
void fill_inline(const Constants& constants, onnx::GraphProto& graph) {
  for (const auto& [index, tensor] : constants) {
    auto& proto = *graph.mutable_initializer(index);
    if (proto.data_location() == onnx::TensorProto::EXTERNAL) continue;
    if (proto.external_data_size() > 0) {
      restore(proto, tensor);
    } else {
      proto.set_raw_data(tensor.bytes().data(), tensor.bytes().size());
    }
  }
}

/// Writes larger constants to the file beside the model and has the initialisers refer to it.
void write_external(const Constants& constants, onnx::GraphProto& graph, const std::filesystem::path& path) {
  AtomicFile file(path);
  int64_t offset = 0;
  for (const auto& [index, tensor] : constants) {
    const auto size = std::ssize(tensor.bytes());
    if (size < kSmall) continue;
    const std::vector<std::byte> gap(static_cast<size_t>((kAlignment - offset % kAlignment) % kAlignment));
    file.write(gap);
    offset += std::ssize(gap);
    file.write(tensor.bytes());
    auto& proto = *graph.mutable_initializer(index);
    proto.set_data_location(onnx::TensorProto::EXTERNAL);
    proto.clear_external_data();
    const auto add = [&](const char* key, const std::string& value) {
      auto& entry = *proto.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    };
    add("location", path.filename().string());
    add("offset", std::to_string(offset));
    add("length", std::to_string(size));
    offset += size;
  }
  file.commit();
}

}  // namespace

std::string to_onnx(const Graph& graph) {
  check(graph);
  Exporter exporter(graph);
  onnx::ModelProto model = exporter.run();
  fill_inline(exporter.constants(), *model.mutable_graph());
  std::string bytes;
  if (!model.SerializeToString(&bytes)) throw Error(ErrorKind::unsupported, "the model is over 2 GiB");
  return bytes;
}

void save_onnx(const Graph& graph, const std::filesystem::path& path, int64_t largest_inline) {
  naming(path.string(), [&] {
    check(graph);
    Exporter exporter(graph);
    onnx::ModelProto model = exporter.run();
    int64_t total = 0;
    for (const auto& [index, tensor] : exporter.constants()) total += std::ssize(tensor.bytes());
    if (total > largest_inline) {
      std::filesystem::path data = path;
      data += ".data";
      write_external(exporter.constants(), *model.mutable_graph(), data);
    }
    fill_inline(exporter.constants(), *model.mutable_graph());
    AtomicFile file(path);
    Sink sink(file);
    {
      google::protobuf::io::CopyingOutputStreamAdaptor stream(&sink, 1 << 20);
      if (!model.SerializeToZeroCopyStream(&stream)) throw Error(ErrorKind::unsupported, "the model is over 2 GiB");
    }
    file.commit();
  });
}

}  // namespace reducenet
