#include <algorithm>
#include <cmath>

#include "data/image.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int weight_bits = 22;  // 255 · 2^22 fits 31 bits

// Output position o is Σ weights[k] · input[first + k] / 2^22.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

// w(x) = 1 − |x − centre| / support for support = max(in/out, 1), centre = (o + ½)·in/out, x the middle of a pixel;
// normalised to sum to 1.
std::vector<Taps> triangle_taps(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), support = std::max(scale, 1.0);
  std::vector<Taps> taps(static_cast<size_t>(out));
  std::vector<double> weights;
  for (int64_t o = 0; o < out; ++o) {
    const double centre = (static_cast<double>(o) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t last = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in);
    weights.clear();
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
      weights.push_back(std::max(0.0, 1 - std::abs((static_cast<double>(x) + 0.5 - centre) / support)));
      sum += weights.back();
    }
    Taps& row = taps[static_cast<size_t>(o)];
    row.first = first;
    for (const double w : weights) row.weights.push_back(static_cast<int32_t>(w / sum * (1 << weight_bits) + 0.5));
  }
  return taps;
}

// [outer][in][inner] → [outer][out][inner].
Bytes resample(const Bytes& source, int64_t outer, int64_t in, int64_t out, int64_t inner) {
  const std::vector<Taps> taps = triangle_taps(in, out);
  Bytes result(static_cast<size_t>(outer * out * inner));
  std::vector<int32_t> sums(static_cast<size_t>(inner));
  uint8_t* to = result.data();
  for (int64_t i = 0; i < outer; ++i) {
    for (const Taps& row : taps) {
      std::fill(sums.begin(), sums.end(), 1 << (weight_bits - 1));
      const uint8_t* from = source.data() + (i * in + row.first) * inner;
      for (const int32_t w : row.weights) {
        for (int64_t k = 0; k < inner; ++k) sums[static_cast<size_t>(k)] += w * from[k];
        from += inner;
      }
      for (const int32_t sum : sums) *to++ = static_cast<uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
    }
  }
  return result;
}

}  // namespace

void check_dimensions(int64_t height, int64_t width, const std::string& name) {
  if (std::max(height, width) > max_image_side || height * width > max_image_pixels) {
    throw Error(ErrorKind::unsupported, name + ": " + std::to_string(height) + "×" + std::to_string(width) +
                                            " pixels; the limit is 65536 a side and 64 megapixels");
  }
}

DecodedImage decode_image(std::span<const uint8_t> bytes, const std::string& name) {
  if (bytes.size() >= 2 && bytes[0] == 0xFF && bytes[1] == 0xD8) return decode_jpeg(bytes, name);
  if (bytes.size() >= 4 && bytes[0] == 0x89 && bytes[1] == 'P' && bytes[2] == 'N' && bytes[3] == 'G') {
    return decode_png(bytes, name);
  }
  throw Error(ErrorKind::bad_input, name + ": neither a JPEG nor a PNG");
}

DecodedImage resize_image(const DecodedImage& image, int64_t height, int64_t width) {
  DecodedImage result{height, width, image.channels, {}};
  const bool narrow = width != image.width;
  if (narrow) result.pixels = resample(image.pixels, image.height, image.width, width, image.channels);
  if (height != image.height) {
    result.pixels = resample(narrow ? result.pixels : image.pixels, 1, image.height, height, width * image.channels);
  }
  if (result.pixels.empty()) result.pixels = image.pixels;
  return result;
}

DecodedImage convert_channels(DecodedImage image, int64_t channels) {
  if (image.channels == channels) return image;
  DecodedImage result{image.height, image.width, channels, {}};
  result.pixels.reserve(static_cast<size_t>(image.height * image.width * channels));
  if (channels == 3) {
    for (const uint8_t grey : image.pixels) result.pixels.insert(result.pixels.end(), 3, grey);
  } else {
    for (size_t i = 0; i < image.pixels.size(); i += 3) {  // 0.299, 0.587, 0.114 times 2^16, rounded
      const uint8_t* rgb = image.pixels.data() + i;
      result.pixels.push_back(static_cast<uint8_t>((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16));
    }
  }
  return result;
}

DecodedImage fit_image(DecodedImage image, const LoadImagesOptions& options) {
  if (options.channels) image = convert_channels(std::move(image), options.channels);
  if (options.height) image = resize_image(image, *options.height, *options.width);
  return image;
}

}  // namespace reducenet
