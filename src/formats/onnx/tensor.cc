#include "formats/onnx/tensor.h"

#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "formats/naming.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

using onnx::TensorProto;

constexpr std::pair<int, DType> kTypes[] = {
    {TensorProto::FLOAT, DType::f32},     {TensorProto::DOUBLE, DType::f64}, {TensorProto::FLOAT16, DType::f16},
    {TensorProto::BFLOAT16, DType::bf16}, {TensorProto::INT8, DType::i8},    {TensorProto::UINT8, DType::u8},
    {TensorProto::INT16, DType::i16},     {TensorProto::UINT16, DType::u16}, {TensorProto::INT32, DType::i32},
    {TensorProto::UINT32, DType::u32},    {TensorProto::INT64, DType::i64},  {TensorProto::UINT64, DType::u64},
    {TensorProto::BOOL, DType::boolean}};

[[noreturn]] void malformed(const std::string& what) {
  throw Error(ErrorKind::bad_input, what);
}

/// Where a tensor's bytes lie outside the model.
struct Location {
  std::string path;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

Location location_of(const TensorProto& proto) {
  Location location;
  const auto number = [](const std::string& key, const std::string& text) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      malformed("external data with " + key + " '" + text + "'");
    }
    return value;
  };
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location.path = entry.value();
    if (entry.key() == "offset") location.offset = number("offset", entry.value());
    if (entry.key() == "length") location.length = number("length", entry.value());
  }
  return location;
}

/// The file `location` below `folder`, reached without "..", links or anything but folders on the way.
MappedFile map_below(const std::filesystem::path& folder, const std::string& location) {
  const std::filesystem::path relative(location);
  const auto refuse = [&](const std::string& why) { malformed("external data '" + location + "' " + why); };
  if (location.empty() || relative.is_absolute() || location.find('\0') != location.npos) {
    refuse("is not a path relative to the model");
  }
  std::filesystem::path path = folder.empty() ? "." : folder;
  for (const auto& part : relative) {
    if (part == "..") refuse("leaves the model's folder");
    path /= part;
    if (std::filesystem::is_symlink(std::filesystem::symlink_status(path))) refuse("is reached by a link");
  }
  return naming("external data", [&] { return map_file(path); });
}

/// Typed elements, narrowed from how protobuf carries them to how they are stored.
template <class Stored>
std::vector<std::byte> narrowed(const auto& field) {
  std::vector<std::byte> bytes(static_cast<size_t>(field.size()) * sizeof(Stored));
  for (int i = 0; i < field.size(); ++i) {
    const auto element = static_cast<Stored>(field[i]);
    std::memcpy(bytes.data() + static_cast<size_t>(i) * sizeof element, &element, sizeof element);
  }
  return bytes;
}

std::vector<std::byte> typed_elements(const TensorProto& proto, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return narrowed<float>(proto.float_data());
    case DType::f64:
      return narrowed<double>(proto.double_data());
    case DType::i64:
      return narrowed<int64_t>(proto.int64_data());
    case DType::u32:
      return narrowed<uint32_t>(proto.uint64_data());
    case DType::u64:
      return narrowed<uint64_t>(proto.uint64_data());
    case DType::i32:
      return narrowed<int32_t>(proto.int32_data());
    case DType::i16:
      return narrowed<int16_t>(proto.int32_data());
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      return narrowed<uint16_t>(proto.int32_data());
    case DType::i8:
      return narrowed<int8_t>(proto.int32_data());
    case DType::u8:
    case DType::boolean:
      return narrowed<uint8_t>(proto.int32_data());
    case DType::string:
      break;
  }
  malformed("strings where numbers were expected");
}

Shape dims_of(const TensorProto& proto) {
  Shape shape(proto.dims().begin(), proto.dims().end());
  for (const int64_t dim : shape) {
    if (dim < 0) malformed("a negative dimension in " + to_string(shape));
  }
  return shape;
}

uint64_t byte_count(const Shape& shape, size_t element) {
  int64_t size;
  if (__builtin_mul_overflow(element_count(shape), static_cast<int64_t>(element), &size)) {
    malformed("shape " + to_string(shape) + " has too many elements");
  }
  return static_cast<uint64_t>(size);
}

Tensor borrowed(DType dtype, const Shape& shape, std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % size_of(dtype) != 0) {
    return Tensor(dtype, shape, std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  return Tensor(dtype, shape, bytes, std::move(owner));
}

}  // namespace

std::optional<DType> dtype_of(int onnx_type) {
  for (const auto& [type, dtype] : kTypes) {
    if (type == onnx_type) return dtype;
  }
  return std::nullopt;
}

int onnx_type_of(DType dtype) {
  for (const auto& [type, candidate] : kTypes) {
    if (candidate == dtype) return type;
  }
  return TensorProto::STRING;
}

MappedFile TensorReader::locate(const TensorProto& proto, uint64_t size) {
  const Location location = location_of(proto);
  auto found = files_.find(location.path);
  if (found == files_.end()) found = files_.emplace(location.path, map_below(folder_, location.path)).first;
  MappedFile file = found->second;
  const uint64_t available = file.bytes.size();
  if (location.length.value_or(size) != size) {
    malformed("external data of " + std::to_string(*location.length) + " bytes where " + std::to_string(size) +
              " are needed");
  }
  if (location.offset > available || size > available - location.offset) {
    malformed("external data '" + location.path + "' has " + std::to_string(available) + " bytes; " +
              std::to_string(size) + " at " + std::to_string(location.offset) + " are needed");
  }
  file.bytes = file.bytes.subspan(location.offset, size);
  return file;
}

Tensor TensorReader::read(TensorProto& proto) {
  const std::optional<DType> dtype = dtype_of(proto.data_type());
  if (!dtype) malformed("element type " + std::to_string(proto.data_type()) + " is not a number");
  if (proto.has_segment()) throw Error(ErrorKind::unsupported, "a tensor in segments");
  const Shape shape = dims_of(proto);
  const uint64_t size = byte_count(shape, size_of(*dtype));
  if (proto.data_location() == TensorProto::EXTERNAL) {
    MappedFile file = locate(proto, size);
    return borrowed(*dtype, shape, file.bytes, std::move(file.owner));
  }
  if (proto.has_raw_data()) {
    const std::shared_ptr<const std::string> raw(proto.release_raw_data());
    return borrowed(*dtype, shape, std::as_bytes(std::span(*raw)), raw);  // Tensor compares the sizes
  }
  return Tensor(*dtype, shape, typed_elements(proto, *dtype));
}

void TensorReader::make_inline(TensorProto& tensor) {
  if (tensor.data_location() != TensorProto::EXTERNAL) return;
  naming("tensor '" + tensor.name() + "'", [&] {
    const std::optional<DType> dtype = dtype_of(tensor.data_type());
    if (!dtype) malformed("external data of element type " + std::to_string(tensor.data_type()));
    const MappedFile file = locate(tensor, byte_count(dims_of(tensor), size_of(*dtype)));
    budget_ -= static_cast<int64_t>(file.bytes.size());
    if (budget_ < 0) throw Error(ErrorKind::unsupported, "more than 2 GB of external data inside nodes");
    tensor.set_raw_data(file.bytes.data(), file.bytes.size());
    tensor.clear_external_data();
    tensor.clear_data_location();
  });
}

void TensorReader::make_inline(onnx::SparseTensorProto& tensor) {
  if (tensor.has_values()) make_inline(*tensor.mutable_values());
  if (tensor.has_indices()) make_inline(*tensor.mutable_indices());
}

void TensorReader::make_inline(onnx::NodeProto& node) {
  for (auto& attribute : *node.mutable_attribute()) {
    if (attribute.has_t()) make_inline(*attribute.mutable_t());
    if (attribute.has_g()) make_inline(*attribute.mutable_g());
    if (attribute.has_sparse_tensor()) make_inline(*attribute.mutable_sparse_tensor());
    for (auto& tensor : *attribute.mutable_tensors()) make_inline(tensor);
    for (auto& graph : *attribute.mutable_graphs()) make_inline(graph);
    for (auto& tensor : *attribute.mutable_sparse_tensors()) make_inline(tensor);
  }
}

void TensorReader::make_inline(onnx::GraphProto& graph) {
  for (auto& node : *graph.mutable_node()) make_inline(node);
  for (auto& tensor : *graph.mutable_initializer()) make_inline(tensor);
  for (auto& tensor : *graph.mutable_sparse_initializer()) make_inline(tensor);
}

TensorProto describe_tensor(const std::string& name, const Tensor& tensor) {
  TensorProto proto;
  proto.set_name(name);
  proto.set_data_type(onnx_type_of(tensor.dtype()));
  for (const int64_t dim : tensor.shape()) proto.add_dims(dim);
  return proto;
}

}  // namespace reducenet
