#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace reducenet {

/// Labelled images of one size, 8 bits a channel, in memory as [count][height][width][channels].
struct ImageSet {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  std::vector<std::string> class_names;  ///< by label; folders sort by name
  int64_t skipped = 0;                   ///< files left out because they could not be decoded

  int64_t count() const { return static_cast<int64_t>(labels.size()); }
  int64_t image_bytes() const { return height * width * channels; }
  const uint8_t* image(int64_t i) const { return pixels.data() + i * image_bytes(); }
};

enum class Split { train, test };

struct LoadImagesOptions {
  std::optional<int64_t> height, width;  ///< resize to this (both or neither); default: all must be like the first
  int64_t channels = 0;                  ///< 1 or 3; 0: as the files are, all like the first
  bool skip_corrupt = false;             ///< otherwise the first corrupt file is an error that names it
  int threads = 2;
  std::filesystem::path cache;  ///< folder for decoded copies, keyed by path, size and time; empty: none
  std::function<void(int64_t done, int64_t total)> progress;  ///< images of a folder, on the calling thread
};

/// Reads one split of a data set, whatever its form: CIFAR-10/100 binary (folder or .tar.gz), IDX (MNIST; .gz too),
/// folders of JPEG or PNG by class (directory, .tar, .tar.gz, .tar.zst; train/ and test/ or val/ below it; other forms
/// of images are corrupt ones, hidden files are none), or "generated[:COUNT]" for the built-in generator (COUNT
/// training images, 10,000 by default, and a fifth as many test images). Images and classes are in the order of their
/// names, whatever the form. Throws Error naming the file: bad_input when malformed, unsupported for CMYK and images
/// beyond 64 megapixels, io when unreadable, usage when the options make no sense.
ImageSet load_images(const std::string& path, Split split, const LoadImagesOptions& options = {});

/// The built-in generator: ten classes of textured shapes that a linear classifier cannot separate. Deterministic.
ImageSet generate_images(int64_t count, uint64_t seed, int64_t size = 32, int64_t channels = 3);

/// A counter-based random number: the same bits for the same (seed, epoch, sample), whoever asks, in whatever order.
uint64_t random_bits(uint64_t seed, uint64_t epoch, uint64_t sample);

/// Which training images are held out: `count` of them (kTenth: a tenth, at most 5,000), of every class its share (±1),
/// chosen by hash(seed, index).
struct HoldOut {
  std::vector<int32_t> training, validation;
};
constexpr int64_t kTenth = -1;
HoldOut hold_out(const ImageSet& images, int64_t count, uint64_t seed);
/// `count` of the indices (all, if there are no more), evenly spaced: images often lie class by class.
std::vector<int32_t> evenly_spaced(std::span<const int32_t> indices, int64_t count);

/// Decodes one JPEG or PNG file to height × width × channels (bilinear, antialiased; the aspect ratio is not kept). Its
/// label is −1. Transparency is composited onto white; the orientation in EXIF is not applied. Errors name the file.
ImageSet load_image_file(const std::filesystem::path& path, const LoadImagesOptions& options = {});

/// How an image becomes the network's input, (pixel/255 − mean)/std per channel; stored in a model's metadata, so that
/// train, predict, runtime and header all do the same.
struct Preprocessing {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<double> mean, std;  ///< per channel, of pixels in [0, 1]
  std::string channel_order = "RGB", resize = "bilinear-antialias";

  /// One image [H][W][C] → [C][H][W] floats.
  void apply(const uint8_t* image, float* out) const;
  void to_metadata(std::map<std::string, std::string>& metadata) const;
  /// Absent when the model says nothing; Error(bad_input) when it says nonsense.
  static std::optional<Preprocessing> from_metadata(const std::map<std::string, std::string>& metadata);
  /// Mean and standard deviation of the set's own pixels.
  static Preprocessing of(const ImageSet& images);
};

/// Class names in metadata key "names", as {"0": "airplane", …}; read also as Python prints a dict, {0: 'airplane', …}.
void set_class_names(std::map<std::string, std::string>& metadata, const std::vector<std::string>& names);
std::vector<std::string> class_names(const std::map<std::string, std::string>& metadata);

}  // namespace reducenet
