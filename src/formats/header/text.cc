#include "formats/header/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace reducenet::header {

std::string identifier(std::string_view text) {
  static constexpr std::string_view kReserved[] = {
      "alignas",  "alignof",   "and",       "asm",      "auto",     "bool",      "break",     "case",      "catch",
      "char",     "class",     "compl",     "concept",  "const",    "consteval", "constexpr", "constinit", "continue",
      "decltype", "default",   "delete",    "do",       "double",   "else",      "enum",      "explicit",  "export",
      "extern",   "false",     "float",     "for",      "friend",   "goto",      "if",        "inline",    "int",
      "long",     "mutable",   "namespace", "new",      "noexcept", "not",       "nullptr",   "operator",  "or",
      "private",  "protected", "public",    "register", "requires", "return",    "short",     "signed",    "sizeof",
      "static",   "std",       "struct",    "switch",   "template", "this",      "throw",     "true",      "try",
      "typedef",  "typeid",    "typename",  "union",    "unsigned", "using",     "virtual",   "void",      "volatile",
      "while",    "xor"};
  std::string name;
  for (const char c : text) {
    const bool allowed = std::isalnum(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 128;
    if (!allowed && !name.empty() && name.back() == '_') continue;  // two in a row are reserved
    name += allowed ? c : '_';
  }
  while (!name.empty() && name.front() == '_') name.erase(name.begin());
  if (name.empty()) return "model";
  if (std::isdigit(static_cast<unsigned char>(name.front()))) name = "model_" + name;
  return std::ranges::find(kReserved, name) == std::end(kReserved) ? name : name + "_";
}

std::string literal(std::string_view bytes) {
  std::string text = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = byte >= 32 && byte < 127 && c != '"' && c != '\\' && c != '?';
    text += plain ? std::string(1, c) : fmt::format("\\{:03o}", byte);
  }
  return text + "\"";
}

std::string number(double value) {
  const auto rounded = static_cast<float>(value);
  if (std::isinf(rounded)) return rounded > 0 ? "kInfinity" : "-kInfinity";
  std::string text = fmt::format("{}", rounded);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text + "f";
}

std::string list(std::span<const int64_t> values) {
  return fmt::format("{{{}}}", fmt::join(values, ", "));
}

Literals as_literals(std::span<const std::byte> bytes) {
  constexpr size_t kLine = 115;  // characters of a row in a line of source
  Literals result;
  for (size_t row = 0; row < bytes.size(); row += kRowBytes) {
    ++result.rows;
    const size_t end = std::min(bytes.size(), row + kRowBytes);
    std::string digits;
    for (size_t at = row; at < end; at += 4) {
      uint32_t word = 0;
      for (size_t k = 0; k < 4 && at + k < end; ++k) word |= std::to_integer<uint32_t>(bytes[at + k]) << (8 * k);
      for (int k = 0; k < 5; ++k, word /= 85) {
        const uint32_t digit = word % 85;
        digits += digit == 28 ? '!' : digit == 57 ? 'x' : static_cast<char>('#' + digit);
      }
    }
    for (size_t at = 0; at < digits.size(); at += kLine) {
      result.text += "    \"" + digits.substr(at, kLine) + "\"";
      result.text += at + kLine < digits.size() ? "\n" : ",\n";
    }
  }
  return result;
}

}  // namespace reducenet::header
