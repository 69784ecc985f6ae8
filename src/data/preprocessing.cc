#include <array>
#include <cmath>

#include "reducenet/data.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

// out[c][i] = image[i][source[c]] · scale[c] + shift[c], all channels in one pass; their number is known to the
// vectoriser.
template <size_t channels>
void to_planes(const uint8_t* __restrict image, int64_t pixels, const Preprocessing& p, float* __restrict out) {
  std::array<float, channels> scale, shift;
  for (size_t c = 0; c < channels; ++c) {
    scale[c] = static_cast<float>(1 / (255 * p.std[c]));
    shift[c] = static_cast<float>(-p.mean[c] / p.std[c]);
  }
  const auto pass = [&](auto source) {
    for (int64_t i = 0; i < pixels; ++i, image += channels) {
      for (size_t c = 0; c < channels; ++c) {
        out[static_cast<int64_t>(c) * pixels + i] = static_cast<float>(image[source(c)]) * scale[c] + shift[c];
      }
    }
  };
  if (p.channel_order == "BGR") {
    pass([](size_t c) { return channels - 1 - c; });
  } else {
    pass([](size_t c) { return c; });
  }
}

}  // namespace

void Preprocessing::apply(const uint8_t* image, float* out) const {
  (channels == 1 ? to_planes<1> : to_planes<3>)(image, height * width, *this, out);
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
