#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Pieces of C++ source.

namespace reducenet::header {

/// A name that C++ accepts as a namespace: other characters become '_', keywords and leading digits get one.
std::string identifier(std::string_view text);
/// A quoted string literal of those bytes.
std::string literal(std::string_view bytes);
/// The float, exactly: "0.5f", "kInfinity".
std::string number(double value);
/// "{1, 2, 3}"
std::string list(std::span<const int64_t> values);

/// Bytes as rows of string literals, four bytes in five characters of base 85; the tail is padded with zeros.
///   digit d is the character '#' + d, but '!' for 28 ('?', of trigraphs) and 'x' for 57 ('\').
/// No literal is longer than the 65,536 characters that every compiler must take. `rows` counts the literals.
inline constexpr size_t kRowBytes = 13107 * 4, kRowCharacters = 13107 * 5;
struct Literals {
  std::string text;
  size_t rows = 0;
};
Literals as_literals(std::span<const std::byte> bytes);

}  // namespace reducenet::header
