#include "formats/header/packing.h"

#include <algorithm>

namespace reducenet::header {

std::vector<Range> ranges_of(const Conv2d& op, const Shape& weight, int64_t block) {
  const int64_t outputs = weight[0], per_group = weight[1], out_per_group = outputs / op.groups;
  std::vector<Range> ranges;
  int64_t at = 0;
  for (int64_t o = 0; o < outputs; o += kBlock) {
    const int64_t last = std::min(o + kBlock, outputs) - 1;
    const int64_t first = o / out_per_group * per_group / block;
    const int64_t channels = (last / out_per_group + 1) * per_group - first * block;
    ranges.push_back({first, channels, at});
    at += channels * weight[2] * weight[3] * kBlock;
  }
  return ranges;
}

std::vector<float> pack_conv(const Step& step, const std::vector<Range>& ranges, int64_t block) {
  const Conv2d& op = std::get<Conv2d>(step.op);
  const Shape& w = step.weight_shape;
  const int64_t taps = w[2] * w[3], out_per_group = w[0] / op.groups;
  const Range& last = ranges.back();
  std::vector<float> packed(static_cast<size_t>(last.weights + last.channels * taps * kBlock), 0.0f);
  for (int64_t o = 0; o < w[0]; ++o) {
    const Range& range = ranges[static_cast<size_t>(o / kBlock)];
    const int64_t lowest = o / out_per_group * w[1] - range.first * block;  // the group's first channel in the range
    for (int64_t i = 0; i < w[1]; ++i) {
      const int64_t c = lowest + i, row = c / block, channels = std::min(block, range.channels - row * block);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t at = row * block * taps + tap * channels + c % block;
        packed[static_cast<size_t>(range.weights + at * kBlock + o % kBlock)] =
            static_cast<float>(step.weight[static_cast<size_t>((o * w[1] + i) * taps + tap)]);
      }
    }
  }
  return packed;
}

std::vector<float> pack_depthwise(const Step& step) {
  const Shape& w = step.weight_shape;
  const int64_t taps = w[2] * w[3];
  std::vector<float> packed(static_cast<size_t>(round_up(w[0], kBlock) * taps), 0.0f);
  for (int64_t o = 0; o < w[0]; ++o) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      packed[static_cast<size_t>((o / kBlock * taps + tap) * kBlock + o % kBlock)] =
          static_cast<float>(step.weight[static_cast<size_t>(o * taps + tap)]);
    }
  }
  return packed;
}

std::vector<float> pack_affine(const Step& step) {
  const int64_t outputs = step.weight_shape[0], inputs = step.weight_shape[1];
  std::vector<float> packed(static_cast<size_t>(round_up(outputs, kBlock) * inputs), 0.0f);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t k = 0; k < inputs; ++k) {
      packed[static_cast<size_t>((o / kBlock * inputs + k) * kBlock + o % kBlock)] =
          static_cast<float>(step.weight[static_cast<size_t>(o * inputs + k)]);
    }
  }
  return packed;
}

std::vector<float> pack_bias(const Step& step, int64_t channels) {
  std::vector<float> bias(static_cast<size_t>(channels), 0.0f);
  for (size_t c = 0; c < step.bias.size(); ++c) bias[c] = static_cast<float>(step.bias[c]);
  return bias;
}

}  // namespace reducenet::header
