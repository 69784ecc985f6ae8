#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace reducenet::train {

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78) of the bytes.
uint32_t crc32c(std::string_view bytes);
/// TFRecord's mask: rotated right by 15 bits, plus 0xa282ead8.
uint32_t masked_crc32c(std::string_view bytes);

/// Writes scalars to a TensorBoard event file, "events.out.tfevents.SECONDS.PID" in a folder. Format: TFRecords
/// (length, masked CRC of the length, data, masked CRC of the data) that hold tensorflow.Event messages.
class EventWriter {
 public:
  explicit EventWriter(const std::filesystem::path& folder);
  void scalars(int64_t step, std::span<const std::pair<std::string_view, double>> values);

 private:
  void event(std::string_view payload);
  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace reducenet::train
