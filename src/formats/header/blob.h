#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace reducenet::header {

/// The numbers of a header, as they stand in its text: floats; bfloat16 where that is exact; 8-bit integers with a
/// scale an output channel. All are floats once decoded, on cache lines.
class Blob {
 public:
  /// Where the numbers will stand: "w + 128".
  std::string add(const std::vector<float>& floats);
  /// The same for weights [blocks][…][16]: two bytes each when every one is a bfloat16.
  std::string add_weights(const std::vector<float>& weights);
  /// Integers in [−127, 127], [blocks][…][16], blocks of 16 channels beginning at `starts`; decoded, they are times the
  /// channel's scale, of which there are 16 for each block.
  std::string add_bytes(const std::vector<float>& integers, const std::vector<int64_t>& starts,
                        const std::vector<float>& scales);

  /// Bytes in the text, and floats once decoded.
  int64_t stored() const;
  int64_t decoded() const;
  /// C++: kText, struct Weights, w = weights(), h and q beside it.
  std::string source() const;
  std::string pointers() const;

 private:
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
  std::vector<int8_t> bytes_;
  struct Segment {
    int64_t first, count, scales;
  };
  std::vector<Segment> segments_;
};

}  // namespace reducenet::header
