#include "train/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "reducenet/error.h"

namespace reducenet::train {
namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78U : 0);
    table[i] = crc;
  }
  return table;
}

/// The integer's bytes, least significant first.
template <class Int>
std::string little_endian(Int value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(Int); ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// Protocol buffers' wire format: a key (field·8 + type), then the value. Types: 0 varint, 1 eight bytes, 2
// length-delimited, 5 four bytes.
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string key(int field, int type) {
  return varint(static_cast<uint64_t>(field * 8 + type));
}
std::string text_field(int field, std::string_view text) {
  return key(field, 2) + varint(text.size()) + std::string(text);
}
std::string double_field(int field, double value) {
  return key(field, 1) + little_endian(std::bit_cast<uint64_t>(value));
}
std::string float_field(int field, float value) {
  return key(field, 5) + little_endian(std::bit_cast<uint32_t>(value));
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> table = crc_table();
  uint32_t crc = ~0U;
  for (const char byte : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

EventWriter::EventWriter(const std::filesystem::path& folder)
    : path_(folder /
            ("events.out.tfevents." + std::to_string(static_cast<int64_t>(now())) + "." + std::to_string(getpid()))),
      out_(path_, std::ios::binary) {
  event(text_field(3, "brain.Event:2"));
}

void EventWriter::scalars(int64_t step, std::span<const std::pair<std::string_view, double>> values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    summary += text_field(1, text_field(1, tag) + float_field(2, static_cast<float>(value)));
  }
  event(key(2, 0) + varint(static_cast<uint64_t>(step)) + text_field(5, summary));
}

void EventWriter::event(std::string_view payload) {
  const std::string data = double_field(1, now()) + std::string(payload);
  const std::string length = little_endian(static_cast<uint64_t>(data.size()));
  out_ << length << little_endian(masked_crc32c(length)) << data << little_endian(masked_crc32c(data)) << std::flush;
  if (!out_) throw Error(ErrorKind::io, "cannot write " + path_.string());
}

}  // namespace reducenet::train
