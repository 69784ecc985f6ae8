#include <array>
#include <cmath>

#include "reducenet/data.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

// out[c][i] = image[i][source of c] · scale[c] + shift[c]; a template so that the stride is known to the vectoriser.
template <int64_t channels>
void to_planes(const uint8_t* image, int64_t pixels, int64_t source, float scale, float shift, float* out) {
  for (int64_t i = 0; i < pixels; ++i) out[i] = static_cast<float>(image[i * channels + source]) * scale + shift;
}

}  // namespace

void Preprocessing::apply(const uint8_t* image, float* out) const {
  const int64_t pixels = height * width;
  for (int64_t c = 0; c < channels; ++c) {
    const auto k = static_cast<size_t>(c);
    const auto scale = static_cast<float>(1 / (255 * std[k])), shift = static_cast<float>(-mean[k] / std[k]);
    const int64_t source = channel_order == "BGR" ? channels - 1 - c : c;
    const auto planes = channels == 1 ? to_planes<1> : to_planes<3>;
    planes(image, pixels, source, scale, shift, out + c * pixels);
  }
}

Preprocessing Preprocessing::of(const ImageSet& images) {
  if (images.count() == 0) throw Error(ErrorKind::bad_input, "mean and standard deviation of no images");
  Preprocessing result{images.height, images.width, images.channels, {}, {}};
  const int64_t channels = images.channels;
  std::vector<std::array<int64_t, 256>> histogram(static_cast<size_t>(channels));
  for (size_t i = 0; i < images.pixels.size(); ++i) ++histogram[i % static_cast<size_t>(channels)][images.pixels[i]];
  const double n = static_cast<double>(images.pixels.size()) / static_cast<double>(channels);
  for (const std::array<int64_t, 256>& counts : histogram) {
    double sum = 0, squares = 0;
    for (size_t value = 0; value < counts.size(); ++value) {
      const double x = static_cast<double>(value) / 255;
      sum += x * static_cast<double>(counts[value]);
    }
    const double mean = sum / n;
    for (size_t value = 0; value < counts.size(); ++value) {
      const double d = static_cast<double>(value) / 255 - mean;
      squares += d * d * static_cast<double>(counts[value]);
    }
    result.mean.push_back(mean);
    const double deviation = std::sqrt(squares / n);
    result.std.push_back(deviation > 1e-6 ? deviation : 1);  // a constant channel is only centred
  }
  return result;
}

}  // namespace reducenet
