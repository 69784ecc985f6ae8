#include <nlohmann/json.hpp>

#include "reducenet/data.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

using Json = nlohmann::ordered_json;
using Metadata = std::map<std::string, std::string>;

[[noreturn]] void refuse(const std::string& key, const std::string& why) {
  throw Error(ErrorKind::bad_input, "metadata \"" + key + "\": " + why);
}

/// What Python prints of a dict with whole numbers as keys and strings as values, {0: 'cat', 1: "it's"}, as JSON; of
/// anything else something that is none.
std::string json_of_python(const std::string& text) {
  std::string json;
  char quote = 0;  // of the string that we are in
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
        json += '"';
      } else if (c == '"') {
        json += "\\\"";
      } else if (c == '\\' && i + 1 < text.size()) {
        const char next = text[++i];
        json += next == '\'' ? "'" : next == 'x' ? "\\u00" : std::string{'\\', next};
      } else {
        json += c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      json += '"';
    } else if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      const size_t end = std::min(text.find_first_not_of("0123456789", i), text.size());
      json += '"' + text.substr(i, end - i) + '"';
      i = end - 1;
    } else {
      json += c;
    }
  }
  return json;
}

Json parse(const Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) refuse(key, "missing");
  Json value = Json::parse(found->second, nullptr, false);
  if (value.is_discarded()) refuse(key, "not JSON: " + found->second.substr(0, 80));
  return value;
}

std::vector<double> numbers(const Metadata& metadata, const std::string& key) {
  const Json value = parse(metadata, key);
  if (!value.is_array() || value.empty()) refuse(key, "must be a list of numbers");
  std::vector<double> result;
  for (const Json& item : value) {
    if (!item.is_number()) refuse(key, "must be a list of numbers");
    result.push_back(item.get<double>());
  }
  return result;
}

int64_t positive(const Json& value, const std::string& key) {
  if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > 65536) {
    refuse(key, value.dump() + " is not a size");
  }
  return value.get<int64_t>();
}

std::string text(const Metadata& metadata, const std::string& key, std::initializer_list<const char*> allowed) {
  const auto found = metadata.find(key);
  const std::string value = found == metadata.end() ? *allowed.begin() : found->second;
  std::string list;
  for (const char* one : allowed) {
    if (value == one) return value;
    list += std::string(" ") + one;
  }
  refuse(key, "\"" + value.substr(0, 80) + "\" is none of" + list);
}

}  // namespace

void Preprocessing::to_metadata(Metadata& metadata) const {
  metadata["mean"] = Json(mean).dump();
  metadata["std"] = Json(std).dump();
  metadata["imgsz"] = Json{height, width}.dump();
  metadata["channels"] = std::to_string(channels);
  metadata["channel_order"] = channel_order;
  metadata["resize"] = resize;
}

std::optional<Preprocessing> Preprocessing::from_metadata(const Metadata& metadata) {
  if (!metadata.contains("mean") && !metadata.contains("std")) return std::nullopt;
  Preprocessing result;
  const Json size = parse(metadata, "imgsz");
  if (!size.is_array() || size.size() != 2) refuse("imgsz", "must be [height, width]");
  result.height = positive(size[0], "imgsz");
  result.width = positive(size[1], "imgsz");
  result.channels = positive(parse(metadata, "channels"), "channels");
  if (result.channels != 1 && result.channels != 3) refuse("channels", "must be 1 or 3");
  result.mean = numbers(metadata, "mean");
  result.std = numbers(metadata, "std");
  for (const auto& [key, values] : {std::pair("mean", &result.mean), std::pair("std", &result.std)}) {
    if (static_cast<int64_t>(values->size()) != result.channels) {
      refuse(key, std::to_string(values->size()) + " values for " + std::to_string(result.channels) + " channels");
    }
  }
  for (const double value : result.std) {
    if (!(value > 0)) refuse("std", "must be positive");
  }
  result.channel_order = text(metadata, "channel_order", {"RGB", "BGR"});
  result.resize = text(metadata, "resize", {"bilinear-antialias"});
  return result;
}

void set_class_names(Metadata& metadata, const std::vector<std::string>& names) {
  Json object = Json::object();
  for (size_t i = 0; i < names.size(); ++i) object[std::to_string(i)] = names[i];
  metadata["names"] = object.dump(-1, ' ', false, Json::error_handler_t::replace);  // names need not be UTF-8
}

std::vector<std::string> class_names(const Metadata& metadata) {
  if (!metadata.contains("names")) return {};
  Json object = Json::parse(metadata.at("names"), nullptr, false);
  if (object.is_discarded()) object = Json::parse(json_of_python(metadata.at("names")), nullptr, false);
  if (object.is_discarded()) object = parse(metadata, "names");  // says that it is none
  if (!object.is_object()) refuse("names", "must be an object of names by label");
  std::vector<std::string> names;
  for (size_t i = 0; i < object.size(); ++i) {
    const auto name = object.find(std::to_string(i));
    if (name == object.end()) refuse("names", "no name for label " + std::to_string(i));
    if (!name->is_string()) refuse("names", "the name for label " + std::to_string(i) + " is not text");
    names.push_back(name->get<std::string>());
  }
  return names;
}

}  // namespace reducenet
