#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "reducenet/error.h"
#include "reducenet/quantize.h"

namespace reducenet {
namespace {

constexpr const char* kKey = "reducenet.int8";  // lines "scale zero name"

std::string shortest(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace

void set_quantization(Graph& graph, const Quantization& quantization) {
  std::string text;
  for (const auto& [name, as] : quantization) {
    text += shortest(as.scale) + " " + std::to_string(as.zero) + " " + name + "\n";
  }
  graph.metadata.erase(kKey);
  if (!quantization.empty()) graph.metadata[kKey] = text;
}

std::optional<Quantization> quantization(const Graph& graph) {
  const auto found = graph.metadata.find(kKey);
  if (found == graph.metadata.end()) return std::nullopt;
  Quantization result;
  std::istringstream lines(found->second);
  for (std::string line; std::getline(lines, line);) {
    TensorScale as;
    const char* const end = line.data() + line.size();
    const auto scale = std::from_chars(line.data(), end, as.scale);
    const auto zero = scale.ec == std::errc{} && scale.ptr < end
                          ? std::from_chars(scale.ptr + 1, end, as.zero)
                          : std::from_chars_result{end, std::errc::invalid_argument};
    if (zero.ec != std::errc{} || zero.ptr + 1 >= end || !(as.scale > 0) || !std::isfinite(as.scale) || as.zero < 0 ||
        as.zero > 255) {
      throw Error(ErrorKind::bad_input,
                  std::string("metadata \"") + kKey + "\": not a scale, a zero and a name: " + line.substr(0, 80));
    }
    result[std::string(zero.ptr + 1, end)] = as;
  }
  return result;
}

ByteLayer in_bytes(std::span<const double> weight, std::span<const double> bias, int64_t outputs, double x) {
  constexpr double kMost = 1 << 30;
  const size_t row = weight.size() / static_cast<size_t>(std::max<int64_t>(outputs, 1));
  ByteLayer layer;
  for (size_t o = 0; o < static_cast<size_t>(outputs); ++o) {
    const double b = bias.empty() ? 0 : bias[o];
    double most = 0;
    for (const double w : weight.subspan(o * row, row)) most = std::max(most, std::abs(w));
    const auto scale = static_cast<float>(std::max(most / 127, std::abs(b) / (x * kMost)));
    const float s = scale > 0 ? scale : 1;
    layer.scales.push_back(s);
    for (const double w : weight.subspan(o * row, row)) {
      layer.weight.push_back(static_cast<int8_t>(std::clamp(std::nearbyint(w / s), -127.0, 127.0)));
    }
    layer.bias.push_back(static_cast<int32_t>(std::clamp(std::nearbyint(b / (x * s)), -kMost, kMost)));
  }
  return layer;
}

}  // namespace reducenet
