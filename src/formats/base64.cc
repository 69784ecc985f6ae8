#include "formats/base64.h"

#include <cstdint>

#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < group.size() ? static_cast<uint8_t>(group[k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += k <= group.size() ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string from_base64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    std::string_view group = text.substr(i, 4);
    if (i + 4 == text.size()) group = group.substr(0, group.find_last_not_of('=') + 1);
    uint32_t bits = 0;
    for (const char digit : group) {
      const size_t value = kDigits.find(digit);
      if (value == kDigits.npos) throw Error(ErrorKind::bad_input, "malformed base64");
      bits = bits << 6 | static_cast<uint32_t>(value);
    }
    bits <<= 6 * (4 - group.size());
    for (size_t k = 0; k + 1 < group.size(); ++k) bytes += static_cast<char>(bits >> (16 - 8 * k) & 255);
  }
  if (text.size() % 4 != 0 || to_base64(bytes) != text) throw Error(ErrorKind::bad_input, "malformed base64");
  return bytes;
}

}  // namespace reducenet
