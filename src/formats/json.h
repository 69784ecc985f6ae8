#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "formats/naming.h"
#include "reducenet/error.h"

namespace reducenet {

/// Parses strictly: UTF-8, no key twice in an object, nesting bounded. Throws Error(bad_input) or nlohmann's
/// exceptions.
inline nlohmann::json parse_json(std::string_view text) {
  constexpr int kDeepest = 32;
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of each open object
  return nlohmann::json::parse(text, [&](int depth, Event event, nlohmann::json& value) {
    if (depth > kDeepest) throw Error(ErrorKind::bad_input, "JSON is nested too deeply");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second) {
      throw Error(ErrorKind::bad_input, "key \"" + value.get<std::string>() + "\" appears twice");
    }
    return true;
  });
}

/// naming(), for a body that reads JSON: nlohmann's exceptions become Error(bad_input).
template <class Body>
auto naming_json(const std::string& what, Body body) {
  return naming(what, [&] {
    try {
      return body();
    } catch (const nlohmann::json::exception& error) {
      const std::string_view text = error.what();  // "[json.exception.parse_error.101] parse error at…"
      throw Error(ErrorKind::bad_input, "JSON: " + std::string(text.substr(text.find("] ") + 2)));
    }
  });
}

}  // namespace reducenet
