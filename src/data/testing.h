#pragma once

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "data/image.h"
#include "reducenet/error.h"

namespace reducenet::testing {

/// A new folder, removed with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }
  operator const std::filesystem::path&() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Creates the folders above it, too.
void write_file(const std::filesystem::path& path, const Bytes& bytes);

/// A smooth image in which no two channels, rows or columns are equal.
DecodedImage gradient(int64_t height, int64_t width, int64_t channels);

Bytes jpeg_of(const DecodedImage& image, int quality = 95);
/// A JPEG of four CMYK channels.
Bytes cmyk_jpeg(int64_t height, int64_t width);

/// Samples as PNG stores them: `pixels` holds the packed rows; palette and alpha of its entries as RGBA quadruples.
struct PngSource {
  uint32_t height = 1, width = 1;
  uint8_t color_type = 2, bit_depth = 8;
  Bytes pixels, palette;
  bool interlaced = false;
};
Bytes png_of(const PngSource& source);
Bytes png_of(const DecodedImage& image);

Bytes gzip(const Bytes& bytes);

struct TarEntry {
  std::string name;  ///< a folder when it ends with '/'
  Bytes bytes;
};
/// Compressed as the name's ending says.
void write_tar(const std::filesystem::path& path, const std::vector<TarEntry>& entries);

/// The message of the Error that `action` throws, after its kind ("3: …"); "no error" when it throws none.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return std::to_string(static_cast<int>(error.kind())) + ": " + error.what();
  }
  return "no error";
}

}  // namespace reducenet::testing
