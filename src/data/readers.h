#pragma once

#include <array>
#include <string_view>

#include "data/image.h"
#include "reducenet/data.h"

namespace reducenet {

/// One form in which a data set may come.
struct DataReader {
  std::string_view form;                          ///< as messages describe it
  bool (*matches)(const std::filesystem::path&);  ///< does this existing path look like it?
  ImageSet (*read)(const std::filesystem::path&, Split, const LoadImagesOptions&);
  bool worth_caching;
};

bool looks_like_cifar(const std::filesystem::path& path);
ImageSet read_cifar(const std::filesystem::path& path, Split split, const LoadImagesOptions& options);

bool looks_like_idx(const std::filesystem::path& path);
ImageSet read_idx(const std::filesystem::path& path, Split split, const LoadImagesOptions& options);

bool looks_like_image_folder(const std::filesystem::path& path);
ImageSet read_image_folder(const std::filesystem::path& path, Split split, const LoadImagesOptions& options);

/// "generated" or "generated:COUNT": COUNT training images (default 10,000) and a fifth as many test images.
bool is_generated(const std::string& path);
ImageSet read_generated(const std::string& path, Split split, const LoadImagesOptions& options);

/// The first row that matches reads the path.
inline constexpr std::array<DataReader, 3> data_readers = {{
    {"CIFAR-10/100 binary (folder or .tar.gz)", looks_like_cifar, read_cifar, false},
    {"folder of IDX files (MNIST; .gz too)", looks_like_idx, read_idx, false},
    {"train/ and test/ (or val/) folders of JPEG or PNG by class (folder, .tar, .tar.gz, .tar.zst)",
     looks_like_image_folder, read_image_folder, true},
}};

/// Brings a whole set to the size and channels that the options ask for.
ImageSet fit_images(ImageSet images, const LoadImagesOptions& options);

/// Decoded copies of data sets in a folder, one .safetensors file each.
class ImageCache {
 public:
  /// The entry of this request; it changes with the data's path, files, sizes and times. Errors: io when the folder
  /// cannot be created.
  ImageCache(const std::filesystem::path& data, Split split, const LoadImagesOptions& options);

  /// Nothing when there is no such entry or it is damaged.
  std::optional<ImageSet> load() const;
  /// Atomic. A disk that is full leaves no entry and is no error: the images are there, the next run decodes again.
  void save(const ImageSet& images) const;
  const std::filesystem::path& file() const { return file_; }

 private:
  std::filesystem::path file_;
};

}  // namespace reducenet
