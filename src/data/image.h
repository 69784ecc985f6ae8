#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/files.h"
#include "reducenet/data.h"

namespace reducenet {

/// Pixels as [height][width][channels], 1 (grey) or 3 (RGB) channels of 8 bits.
struct DecodedImage {
  int64_t height = 0, width = 0, channels = 0;
  Bytes pixels;
};

inline constexpr int64_t max_image_side = int64_t{1} << 16;
inline constexpr int64_t max_image_pixels = int64_t{64} << 20;

/// Decodes a JPEG or a PNG, told apart by their first bytes. `name` opens every message.
/// Errors: bad_input when malformed or truncated; unsupported for CMYK and beyond the limits (before they are
/// allocated).
DecodedImage decode_image(std::span<const uint8_t> bytes, const std::string& name);
DecodedImage decode_jpeg(std::span<const uint8_t> bytes, const std::string& name);
/// Samples of 16 bits keep their upper 8; transparency is composited onto white; gamma and colour profiles are ignored.
DecodedImage decode_png(std::span<const uint8_t> bytes, const std::string& name);

/// Throws unsupported when an image of this size is beyond the limits.
void check_dimensions(int64_t height, int64_t width, const std::string& name);

/// Bilinear with antialiasing: a triangle filter of half-width max(in/out, 1) input pixels, width before height, each
/// pass rounded to 8 bits (equal to BILINEAR of Pillow 9 to 11).
DecodedImage resize_image(const DecodedImage& image, int64_t height, int64_t width);

/// Grey ↔ RGB; luma = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
DecodedImage convert_channels(DecodedImage image, int64_t channels);

/// The size and channels that the options ask for, if they do.
DecodedImage fit_image(DecodedImage image, const LoadImagesOptions& options);

}  // namespace reducenet
