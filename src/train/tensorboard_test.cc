#include "train/tensorboard.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <cstring>
#include <iterator>

namespace reducenet::train {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
}

// The head of every event file: a first record of 24 bytes is announced by 18 00… and a3 7f 4b 22.
TEST(Crc32c, Masked) {
  EXPECT_EQ(masked_crc32c(std::string("\x18\0\0\0\0\0\0\0", 8)), 0x224b7fa3U);
}

/// Reads fields of a protocol buffers message in order.
struct Reader {
  std::string_view bytes;

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes.front());
      bytes.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string_view take(size_t count) {
    const std::string_view taken = bytes.substr(0, count);
    EXPECT_EQ(taken.size(), count);
    bytes.remove_prefix(taken.size());
    return taken;
  }
  std::string_view text() { return take(varint()); }
  template <class T>
  T fixed() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
};

TEST(EventWriter, RecordsDecode) {
  std::string folder = testing::TempDir() + "events-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  {
    EventWriter writer(folder);
    const std::array<std::pair<std::string_view, double>, 2> values{{{"loss/train", 1.5}, {"accuracy", 0.25}}};
    writer.scalars(300, values);
  }
  const std::filesystem::path path = std::filesystem::directory_iterator(folder)->path();
  EXPECT_TRUE(path.filename().string().starts_with("events.out.tfevents."));
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  Reader file{bytes};

  std::vector<std::string_view> records;
  while (!file.bytes.empty()) {
    const std::string_view length = file.bytes.substr(0, 8);
    const auto size = file.fixed<uint64_t>();
    EXPECT_EQ(file.fixed<uint32_t>(), masked_crc32c(length));
    records.push_back(file.take(size));
    EXPECT_EQ(file.fixed<uint32_t>(), masked_crc32c(records.back()));
  }
  ASSERT_EQ(records.size(), 2U);

  Reader header{records[0]};
  EXPECT_EQ(header.varint(), 1U * 8 + 1);  // wall_time
  EXPECT_GT(header.fixed<double>(), 1.7e9);
  EXPECT_EQ(header.varint(), 3U * 8 + 2);  // file_version
  EXPECT_EQ(header.text(), "brain.Event:2");

  Reader event{records[1]};
  EXPECT_EQ(event.varint(), 1U * 8 + 1);
  event.fixed<double>();
  EXPECT_EQ(event.varint(), 2U * 8 + 0);  // step
  EXPECT_EQ(event.varint(), 300U);
  EXPECT_EQ(event.varint(), 5U * 8 + 2);  // summary
  Reader summary{event.text()};
  EXPECT_TRUE(event.bytes.empty());
  for (const auto& [tag, number] : {std::pair{"loss/train", 1.5F}, {"accuracy", 0.25F}}) {
    EXPECT_EQ(summary.varint(), 1U * 8 + 2);
    Reader value{summary.text()};
    EXPECT_EQ(value.varint(), 1U * 8 + 2);
    EXPECT_EQ(value.text(), tag);
    EXPECT_EQ(value.varint(), 2U * 8 + 5);
    EXPECT_EQ(value.fixed<float>(), number);
  }
  EXPECT_TRUE(summary.bytes.empty());
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace reducenet::train
