#include "formats/onnx/originals.h"

#include <algorithm>

#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr const char* kWritten = "reducenet.written";
constexpr const char* kInner = "reducenet.inner";
constexpr const char* kForm = "reducenet.form";  // of a tensor's numbers: raw or typed
constexpr int64_t kMostFolded = 1 << 16;         // bytes

/// FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/).
std::string hash_of(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return std::to_string(hash);
}

onnx::TensorProto* constant_tensor(onnx::NodeProto& node) {
  if (node.op_type() != "Constant" || node.attribute_size() != 1 || !node.attribute(0).has_t()) return nullptr;
  return node.mutable_attribute(0)->mutable_t();
}

bool is_stripped(const onnx::TensorProto& tensor) {
  return tensor.external_data_size() == 1 && tensor.external_data(0).key() == kForm;
}

/// A node before `node` makes the value.
bool makes_before(const Graph& graph, ValueId value, const Node& node) {
  const auto here = std::ranges::find_if(graph.nodes, [&](const Node& one) { return &one == &node; });
  return std::any_of(graph.nodes.begin(), here,
                     [&](const Node& one) { return std::ranges::find(one.outputs, value) != one.outputs.end(); });
}

void drop_private(onnx::NodeProto& node) {
  auto& attributes = *node.mutable_attribute();
  const auto last = std::remove_if(attributes.begin(), attributes.end(), [](const onnx::AttributeProto& attribute) {
    return attribute.name() == kWritten || attribute.name() == kInner;
  });
  attributes.erase(last, attributes.end());
}

void clear_numbers(onnx::TensorProto& tensor) {
  tensor.clear_raw_data();
  tensor.clear_float_data();
  tensor.clear_double_data();
  tensor.clear_int32_data();
  tensor.clear_int64_data();
  tensor.clear_uint64_data();
}

void set_typed(onnx::TensorProto& proto, const Tensor& tensor) {
  const auto fill = [](auto& field, auto values) { field.Assign(values.begin(), values.end()); };
  switch (tensor.dtype()) {
    case DType::f32:
      return fill(*proto.mutable_float_data(), tensor.as<float>());
    case DType::f64:
      return fill(*proto.mutable_double_data(), tensor.as<double>());
    case DType::i64:
      return fill(*proto.mutable_int64_data(), tensor.as<int64_t>());
    case DType::u32:
      return fill(*proto.mutable_uint64_data(), tensor.as<uint32_t>());
    case DType::u64:
      return fill(*proto.mutable_uint64_data(), tensor.as<uint64_t>());
    case DType::i32:
      return fill(*proto.mutable_int32_data(), tensor.as<int32_t>());
    case DType::i16:
      return fill(*proto.mutable_int32_data(), tensor.as<int16_t>());
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      return fill(*proto.mutable_int32_data(), tensor.as<uint16_t>());
    case DType::i8:
      return fill(*proto.mutable_int32_data(), tensor.as<int8_t>());
    case DType::u8:
    case DType::boolean:
      return fill(*proto.mutable_int32_data(), tensor.as<uint8_t>());
    case DType::string:
      return;
  }
}

}  // namespace

// The form depends on the shape of the first input too: automatic padding does.
std::string written_form(const Graph& graph, const Node& node) {
  const OnnxOp* row = find_onnx_op(name_of(node.op));
  if (!row || !row->write) return "refused: no operator";
  std::string shape;
  if (!node.inputs.empty() && node.inputs[0] && graph[node.inputs[0]].shape) {
    shape = to_string(*graph[node.inputs[0]].shape);
  }
  try {
    onnx::GraphProto part;
    std::unordered_set<std::string> names;
    NodeWriter writer(graph, node, part, names);
    row->write(node.op, writer);
    return shape + part.SerializeAsString();
  } catch (const Error& error) {
    return std::string("refused: ") + describe(node.op) + error.what();
  }
}

void strip(onnx::TensorProto& tensor, bool raw) {
  clear_numbers(tensor);
  tensor.clear_data_location();
  tensor.clear_external_data();
  auto& entry = *tensor.add_external_data();
  entry.set_key(kForm);
  entry.set_value(raw ? "raw" : "typed");
}

void restore(onnx::TensorProto& stripped, const Tensor& tensor) {
  const bool raw = stripped.external_data(0).value() == "raw";
  stripped.clear_external_data();
  if (raw) {
    stripped.set_raw_data(tensor.bytes().data(), tensor.bytes().size());
  } else {
    set_typed(stripped, tensor);
  }
}

int OriginalsWriter::index_of(const onnx::NodeProto* proto) {
  if (indices_.empty()) {
    for (int i = 0; i < graph_.node_size(); ++i) indices_[&graph_.node(i)] = i;
  }
  return indices_.at(proto);
}

void OriginalsWriter::keep(const Graph& graph, const Node& node, onnx::NodeProto& proto,
                           const std::vector<onnx::NodeProto*>& inner) {
  auto& written = *proto.add_attribute();
  written.set_name(kWritten);
  written.set_s(hash_of(written_form(graph, node)));
  if (inner.empty()) return;
  auto& indices = *proto.add_attribute();
  indices.set_name(kInner);
  for (const onnx::NodeProto* one : inner) indices.add_ints(index_of(one));
}

void OriginalsWriter::keep_place(onnx::NodeProto& proto) {
  onnx::NodeProto place;
  place.mutable_output()->Swap(proto.mutable_output());
  proto.Swap(&place);
}

void OriginalsWriter::fold(const std::string& name, const Tensor& tensor) {
  if (tensors_.empty()) {
    for (auto& initializer : *graph_.mutable_initializer()) tensors_[initializer.name()] = &initializer;
    for (auto& node : *graph_.mutable_node()) {
      if (auto* constant = constant_tensor(node)) tensors_[node.output(0)] = constant;
    }
  }
  const auto found = tensors_.find(name);
  if (found == tensors_.end() || !is_stripped(*found->second)) return;
  if (std::ssize(tensor.bytes()) <= kMostFolded) restore(*found->second, tensor);
}

Originals::Originals(onnx::GraphProto& graph) {
  nodes_.Swap(graph.mutable_node());
  tensors_.Swap(graph.mutable_initializer());
  for (int i = 0; i < nodes_.size(); ++i) {
    for (const std::string& output : nodes_[i].output()) {
      if (!output.empty()) node_places_.emplace(output, i);
    }
  }
  for (int i = 0; i < tensors_.size(); ++i) tensor_places_.emplace(tensors_[i].name(), i);
}

std::optional<Originals::Placed> Originals::of(const Graph& graph, const Node& node,
                                               std::unordered_set<std::string>& names, Placed& folded_nodes,
                                               std::vector<onnx::TensorProto>& folded_tensors) {
  const auto made = std::ranges::find_if(node.outputs, &ValueId::operator bool);
  if (made == node.outputs.end()) return std::nullopt;
  const int64_t last = place_of_node(graph[*made].name);
  if (last < 0) return std::nullopt;
  std::vector<int64_t> places;
  bool unchanged = false;
  for (const auto& attribute : nodes_[static_cast<int>(last)].attribute()) {
    if (attribute.name() == kWritten) unchanged = attribute.s() == hash_of(written_form(graph, node));
    if (attribute.name() == kInner) places.assign(attribute.ints().begin(), attribute.ints().end());
  }
  if (!unchanged) return std::nullopt;
  places.push_back(last);

  Placed group;
  std::vector<std::string> defined, wanted;
  for (const int64_t place : places) {
    if (place < 0 || place >= nodes_.size()) return std::nullopt;
    onnx::NodeProto& copy = group.emplace_back(place, nodes_[static_cast<int>(place)]).second;
    drop_private(copy);
    for (const std::string& output : copy.output()) {
      if (place != last && names.contains(output)) return std::nullopt;  // the name was given away
      defined.push_back(output);
    }
  }
  for (const auto& [place, proto] : group) {
    for (const std::string& input : proto.input()) {
      const bool known = input.empty() || std::ranges::find(defined, input) != defined.end() || folded_.contains(input);
      const bool ours = std::ranges::any_of(node.inputs, [&](ValueId id) { return id && graph[id].name == input; });
      if (!known && !ours) wanted.push_back(input);
    }
  }
  Placed constant_nodes;
  std::vector<onnx::TensorProto> constants;
  std::ranges::sort(wanted);
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (const std::string& name : wanted) {
    if (names.contains(name)) {  // a constant that other nodes still read, or what an earlier node computes
      const ValueId id = graph.find_value(name);
      if (!id || !(graph[id].constant || makes_before(graph, id, node))) return std::nullopt;
      continue;
    }
    const int64_t place = place_of_node(name);
    const onnx::TensorProto* stub = tensor(name);
    if (place >= 0) {
      onnx::NodeProto copy = nodes_[static_cast<int>(place)];
      const onnx::TensorProto* numbers = constant_tensor(copy);
      if (copy.op_type() != "Constant" || (numbers && is_stripped(*numbers))) return std::nullopt;
      constant_nodes.emplace_back(place, std::move(copy));
    } else if (stub && !is_stripped(*stub)) {
      constants.push_back(*stub);
    } else {
      return std::nullopt;
    }
  }
  names.insert(defined.begin(), defined.end());
  names.insert(wanted.begin(), wanted.end());
  folded_.insert(wanted.begin(), wanted.end());
  std::ranges::move(constant_nodes, std::back_inserter(folded_nodes));
  std::ranges::move(constants, std::back_inserter(folded_tensors));
  return group;
}

std::optional<std::pair<int64_t, onnx::NodeProto>> Originals::constant(const Value& value) const {
  const int64_t place = place_of_node(value.name);
  if (place < 0) return std::nullopt;
  onnx::NodeProto copy = nodes_[static_cast<int>(place)];
  if (copy.op_type() != "Constant" || copy.attribute_size() != 1) return std::nullopt;
  if (onnx::TensorProto* tensor = constant_tensor(copy)) {
    if (!is_stripped(*tensor)) return std::nullopt;
    const onnx::TensorProto now = describe_tensor("", *value.constant);
    *tensor->mutable_dims() = now.dims();
    tensor->set_data_type(now.data_type());
    restore(*tensor, *value.constant);
    return std::pair(place, std::move(copy));
  }
  const onnx::AttributeProto& list = copy.attribute(0);  // one of value_int, value_ints, value_float, value_floats
  const bool scalar = list.name() == "value_int" || list.name() == "value_float";
  const bool fits = value.constant->shape().size() == (scalar ? 0u : 1u);
  if (value.constant->dtype() == DType::i64 && fits) {
    const auto now = value.constant->as<int64_t>();
    const bool same = list.name() == "value_int"
                          ? now[0] == list.i()
                          : std::equal(now.begin(), now.end(), list.ints().begin(), list.ints().end());
    if (same) return std::pair(place, std::move(copy));
  } else if (value.constant->dtype() == DType::f32 && fits) {
    const auto now = value.constant->as<float>();
    const bool same = list.name() == "value_float"
                          ? now[0] == list.f()
                          : std::equal(now.begin(), now.end(), list.floats().begin(), list.floats().end());
    if (same) return std::pair(place, std::move(copy));
  }
  return std::nullopt;
}

std::vector<onnx::TensorProto> Originals::defaults(const std::unordered_set<std::string>& inputs) const {
  std::vector<onnx::TensorProto> found;
  for (const onnx::TensorProto& tensor : tensors_) {
    if (inputs.contains(tensor.name()) && tensor.has_data_type() && !is_stripped(tensor)) found.push_back(tensor);
  }
  return found;
}

int64_t Originals::place_of_node(const std::string& output) const {
  const auto found = node_places_.find(output);
  return found == node_places_.end() ? -1 : found->second;
}

int64_t Originals::place_of_tensor(const std::string& name) const {
  const auto found = tensor_places_.find(name);
  return found == tensor_places_.end() ? tensors_.size() : found->second;
}

const onnx::TensorProto* Originals::tensor(const std::string& name) const {
  const auto found = tensor_places_.find(name);
  return found == tensor_places_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace reducenet
