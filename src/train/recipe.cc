#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>
#include <sstream>
#include <utility>

#include "reducenet/error.h"
#include "reducenet/op.h"
#include "train/recipe_keys.h"

namespace reducenet::train {
namespace {

std::string full_name(const Key& key) {
  return std::string(key.section) + "." + std::string(key.name);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t end = 0; end != text.npos && !text.empty(); text.remove_prefix(std::min(text.size(), end + 1))) {
    end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
  }
  return parts;
}

/// Levenshtein's distance: insertions, deletions and substitutions from a to b.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, diagonal + (a[i] != b[j])}));
    }
  }
  return row.back();
}

/// The key of that very name in another section before one that is only spelt alike.
const Key& nearest_key(std::string_view name) {
  const std::string_view last = name.substr(name.rfind('.') + 1);
  return *std::ranges::min_element(
      keys(), {}, [&](const Key& key) { return std::pair(key.name != last, edit_distance(full_name(key), name)); });
}

[[noreturn]] void unknown_key(std::string_view name, ErrorKind kind, const std::string& where) {
  throw Error(kind,
              where + "unknown key '" + std::string(name) + "'; the nearest is '" + full_name(nearest_key(name)) + "'");
}

/// By name ("optimizer.lr").
const Key& find_key(std::string_view name, ErrorKind kind, const std::string& where) {
  const auto found = std::ranges::find(keys(), name, full_name);
  if (found == keys().end()) unknown_key(name, kind, where);
  return *found;
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorKind::usage, why);
}

template <class T>
T number(const toml::node& node, const Key& key) {
  const std::optional<T> value = node.value<T>();
  if (!value || node.is_boolean()) refuse(std::is_same_v<T, double> ? "must be a number" : "must be a whole number");
  if (!(static_cast<double>(*value) >= key.least && static_cast<double>(*value) <= key.most)) {
    std::ostringstream range;
    const bool open = key.most >= 1e18 && static_cast<double>(*value) < key.least;
    range << "must be " << (open ? "at least " : "in ") << key.least;
    if (!open) range << " to " << key.most;
    refuse(range.str());
  }
  return *value;
}

std::string text(const toml::node& node) {
  if (!node.is_string()) refuse("must be a string");
  return **node.as_string();
}

template <class T, class Read>
void read_list(std::vector<T>& list, const toml::node& node, Read read) {
  if (!node.is_array()) refuse("must be a list");
  list.clear();
  for (const toml::node& element : *node.as_array()) list.push_back(read(element));
}

/// Sets the field; throws Error(usage) that says only what is wrong with the value.
void assign(const Key& key, const toml::node& node, Recipe& recipe) {
  std::visit(Overloaded{[&](bool* value) {
                          if (!node.is_boolean()) refuse("must be true or false");
                          *value = **node.as_boolean();
                        },
                        [&](int64_t* value) { *value = number<int64_t>(node, key); },
                        [&](double* value) { *value = number<double>(node, key); },
                        [&](std::string* value) { *value = text(node); },
                        [&](std::vector<int64_t>* list) {
                          read_list(*list, node, [&](const toml::node& e) { return number<int64_t>(e, key); });
                        },
                        [&](std::vector<double>* list) {
                          read_list(*list, node, [&](const toml::node& e) { return number<double>(e, key); });
                        },
                        [&](std::vector<std::string>* list) { read_list(*list, node, text); },
                        [&](Activation* value) { *value = activation_named(text(node)); },
                        [&](Choice choice) {
                          const std::vector<std::string> names = split(choice.names, '|');
                          const auto found = std::ranges::find(names, text(node));
                          if (found == names.end()) refuse("must be one of " + std::string(choice.names));
                          *choice.value = static_cast<uint8_t>(found - names.begin());
                        }},
             key.field(recipe));
}

std::string trimmed(std::string_view text, std::string_view dropped) {
  const size_t first = text.find_first_not_of(dropped), last = text.find_last_not_of(dropped);
  return first == text.npos ? std::string() : std::string(text.substr(first, last - first + 1));
}

/// The value of "v" in a table, from what is written after `--set key=`: TOML, or strings without quotes and lists
/// without brackets.
toml::table value_table(const Key& key, std::string_view value) {
  Recipe recipe;
  const Field field = key.field(recipe);
  const auto is = [&]<class... T>(std::type_identity<T>...) { return (std::holds_alternative<T>(field) || ...); };
  if (is(std::type_identity<std::string*>{}, std::type_identity<Activation*>{}, std::type_identity<Choice>{})) {
    return toml::table{{"v", trimmed(value, "\"'")}};
  }
  if (is(std::type_identity<std::vector<std::string>*>{})) {
    toml::array list;
    for (const std::string& part : split(trimmed(value, "[] "), ',')) list.push_back(trimmed(part, "\"' "));
    return toml::table{{"v", list}};
  }
  const bool list = is(std::type_identity<std::vector<int64_t>*>{}, std::type_identity<std::vector<double>*>{});
  try {
    return toml::parse(list ? "v = [" + trimmed(value, "[] ") + "]" : "v = " + std::string(value));
  } catch (const toml::parse_error&) {
    return toml::table{{"v", value}};  // a word; its type is refused by name
  }
}

template <class T>
std::string printed(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_same_v<T, double>) {
    out << fmt::format("{}", value);  // the shortest text that reads back as the same number
  } else {
    out << toml::value<T>(value);
  }
  return out.str();
}

template <class T>
std::string printed(const std::vector<T>& list) {
  std::string out;
  for (const T& element : list) out += (out.empty() ? "" : ", ") + printed(element);
  return "[" + out + "]";
}

/// The value as TOML.
std::string value_of(const Key& key, const Recipe& recipe) {
  Recipe copy = recipe;
  return std::visit(Overloaded{[](auto* value) { return printed(*value); },
                               [](Activation* value) { return printed(std::string(name_of(value->kind))); },
                               [](Choice choice) { return printed(split(choice.names, '|')[*choice.value]); }},
                    key.field(copy));
}

}  // namespace

Recipe parse_recipe(std::string_view toml, std::string_view file) {
  const std::string where = std::string(file) + ": ";
  Recipe recipe;
  try {
    const toml::table table = toml::parse(toml, file);
    for (const auto& [section, content] : table) {
      if (!content.is_table()) unknown_key(section.str(), ErrorKind::bad_input, where);
      for (const auto& [name, value] : *content.as_table()) {
        const std::string full = std::string(section.str()) + "." + std::string(name.str());
        const Key& key = find_key(full, ErrorKind::bad_input, where);
        try {
          assign(key, value, recipe);
        } catch (const Error& error) {
          throw Error(ErrorKind::bad_input, where + full + " " + error.what());
        }
      }
    }
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::bad_input, std::string(file) + ":" + std::to_string(error.source().begin.line) + ": " +
                                          std::string(error.description()));
  }
  return recipe;
}

Recipe load_recipe(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string toml{std::istreambuf_iterator<char>(in), {}};
  if (!in.is_open() || in.bad() || std::filesystem::is_directory(path)) {
    throw Error(ErrorKind::io, "cannot read the recipe " + path.string());
  }
  return parse_recipe(toml, path.string());
}

void set(Recipe& recipe, std::string_view assignment) {
  const std::string where = "--set " + std::string(assignment) + ": ";
  const size_t equals = assignment.find('=');
  if (equals == assignment.npos) throw Error(ErrorKind::usage, where + "expected section.key=value");
  const Key& key = find_key(assignment.substr(0, equals), ErrorKind::usage, where);
  try {
    assign(key, *value_table(key, assignment.substr(equals + 1)).get("v"), recipe);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, where + full_name(key) + " " + error.what());
  }
}

std::string print(const Recipe& recipe) {
  std::string out;
  std::string_view section;
  for (const Key& key : keys()) {
    if (key.section != section) out += (out.empty() ? "[" : "\n[") + std::string(section = key.section) + "]\n";
    out += std::string(key.name) + " = " + value_of(key, recipe) + "\n";
  }
  return out;
}

std::vector<RecipeKey> recipe_keys() {
  std::vector<RecipeKey> list;
  Recipe defaults;
  for (const Key& key : keys()) {
    std::string help(key.help);
    const Field field = key.field(defaults);
    if (const auto* choice = std::get_if<Choice>(&field)) help += ": " + std::string(choice->names);
    list.push_back({full_name(key), std::move(help), value_of(key, defaults)});
  }
  return list;
}

}  // namespace reducenet::train
