#include "formats/native.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <unordered_map>

#include "formats/base64.h"
#include "formats/json.h"
#include "formats/op_fields.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

using nlohmann::json;

constexpr int kSchema = 1;
constexpr const char* kSchemaKey = "reducenet.schema";
constexpr const char* kGraphKey = "reducenet.graph";
constexpr const char* kFormatKey = "format";
constexpr const char* kFormat = "pt";

[[noreturn]] void malformed(const std::string& what) {
  throw Error(ErrorKind::bad_input, what);
}

template <class T>
concept HasSchema = requires(T& op) {
  Schema<T>::visit(op, [](const char*, auto&&) {});
};

// encode(field) and decode(json, field) agree for every type of field.

template <HasSchema T>
json encode(const T& op);
template <HasSchema T>
void decode(const json& row, T& op);

json encode(bool field) {
  return field;
}
json encode(int64_t field) {
  return field;
}
json encode(const std::string& field) {
  return field;
}
json encode(const Size2& field) {
  return field;
}
json encode(const std::vector<int64_t>& field) {
  return field;
}
json encode(Bytes<const std::string> field) {
  return to_base64(field.value);
}
json encode(Activation::Kind field) {
  return name_of(field);
}
json encode(DType field) {
  return to_string(field);
}
json encode(double field) {  // JSON has no infinities
  return std::isfinite(field) ? json(field) : json(std::isnan(field) ? "nan" : field < 0 ? "-inf" : "inf");
}
template <class E>
requires std::is_enum_v<E> json encode(E field) {
  return names_of(field)[static_cast<size_t>(field)];
}
template <HasSchema T>
json encode(const T& op) {
  json row = json::object();
  Schema<T>::visit(op, [&](const char* name, const auto& field) { row[name] = encode(field); });
  return row;
}

DType decode_dtype(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(DType::string); ++i) {
    if (to_string(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  }
  malformed("unknown dtype \"" + name + "\"");
}

void decode(const json& row, bool& field) {
  field = row.get<bool>();
}
void decode(const json& row, DType& field) {
  field = decode_dtype(row.get<std::string>());
}
void decode(const json& row, std::string& field) {
  field = row.get<std::string>();
}
void decode(const json& row, int64_t& field) {
  if (!row.is_number_integer() || (row.is_number_unsigned() && row.get<uint64_t>() > INT64_MAX)) {
    malformed(row.dump() + " where an integer was expected");
  }
  field = row.get<int64_t>();
}
void decode(const json& row, std::vector<int64_t>& field) {
  for (const json& entry : row.get_ref<const json::array_t&>()) decode(entry, field.emplace_back());
}
void decode(const json& row, Size2& field) {
  if (!row.is_array() || row.size() != 2) malformed(row.dump() + " where [height, width] was expected");
  for (size_t i = 0; i < 2; ++i) decode(row[i], field[i]);
}
void decode(const json& row, Bytes<std::string> field) {
  field.value = from_base64(row.get_ref<const std::string&>());
}
void decode(const json& row, Activation::Kind& field) {
  for (int i = 0; i <= static_cast<int>(Activation::Kind::bytes); ++i) {
    field = static_cast<Activation::Kind>(i);
    if (name_of(field) == row.get_ref<const std::string&>()) return;
  }
  malformed("unknown name " + row.dump());
}
void decode(const json& row, double& field) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (row == "inf" || row == "-inf") {
    field = row == "inf" ? infinity : -infinity;
  } else {
    field = row == "nan" ? std::numeric_limits<double>::quiet_NaN() : row.get<double>();
  }
}
template <class E>
requires std::is_enum_v<E>
void decode(const json& row, E& field) {
  const auto& names = names_of(field);
  const auto found = std::ranges::find(names, row.get_ref<const std::string&>());
  if (found == names.end()) malformed("unknown name " + row.dump());
  field = static_cast<E>(found - names.begin());
}
template <HasSchema T>
void decode(const json& row, T& op) {
  Schema<T>::visit(op,
                   [&](const char* name, auto&& field) { naming_json(name, [&] { decode(row.at(name), field); }); });
}

/// The alternative of Op whose schema has that name.
template <size_t I = 0>
Op decode_op(const std::string& name, const json& fields) {
  if constexpr (I == std::variant_size_v<Op>) {
    malformed("unknown op \"" + name + "\"");
  } else {
    using O = std::variant_alternative_t<I, Op>;
    if (Schema<O>::name != name) return decode_op<I + 1>(name, fields);
    O op;
    decode(fields, op);
    return op;
  }
}

json encode_value(const Value& value) {
  json row = {{"name", value.name}, {"dtype", to_string(value.dtype)}};
  if (value.shape) row["shape"] = *value.shape;
  if (value.constant) row["constant"] = true;
  if (!value.dim_names.empty()) row["dim_names"] = value.dim_names;
  return row;
}

json encode_graph(const Graph& graph) {
  const auto names = [&](const std::vector<ValueId>& ids) {
    json row = json::array();
    for (const ValueId id : ids) row.push_back(id ? json(graph[id].name) : json());
    return row;
  };
  json values = json::array(), nodes = json::array();
  for (const Value& value : graph.values) values.push_back(encode_value(value));
  for (const Node& node : graph.nodes) {
    json row = std::visit(
        [](const auto& op) {
          return json{{"op", Schema<std::decay_t<decltype(op)>>::name}, {"fields", encode(op)}};
        },
        node.op);
    row["name"] = node.name;
    row["inputs"] = names(node.inputs);
    row["outputs"] = names(node.outputs);
    if (!node.doc.empty()) row["doc"] = node.doc;
    nodes.push_back(std::move(row));
  }
  return {{"name", graph.name}, {"opset", graph.opset},          {"values", values},
          {"nodes", nodes},     {"inputs", names(graph.inputs)}, {"outputs", names(graph.outputs)}};
}

using TensorsByName = std::unordered_map<std::string, const Tensor*>;

Value decode_value(const json& row, const TensorsByName& tensors) {
  Value value;
  decode(row.at("name"), value.name);
  naming_json("value '" + value.name + "'", [&] {
    value.dtype = decode_dtype(row.at("dtype").get<std::string>());
    if (row.contains("shape")) decode(row["shape"], value.shape.emplace());
    if (row.contains("dim_names")) value.dim_names = row["dim_names"].get<std::vector<std::string>>();
    if (!row.contains("constant")) return;
    const auto tensor = tensors.find(value.name);
    if (tensor == tensors.end()) malformed("the constant has no tensor");
    value.constant = *tensor->second;
    if (value.dtype != value.constant->dtype() || (value.shape && *value.shape != value.constant->shape())) {
      malformed("the tensor has another dtype or shape");
    }
  });
  return value;
}

Graph decode_graph(const json& row, const NamedTensors& content) {
  TensorsByName tensors;
  for (const auto& [name, tensor] : content.tensors) tensors.emplace(name, &tensor);

  Graph graph;
  decode(row.at("name"), graph.name);
  decode(row.at("opset"), graph.opset);
  std::unordered_map<std::string, ValueId> ids;
  for (const json& entry : row.at("values")) {
    Value value = decode_value(entry, tensors);
    const std::string name = value.name;
    if (!ids.emplace(name, graph.add_value(std::move(value))).second) malformed("two values are named '" + name + "'");
  }
  const auto decode_ids = [&](const json& names) {
    std::vector<ValueId> list;
    for (const json& name : names.get_ref<const json::array_t&>()) {
      const auto found = name.is_null() ? ids.end() : ids.find(name.get<std::string>());
      if (found == ids.end() && !name.is_null()) malformed("there is no value " + name.dump());
      list.push_back(name.is_null() ? ValueId{} : found->second);
    }
    return list;
  };
  for (const json& entry : row.at("nodes")) {
    Node node;
    decode(entry.at("name"), node.name);
    naming_json("node '" + node.name + "'", [&] {
      node.op = decode_op(entry.at("op").get<std::string>(), entry.at("fields"));
      node.inputs = decode_ids(entry.at("inputs"));
      node.outputs = decode_ids(entry.at("outputs"));
      node.doc = entry.value("doc", "");
    });
    graph.nodes.push_back(std::move(node));
  }
  graph.inputs = decode_ids(row.at("inputs"));
  graph.outputs = decode_ids(row.at("outputs"));
  return graph;
}

}  // namespace

NamedTensors to_native(const Graph& graph) {
  check(graph);
  NamedTensors content{graph.metadata, {}};
  content.metadata.emplace(kFormatKey, kFormat);
  content.metadata[kSchemaKey] = std::to_string(kSchema);
  try {
    content.metadata[kGraphKey] = encode_graph(graph).dump();
  } catch (const json::exception& error) {
    malformed(std::string("a name is not UTF-8: ") + error.what());
  }
  for (const Value& value : graph.values) {
    if (value.constant) content.tensors.emplace_back(value.name, *value.constant);
  }
  return content;
}

Graph from_native(const NamedTensors& content, const std::string& file) {
  return naming_json(file, [&] {
    const auto schema = content.metadata.find(kSchemaKey), text = content.metadata.find(kGraphKey);
    if (schema == content.metadata.end() || text == content.metadata.end()) {
      malformed("safetensors without a ReduceNet graph in its metadata");
    }
    if (schema->second != std::to_string(kSchema)) {
      throw Error(ErrorKind::unsupported,
                  "written with schema " + schema->second + "; this version reads schema " + std::to_string(kSchema));
    }
    Graph graph = decode_graph(parse_json(text->second), content);
    graph.metadata = content.metadata;
    for (const char* key : {kSchemaKey, kGraphKey}) graph.metadata.erase(key);
    if (graph.metadata[kFormatKey] == kFormat) graph.metadata.erase(kFormatKey);
    check(graph);
    infer_shapes(graph);
    return graph;
  });
}

Graph load_native(const std::filesystem::path& path) {
  return from_native(read_safetensors(path), path.string());
}

void save_native(const Graph& graph, const std::filesystem::path& path) {
  write_safetensors(naming_json(path.string(), [&] { return to_native(graph); }), path);
}

}  // namespace reducenet
