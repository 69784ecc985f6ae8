#include "data/readers.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int64_t max_requested_side = 4096;

void check_options(const LoadImagesOptions& options) {
  const auto refuse = [](const std::string& why) { throw Error(ErrorKind::usage, "image options: " + why); };
  if (options.height.has_value() != options.width.has_value()) refuse("give both height and width, or neither");
  for (const std::optional<int64_t>& side : {options.height, options.width}) {
    if (side && (*side < 1 || *side > max_requested_side)) {
      refuse("size " + std::to_string(*side) + " is not in 1…" + std::to_string(max_requested_side));
    }
  }
  if (options.channels != 0 && options.channels != 1 && options.channels != 3) {
    refuse(std::to_string(options.channels) +
           " channels; 1 and 3 are possible (a model that takes [N,H,W,C]: export --channels-first turns its input)");
  }
}

std::string accepted_forms() {
  std::string text = "; accepted are: generated[:COUNT]";
  for (const DataReader& reader : data_readers) text.append(", ").append(reader.form);
  return text;
}

ImageSet read_path(const std::string& path, Split split, const LoadImagesOptions& options) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    throw Error(ErrorKind::io,
                (error ? path + ": " + error.message() : "no such file or folder: " + path) + accepted_forms());
  }
  for (const DataReader& reader : data_readers) {
    if (!reader.matches(path)) continue;
    if (options.cache.empty() || !reader.worth_caching) return reader.read(path, split, options);
    const ImageCache cache(path, split, options);
    if (std::optional<ImageSet> images = cache.load()) return *std::move(images);
    ImageSet images = reader.read(path, split, options);
    cache.save(images);
    return images;
  }
  throw Error(ErrorKind::bad_input, path + ": not a data set" + accepted_forms());
}

}  // namespace

ImageSet load_images(const std::string& path, Split split, const LoadImagesOptions& options) {
  check_options(options);
  if (is_generated(path)) return read_generated(path, split, options);
  try {
    return read_path(path, split, options);
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(ErrorKind::io, error.what());
  }
}

ImageSet load_image_file(const std::filesystem::path& path, const LoadImagesOptions& options) {
  check_options(options);
  DecodedImage image = fit_image(decode_image(read_data_file(path), path.string()), options);
  ImageSet set;
  set.height = image.height;
  set.width = image.width;
  set.channels = image.channels;
  set.pixels = std::move(image.pixels);
  set.labels = {-1};
  return set;
}

ImageSet fit_images(ImageSet images, const LoadImagesOptions& options) {
  const bool same_size = !options.height || (*options.height == images.height && *options.width == images.width);
  if (same_size && (!options.channels || options.channels == images.channels)) return images;
  Bytes pixels;
  DecodedImage one;
  for (int64_t i = 0; i < images.count(); ++i) {
    const uint8_t* image = images.image(i);
    one = fit_image({images.height, images.width, images.channels, {image, image + images.image_bytes()}}, options);
    if (i == 0) pixels.reserve(one.pixels.size() * images.labels.size());
    pixels.insert(pixels.end(), one.pixels.begin(), one.pixels.end());
  }
  images.height = one.height;
  images.width = one.width;
  images.channels = one.channels;
  images.pixels = std::move(pixels);
  return images;
}

}  // namespace reducenet
