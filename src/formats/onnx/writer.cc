#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"
#include "graph/lines.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

using onnx::AttributeProto;

AttributeProto& add_attribute(onnx::NodeProto& node, const char* name, AttributeProto::AttributeType type) {
  AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}

}  // namespace

std::string NodeWriter::input(size_t i) const {
  return i < node_.inputs.size() && node_.inputs[i] ? graph_[node_.inputs[i]].name : "";
}

std::vector<std::string> NodeWriter::inputs() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < node_.inputs.size(); ++i) names.push_back(input(i));
  return names;
}

onnx::NodeProto& NodeWriter::emit(std::string_view type, std::vector<std::string> inputs) {
  onnx::NodeProto& node = *out_.add_node();
  node.set_name(node_.name);
  node.set_op_type(std::string(type));
  if (!node_.doc.empty()) node.set_doc_string(node_.doc);
  for (std::string& name : inputs) node.add_input(std::move(name));
  for (const ValueId id : node_.outputs) node.add_output(id ? graph_[id].name : "");
  return node;
}

onnx::NodeProto& NodeWriter::step(std::string_view type, std::vector<std::string> inputs) {
  onnx::NodeProto& node = *out_.add_node();
  node.set_op_type(std::string(type));
  node.set_name(fresh_name(names_, node_.name + "." + std::string(type)));
  for (std::string& name : inputs) node.add_input(std::move(name));
  node.add_output(node.name());
  return node;
}

std::vector<int64_t> NodeWriter::along(const Size2& value) const {
  if (is_line(shape(0))) return {value[1]};
  return {value[0], value[1]};
}

std::vector<int64_t> NodeWriter::along(const Padding& value) const {
  if (is_line(shape(0))) return {value.left, value.right};
  return {value.top, value.left, value.bottom, value.right};
}

std::string NodeWriter::scalar(const std::string& stem, double value) {
  return constant(stem, Tensor::filled({}, value, graph_[node_.inputs.at(0)].dtype));
}

std::string NodeWriter::constant(const std::string& stem, const Tensor& value) {
  const std::string name = fresh_name(names_, node_.name + "." + stem);
  onnx::TensorProto& tensor = *out_.add_initializer();
  tensor = describe_tensor(name, value);
  tensor.set_raw_data(value.bytes().data(), value.bytes().size());
  return name;
}

void NodeWriter::refuse(const std::string& why) const {
  throw Error(ErrorKind::unsupported, why);
}

std::string fresh_name(std::unordered_set<std::string>& names, const std::string& stem) {
  std::string name = stem;
  for (int i = 2; !names.insert(name).second; ++i) name = stem + "." + std::to_string(i);
  return name;
}

void set(onnx::NodeProto& node, const char* name, int64_t value) {
  add_attribute(node, name, AttributeProto::INT).set_i(value);
}

void set(onnx::NodeProto& node, const char* name, double value) {
  add_attribute(node, name, AttributeProto::FLOAT).set_f(static_cast<float>(value));
}

void set(onnx::NodeProto& node, const char* name, const std::string& value) {
  add_attribute(node, name, AttributeProto::STRING).set_s(value);
}

void set(onnx::NodeProto& node, const char* name, const std::vector<int64_t>& value) {
  add_attribute(node, name, AttributeProto::INTS).mutable_ints()->Assign(value.begin(), value.end());
}

void set(onnx::NodeProto& node, const char* name, const Tensor& value) {
  onnx::TensorProto& tensor = *add_attribute(node, name, AttributeProto::TENSOR).mutable_t();
  tensor = describe_tensor("", value);
  tensor.clear_name();
  tensor.set_raw_data(value.bytes().data(), value.bytes().size());
}

}  // namespace reducenet
