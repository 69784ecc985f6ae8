#include <spng.h>

#include <memory>

#include "data/image.h"
#include "reducenet/error.h"

namespace reducenet {

DecodedImage decode_png(std::span<const uint8_t> bytes, const std::string& name) {
  const std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)> context(spng_ctx_new(0), spng_ctx_free);
  const auto check = [&](int status) {
    if (status) throw Error(ErrorKind::bad_input, name + ": corrupt PNG: " + spng_strerror(status));
  };
  spng_ihdr header{};
  check(spng_set_chunk_limits(context.get(), size_t{16} << 20, size_t{64} << 20));
  check(spng_set_png_buffer(context.get(), bytes.data(), bytes.size()));
  check(spng_get_ihdr(context.get(), &header));
  check_dimensions(header.height, header.width, name);
  const bool grey =
      header.color_type == SPNG_COLOR_TYPE_GRAYSCALE || header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;

  Bytes rgba(size_t{header.height} * header.width * 4);
  check(spng_decode_image(context.get(), rgba.data(), rgba.size(), SPNG_FMT_RGBA8, SPNG_DECODE_TRNS));
  check(spng_decode_chunks(context.get()));  // what stands after the pixels, to the end mark

  DecodedImage image{header.height, header.width, grey ? 1 : 3, {}};
  image.pixels.reserve(static_cast<size_t>(image.height * image.width * image.channels));
  for (size_t i = 0; i < rgba.size(); i += 4) {
    const int alpha = rgba[i + 3];
    for (int64_t c = 0; c < image.channels; ++c) {
      image.pixels.push_back(static_cast<uint8_t>((rgba[i + c] * alpha + 255 * (255 - alpha) + 127) / 255));
    }
  }
  return image;
}

}  // namespace reducenet
