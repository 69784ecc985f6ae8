#include <algorithm>
#include <cmath>

#include "formats/onnx/table.h"
#include "formats/onnx/tensor.h"
#include "graph/lines.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

using onnx::AttributeProto;

constexpr int64_t kLargest = int64_t{1} << 31;  // of any attribute that is understood
constexpr int64_t kLargestStep = 1 << 20;       // of strides, dilations and kernels

[[noreturn]] void malformed(const std::string& what) {
  throw Error(ErrorKind::bad_input, what);
}

int64_t checked(const std::string& name, int64_t value) {
  if (value < -kLargest || value > kLargest) malformed(name + " = " + std::to_string(value) + " is absurd");
  return value;
}

/// Padding so that ⌈size/stride⌉ windows fit; the odd element goes to the end, or to the beginning for SAME_LOWER.
std::pair<int64_t, int64_t> same_padding(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, bool lower) {
  const int64_t extent = dilation * (kernel - 1) + 1;
  const int64_t excess = stride == 1 ? extent - 1 : ((size + stride - 1) / stride - 1) * stride + extent - size;
  const int64_t total = std::max<int64_t>(excess, 0);
  const int64_t less = total / 2, more = total - less;
  return lower ? std::pair(more, less) : std::pair(less, more);
}

}  // namespace

NodeReader::NodeReader(const onnx::NodeProto& proto, Graph& graph, const ShapeInference& known,
                       const std::unordered_set<int32_t>& guessed, std::vector<ValueId> inputs)
    : proto_(proto), graph_(graph), known_(known), guessed_(guessed), inputs_(std::move(inputs)) {}

const AttributeProto* NodeReader::attribute(const char* name, AttributeProto::AttributeType type) {
  asked_.insert(name);
  for (const AttributeProto& attribute : proto_.attribute()) {
    if (attribute.name() != name) continue;
    if (attribute.type() != type && attribute.type() != AttributeProto::UNDEFINED) {
      malformed("attribute " + attribute.name() + " has the wrong type");
    }
    return &attribute;
  }
  return nullptr;
}

int64_t NodeReader::integer(const char* name, int64_t otherwise) {
  const AttributeProto* found = attribute(name, AttributeProto::INT);
  return found ? checked(name, found->i()) : otherwise;
}

double NodeReader::real(const char* name, double otherwise) {
  const AttributeProto* found = attribute(name, AttributeProto::FLOAT);
  return found ? static_cast<double>(found->f()) : otherwise;
}

std::string NodeReader::text(const char* name, const std::string& otherwise) {
  const AttributeProto* found = attribute(name, AttributeProto::STRING);
  return found ? found->s() : otherwise;
}

std::optional<std::vector<int64_t>> NodeReader::integers(const char* name) {
  const AttributeProto* found = attribute(name, AttributeProto::INTS);
  if (!found) return std::nullopt;
  std::vector<int64_t> values(found->ints().begin(), found->ints().end());
  for (const int64_t value : values) checked(name, value);
  return values;
}

std::optional<Tensor> NodeReader::tensor(const char* name) {
  const AttributeProto* found = attribute(name, AttributeProto::TENSOR);
  if (!found) return std::nullopt;
  onnx::TensorProto copy = found->t();
  return TensorReader({}).read(copy);
}

Size2 NodeReader::pair(const char* name, int64_t otherwise) {
  const auto values = integers(name);
  if (!values) return {otherwise, otherwise};
  const bool line = is_line(shape(0));
  if (values->size() != (line ? 1 : 2)) {
    refuse(std::string(name) + " of " + std::to_string(values->size()) +
           " dimensions; only lines and images are understood");
    return {otherwise, otherwise};
  }
  for (const int64_t value : *values) {
    if (value < 0 || value > kLargestStep) malformed(std::string(name) + " = " + std::to_string(value) + " is absurd");
  }
  return {line ? otherwise : values->front(), values->back()};
}

Size2 NodeReader::kernel(std::optional<size_t> weight) {
  const bool given = integers("kernel_shape").has_value();
  const Size2 size = pair("kernel_shape", 1);
  const std::optional<Shape> shape = weight ? this->shape(*weight) : std::nullopt;
  const bool line = is_line(this->shape(0));
  if (!shape) {
    if (!given || (weight && line)) refuse("the kernel's size is not known");
    return size;
  }
  if (shape->size() != (line ? 3 : 4)) {
    refuse("a weight of " + std::to_string(shape->size()) + " dimensions; only lines and images are understood");
    return size;
  }
  const Size2 own{line ? 1 : (*shape)[2], shape->back()};
  if (given && why_.empty() && size != own) malformed("kernel_shape does not match the weight " + to_string(*shape));
  return own;
}

Padding NodeReader::padding(Size2 kernel, Size2 stride, Size2 dilation) {
  const auto pads = integers("pads");
  const std::string automatic = text("auto_pad", "NOTSET");
  if (automatic == "VALID") return {};
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    const std::optional<Shape> x = shape(0);
    const bool line = is_line(shape(0));
    const bool known = x && (line || x->size() == 4) && (*x)[2] >= 0 && x->back() >= 0;
    if (!known && stride != Size2{1, 1}) {
      refuse("auto_pad with a stride, and height or width not known");
      return {};
    }
    const bool lower = automatic == "SAME_LOWER";
    if (std::ranges::any_of(stride, [](int64_t s) { return s <= 0; })) malformed("a stride of 0");
    const auto [top, bottom] = same_padding(known && !line ? (*x)[2] : 1, kernel[0], stride[0], dilation[0], lower);
    const auto [left, right] = same_padding(known ? x->back() : 0, kernel[1], stride[1], dilation[1], lower);
    return {top, left, bottom, right};
  }
  if (automatic != "NOTSET" && !automatic.empty()) malformed("unknown auto_pad '" + automatic + "'");
  if (!pads) return {};
  const bool line = is_line(shape(0));
  if (pads->size() != (line ? 2 : 4)) {
    refuse("pads for " + std::to_string(pads->size() / 2) + " dimensions; only lines and images are understood");
    return {};
  }
  if (std::ranges::any_of(*pads, [](int64_t pad) { return pad < 0; })) {
    refuse("negative padding");
    return {};
  }
  if (line) return {0, pads->front(), 0, pads->back()};
  return {(*pads)[0], (*pads)[1], (*pads)[2], (*pads)[3]};
}

const Tensor* NodeReader::fold(size_t i) {
  if (!has(i)) return nullptr;
  const Tensor* value = known_.value_of(inputs_[i]);
  const bool open = value && value->dtype() == DType::f64 &&
                    std::ranges::any_of(value->as<double>(), [](double number) { return std::isnan(number); });
  if (value && !open) return value;
  refuse("input " + std::to_string(i) + " is not constant");
  return nullptr;
}

std::vector<int64_t> NodeReader::fold_integers(size_t i) {
  const Tensor* value = fold(i);
  if (!value) return {};
  std::vector<int64_t> values;
  if (is_float(value->dtype())) {  // computed
    for (const double entry : value->to_doubles())
      values.push_back(static_cast<int64_t>(std::clamp(entry, -1e18, 1e18)));
  } else {
    values = value->to_ints();
  }
  for (const int64_t entry : values) checked("input " + std::to_string(i), entry);
  return values;
}

double NodeReader::fold_scalar(size_t i, double otherwise) {
  const Tensor* value = fold(i);
  if (!value) return otherwise;
  if (value->size() != 1) malformed("input " + std::to_string(i) + " is not a scalar");
  return value->to_doubles()[0];
}

void NodeReader::keep(size_t count) {
  inputs_.resize(std::min(inputs_.size(), count));
}

void NodeReader::arrange(const std::vector<int>& order) {
  std::vector<ValueId> arranged;
  for (const int i : order)
    arranged.push_back(i >= 0 && has(static_cast<size_t>(i)) ? inputs_[static_cast<size_t>(i)] : ValueId{});
  inputs_ = std::move(arranged);
}

ValueId NodeReader::step(const std::string& stem, Op op, std::vector<ValueId> inputs) {
  const std::string name = graph_.unique_name(proto_.output(0) + "." + stem);
  const ValueId made = graph_.add_value({.name = name, .dtype = dtype(0)});
  steps_.push_back({name, std::move(op), std::move(inputs), {made}, ""});
  rewritten_ = true;
  return made;
}

ValueId NodeReader::constant(const std::string& stem, const Tensor& value) {
  rewritten_ = true;
  return graph_.add_constant(proto_.output(0) + "." + stem, value);
}

ValueId NodeReader::scalar(const std::string& stem, double value) {
  return constant(stem, Tensor::filled({}, value, dtype(0)));
}

bool NodeReader::names_more_outputs() const {
  return std::ranges::any_of(more_outputs(), [](const std::string& name) { return !name.empty(); });
}

bool NodeReader::uses_more_outputs() const {
  return std::ranges::any_of(more_outputs(), [&](const std::string& name) {
    const ValueId id = name.empty() ? ValueId{} : graph_.find_value(name);
    const auto reads = [&](const Node& node) { return std::ranges::find(node.inputs, id) != node.inputs.end(); };
    return id &&
           (std::ranges::find(graph_.outputs, id) != graph_.outputs.end() || std::ranges::any_of(graph_.nodes, reads));
  });
}

std::vector<std::string> NodeReader::more_outputs() const {
  const auto& names = proto_.output();
  const auto most = static_cast<int>(std::min(most_outputs_, static_cast<size_t>(names.size())));
  return {names.begin() + most, names.end()};
}

void NodeReader::refuse(const std::string& why) {
  if (why_.empty()) why_ = why;
}

std::string NodeReader::refusal() const {
  if (!why_.empty()) return why_;
  if (uses_more_outputs()) return "more outputs are used than are understood";
  for (const AttributeProto& attribute : proto_.attribute()) {
    if (!asked_.contains(attribute.name())) return "attribute " + attribute.name() + " is not understood";
  }
  return "";
}

}  // namespace reducenet
