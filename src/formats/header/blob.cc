#include "formats/header/blob.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/header/text.h"
#include "reducenet/tensor.h"
#include "runtime/step.h"

namespace reducenet::header {
namespace {

/// Makes room on a cache line of decoded floats; where that is.
template <class T>
int64_t align(std::vector<T>& values) {
  values.resize(static_cast<size_t>(round_up(static_cast<int64_t>(values.size()), kBlock)));
  return static_cast<int64_t>(values.size());
}
template <class T>
int64_t aligned(const std::vector<T>& values) {
  return round_up(static_cast<int64_t>(values.size()), kBlock);
}

template <class T>
void append(std::vector<std::byte>& to, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  to.insert(to.end(), bytes.begin(), bytes.end());
  to.resize(to.size() + static_cast<size_t>(aligned(values) * static_cast<int64_t>(sizeof(T))) - bytes.size());
}

// 0 literals, 1 rows, 2 characters of a row and its end, 3 digits of a row, 4 decoded floats, 5 words of floats, 6 of
// halves, 7 of bytes, 8 segments of the bytes
constexpr std::string_view kSource = R"(
// Four bytes in five characters: digits of base 85, the lowest first.
inline constexpr char kText[{1}][{2}] = {{
{0}}};
inline std::uint32_t word(Size i) noexcept {{
  const char* digits = kText[i * 5 / {3}] + i * 5 % {3};
  std::uint32_t value = 0;
  for (int k = 5; k-- > 0;) {{
    const char c = digits[k];
    value = value * 85 + static_cast<std::uint32_t>(c == '!' ? 28 : c == 'x' ? 57 : c - '#');
  }}
  return value;
}}
inline float as_float(std::uint32_t bits) noexcept {{
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}}

/// Floats; then bfloat16, two in a word; then 8-bit integers, four in a word, times the scale of their output channel.
struct Weights {{
  alignas(64) float data[{4}];
  Weights() noexcept {{
    constexpr Size floats = {5}, halves = {6}, bytes = {7};
    float* to = data;
    for (Size i = 0; i < floats; ++i) *to++ = as_float(word(i));
    for (Size i = floats; i < floats + halves; ++i) {{
      *to++ = as_float(word(i) << 16);
      *to++ = as_float(word(i) & 0xffff0000u);
    }}
    float* const q = to;
    for (Size i = floats + halves; i < floats + halves + bytes; ++i) {{
      for (int k = 0; k < 4; ++k) *to++ = static_cast<float>(static_cast<std::int8_t>(word(i) >> (8 * k) & 255));
    }}
    (void)q;
{8}  }}
}};
inline const float* weights() noexcept {{
  static const Weights decoded;
  return decoded.data;
}}
)";

}  // namespace

std::string Blob::add(const std::vector<float>& floats) {
  const int64_t at = align(floats_);
  floats_.insert(floats_.end(), floats.begin(), floats.end());
  return fmt::format("w + {}", at);
}

std::string Blob::add_weights(const std::vector<float>& weights) {
  const bool exact = std::ranges::all_of(weights, [](float w) { return bfloat16_to_float(float_to_bfloat16(w)) == w; });
  if (!exact) return add(weights);
  const int64_t at = align(halves_);
  for (const float w : weights) halves_.push_back(float_to_bfloat16(w));
  return fmt::format("h + {}", at);
}

std::string Blob::add_bytes(const std::vector<float>& integers, const std::vector<int64_t>& starts,
                            const std::vector<float>& scales) {
  const int64_t scale = align(floats_);
  floats_.insert(floats_.end(), scales.begin(), scales.end());
  const int64_t at = align(bytes_);
  for (const float q : integers) bytes_.push_back(static_cast<int8_t>(q));
  for (size_t block = 0; block < starts.size(); ++block) {
    const int64_t end = block + 1 < starts.size() ? starts[block + 1] : static_cast<int64_t>(integers.size());
    segments_.push_back({at + starts[block], end - starts[block], scale + static_cast<int64_t>(block) * kBlock});
  }
  return fmt::format("q + {}", at);
}

int64_t Blob::decoded() const {
  return std::max<int64_t>(aligned(floats_) + aligned(halves_) + aligned(bytes_), 1);
}

int64_t Blob::stored() const {
  return aligned(floats_) * 4 + aligned(halves_) * 2 + aligned(bytes_);
}

std::string Blob::source() const {
  std::vector<std::byte> all;
  append(all, floats_);
  append(all, halves_);
  append(all, bytes_);
  if (all.empty()) all.resize(4);
  const Literals literals = as_literals(all);
  std::string scaling;
  for (const Segment& s : segments_) scaling += fmt::format("{{{}, {}, {}}}, ", s.first, s.count, s.scales);
  if (!scaling.empty()) {
    scaling = "    static constexpr Size segments[][3] = {" + scaling +
              "};  // first, count, scales\n"
              "    for (const Size(&s)[3] : segments) scale_lanes(q + s[0], s[1], data + s[2]);\n";
  }
  return fmt::format(kSource, literals.text, literals.rows, kRowCharacters + 1, kRowCharacters, decoded(),
                     aligned(floats_), aligned(halves_) / 2, aligned(bytes_) / 4, scaling);
}

std::string Blob::pointers() const {
  return fmt::format(
      "  const float* const w = weights();\n  const float* const h = w + {};\n  const float* const q = h + {};\n"
      "  (void)w, (void)h, (void)q;\n",
      aligned(floats_), aligned(halves_));
}

}  // namespace reducenet::header
