#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "formats/base64.h"
#include "formats/file.h"
#include "formats/naming.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/subgraph.h"
#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int64_t kAlignment = 4096;  // of external data, so that they can be mapped
constexpr int64_t kSmall = 1024;      // bytes; such constants stay inline

/// The version of the file format that goes with an operator set
/// (https://github.com/onnx/onnx/blob/main/docs/Versioning.md).
int64_t ir_version(int64_t opset) {
  return opset <= 18 ? 8 : opset <= 20 ? 9 : 10;
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

/// `info` as it was, with what is known now.
void describe(onnx::ValueInfoProto& info, const Value& value) {
  info.set_name(value.name);
  const bool other = info.has_type() && (!info.type().has_tensor_type() || value.dtype == DType::string);
  if (other || value.dtype == DType::string) return;
  auto& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx_type_of(value.dtype));
  if (!value.shape) return;
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
  explicit Exporter(const Graph& graph) : graph_(graph), model_(remainder_of(graph)) {
    for (const Value& value : graph.values) names_.insert(value.name);
    for (const Node& node : graph.nodes) names_.insert(node.name);
  }

  onnx::ModelProto run() {
    onnx::GraphProto& out = *model_.mutable_graph();
    out.set_name(graph_.name);
    std::unordered_map<std::string, std::string> docs;
    google::protobuf::RepeatedPtrField<onnx::TensorProto> defaults;
    for (auto& tensor : *out.mutable_initializer()) {
      if (tensor.has_data_type()) {
        defaults.Add()->Swap(&tensor);
      } else {
        docs[tensor.name()] = tensor.doc_string();
      }
    }
    out.mutable_initializer()->Swap(&defaults);
    describe_values(out);
    for (const Value& value : graph_.values) {
      if (!value.constant) continue;
      onnx::TensorProto& tensor = *out.add_initializer();
      tensor = describe_tensor(value.name, *value.constant);
      if (const auto doc = docs.find(value.name); doc != docs.end()) tensor.set_doc_string(doc->second);
      constants_.emplace_back(out.initializer_size() - 1, *value.constant);
    }
    for (const Node& node : graph_.nodes) {
      naming("node '" + node.name + "' (" + describe_op(node) + ")", [&] { write(node, out); });
    }
    import_opset();
    for (const auto& [key, text] : graph_.metadata) {
      if (key == kRemainderKey) continue;
      auto& entry = *model_.add_metadata_props();
      entry.set_key(key);
      entry.set_value(text);
    }
    return std::move(model_);
  }

  /// Initialisers, by index, that still lack their data.
  const std::vector<std::pair<int, Tensor>>& constants() const { return constants_; }

 private:
  static std::string describe_op(const Node& node) { return reducenet::describe(node.op); }

  void write(const Node& node, onnx::GraphProto& out) {
    if (const auto* opaque = std::get_if<Opaque>(&node.op)) return write_opaque(*opaque, node, out);
    const OnnxOp* row = find_onnx_op(name_of(node.op));
    if (!row) throw Error(ErrorKind::unsupported, "ONNX has no such operator");
    NodeWriter writer(graph_, node, out, names_);
    row->write(node.op, writer);
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
    std::unordered_set<std::string_view> inputs;
    for (const ValueId id : graph_.inputs) inputs.insert(graph_[id].name);
    if (model_.ir_version() < 4) {
      for (const Value& value : graph_.values) {
        if (value.constant) inputs.insert(value.name);
      }
    }
    const auto was = out.input();
    out.clear_input();
    const auto add = [&](auto* list, const Value& value) {
      auto& info = *list->Add();
      if (const auto found = declared.find(value.name); found != declared.end()) info = found->second;
      describe(info, value);
    };
    for (const auto& info : was) {  // the old order first
      if (inputs.erase(info.name())) add(out.mutable_input(), *values.at(info.name()));
    }
    for (const Value& value : graph_.values) {
      if (inputs.erase(value.name)) add(out.mutable_input(), value);
    }
    out.clear_output();
    for (const ValueId id : graph_.outputs) add(out.mutable_output(), graph_[id]);
    for (auto& info : infos) {
      const auto found = values.find(info.name());
      if (found == values.end()) continue;
      describe(info, *found->second);
      out.add_value_info()->Swap(&info);
    }
  }

  void import_opset() {
    if (graph_.opset == 0) return;
    for (auto& import : *model_.mutable_opset_import()) {
      if (import.domain().empty() || import.domain() == "ai.onnx") {
        import.set_version(graph_.opset);
        return;
      }
    }
    if (model_.ir_version() < 3) return;
    auto& import = *model_.add_opset_import();
    import.set_domain("");
    import.set_version(graph_.opset);
  }

  const Graph& graph_;
  onnx::ModelProto model_;
  std::unordered_set<std::string> names_;
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
    proto.set_raw_data(tensor.bytes().data(), tensor.bytes().size());
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
