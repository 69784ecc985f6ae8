#include <algorithm>
#include <numeric>
#include <utility>

#include "data/mix.h"
#include "reducenet/data.h"

namespace reducenet {

uint64_t random_bits(uint64_t seed, uint64_t epoch, uint64_t sample) {
  return mix(mix(mix(seed) ^ epoch) ^ sample);
}

HoldOut hold_out(const ImageSet& images, int64_t count, uint64_t seed) {
  const auto total = static_cast<int64_t>(images.count());
  if (count == kTenth) count = std::min<int64_t>((total + 9) / 10, 5000);
  std::vector<int32_t> order(static_cast<size_t>(total));
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int32_t i) {
    return std::pair(images.labels[static_cast<size_t>(i)], random_bits(seed, 0, static_cast<uint64_t>(i)));
  };
  std::ranges::sort(order, {}, key);
  // Every (total/count)-th image of a list sorted by class: exactly `count`, spread evenly over the classes.
  HoldOut split;
  for (int64_t k = 0; k < total; ++k) {
    const bool chosen = (k + 1) * count / total > k * count / total;
    (chosen ? split.validation : split.training).push_back(order[static_cast<size_t>(k)]);
  }
  std::ranges::sort(split.training);
  std::ranges::sort(split.validation);
  return split;
}

std::vector<int32_t> evenly_spaced(std::span<const int32_t> indices, int64_t count) {
  const auto total = static_cast<int64_t>(indices.size());
  count = std::min(count, total);
  std::vector<int32_t> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(indices[static_cast<size_t>(i * total / count)]);
  return chosen;
}

}  // namespace reducenet
