#include "formats/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "formats/file.h"
#include "formats/json.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

using nlohmann::json;

constexpr uint64_t kLongestHeader = 100'000'000;
constexpr std::string_view kMetadata = "__metadata__";

constexpr std::pair<std::string_view, DType> kDTypes[] = {
    {"F64", DType::f64}, {"F32", DType::f32}, {"F16", DType::f16},     {"BF16", DType::bf16}, {"I64", DType::i64},
    {"I32", DType::i32}, {"I16", DType::i16}, {"I8", DType::i8},       {"U64", DType::u64},   {"U32", DType::u32},
    {"U16", DType::u16}, {"U8", DType::u8},   {"BOOL", DType::boolean}};

DType dtype_named(const std::string& name) {
  for (const auto& [text, dtype] : kDTypes) {
    if (text == name) return dtype;
  }
  throw Error(ErrorKind::bad_input, "unknown dtype \"" + name + "\"");
}

std::string name_of(DType dtype) {
  for (const auto& [text, candidate] : kDTypes) {
    if (candidate == dtype) return std::string(text);
  }
  throw Error(ErrorKind::unsupported, "safetensors has no dtype " + std::string(to_string(dtype)));
}

int64_t natural(const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
    throw Error(ErrorKind::bad_input, value.dump() + " where a count was expected");
  }
  return value.get<int64_t>();
}

/// A tensor's row of the header, checked by itself.
struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  int64_t begin, end;
};

Entry parse_entry(const std::string& name, const json& row) {
  if (!row.is_object() || row.size() != 3) throw Error(ErrorKind::bad_input, "expected dtype, shape and data_offsets");
  Entry entry{name, dtype_named(row.at("dtype").get<std::string>()), {}, 0, 0};
  for (const json& dim : row.at("shape").get_ref<const json::array_t&>()) entry.shape.push_back(natural(dim));
  const json& offsets = row.at("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2) throw Error(ErrorKind::bad_input, "expected two data_offsets");
  entry.begin = natural(offsets[0]);
  entry.end = natural(offsets[1]);
  int64_t size;
  if (__builtin_mul_overflow(element_count(entry.shape), static_cast<int64_t>(size_of(entry.dtype)), &size) ||
      entry.end - entry.begin != size) {
    throw Error(ErrorKind::bad_input, "data_offsets " + offsets.dump() + " do not fit " +
                                          to_string(entry.dtype).data() + " " + to_string(entry.shape));
  }
  return entry;
}

/// The elements where they lie, or copied when they are not aligned for their type.
Tensor tensor_at(const Entry& entry, std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % size_of(entry.dtype) == 0) {
    return Tensor(entry.dtype, entry.shape, bytes, owner);
  }
  return Tensor(entry.dtype, entry.shape, std::vector<std::byte>(bytes.begin(), bytes.end()));
}

NamedTensors parse(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) throw Error(ErrorKind::bad_input, "too short for a safetensors file");
  std::memcpy(&length, bytes.data(), sizeof length);
  bytes = bytes.subspan(sizeof length);
  if (length > kLongestHeader || length > bytes.size()) {
    throw Error(ErrorKind::bad_input, "not a safetensors file, or truncated: a header of " + std::to_string(length) +
                                          " bytes, but " + std::to_string(bytes.size()) + " follow");
  }
  const json header = parse_json({reinterpret_cast<const char*>(bytes.data()), length});
  if (!header.is_object()) throw Error(ErrorKind::bad_input, "the header is no JSON object");
  const auto data = bytes.subspan(length);

  NamedTensors content;
  std::vector<Entry> entries;
  for (const auto& [key, row] : header.items()) {
    if (key == kMetadata) {
      content.metadata = row.get<std::map<std::string, std::string>>();
    } else {
      entries.push_back(naming_json("tensor \"" + key + "\"", [&] { return parse_entry(key, row); }));
    }
  }
  std::ranges::sort(entries, {}, [](const Entry& entry) { return std::pair(entry.begin, entry.end); });
  int64_t offset = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != offset || entry.end > std::ssize(data)) {
      throw Error(ErrorKind::bad_input, "tensor \"" + entry.name + "\": bytes " + std::to_string(entry.begin) + " to " +
                                            std::to_string(entry.end) +
                                            (entry.begin < offset   ? " overlap the tensor before"
                                             : entry.begin > offset ? " leave a hole before them"
                                                                    : " lie outside the file (truncated?)"));
    }
    const auto elements = data.subspan(static_cast<size_t>(offset), static_cast<size_t>(entry.end - offset));
    content.tensors.emplace_back(entry.name, tensor_at(entry, elements, owner));
    offset = entry.end;
  }
  if (offset != std::ssize(data)) {
    throw Error(ErrorKind::bad_input, std::to_string(std::ssize(data) - offset) + " bytes after the last tensor");
  }
  return content;
}

}  // namespace

NamedTensors parse_safetensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                               const std::string& file) {
  return naming_json(file, [&] { return parse(bytes, owner); });
}

NamedTensors read_safetensors(const std::filesystem::path& path) {
  MappedFile file = map_file(path);
  return parse_safetensors(file.bytes, std::move(file.owner), path.string());
}

void write_safetensors(const NamedTensors& content, const std::filesystem::path& path) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  for (const auto& named : content.tensors) order.push_back(&named);
  std::ranges::stable_sort(order, std::greater(), [](const auto* named) { return size_of(named->second.dtype()); });

  std::string text = naming_json(path.string(), [&] {
    json header = json::object();
    if (!content.metadata.empty()) header[kMetadata] = content.metadata;
    size_t offset = 0;
    for (const auto* named : order) {
      const auto& [name, tensor] = *named;
      if (name == kMetadata || header.contains(name)) {
        throw Error(ErrorKind::bad_input, "tensor name \"" + name + "\" is taken");
      }
      const size_t end = offset + tensor.bytes().size();
      header[name] = {{"dtype", name_of(tensor.dtype())}, {"shape", tensor.shape()}, {"data_offsets", {offset, end}}};
      offset = end;
    }
    return header.dump();
  });
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();

  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(text)));
  for (const auto* named : order) file.write(named->second.bytes());
  file.commit();
}

}  // namespace reducenet
