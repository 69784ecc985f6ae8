#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "data/readers.h"
#include "reducenet/error.h"

namespace reducenet {
namespace fs = std::filesystem;
namespace {

// A header of big-endian 32-bit words, 0x0000'08'DD (unsigned bytes, DD dimensions) and the dimensions; then the bytes.
// Source: http://yann.lecun.com/exdb/mnist/
struct Idx {
  fs::path file;
  std::vector<int64_t> shape;
  Bytes values;
};

// Reads plain files as they are and .gz unpacked, its checksum verified.
class GzFile {
 public:
  explicit GzFile(const fs::path& path) : path_(path), file_(gzopen(path.c_str(), "rb"), gzclose) {
    if (!file_) throw Error(ErrorKind::io, "cannot read " + path.string() + ": " + std::strerror(errno));
  }

  // Up to `size` bytes; fewer at the end only.
  Bytes read(int64_t size) {
    constexpr int64_t chunk = int64_t{1} << 20;  // memory grows with what the file holds, not with what its header says
    Bytes bytes;
    for (int64_t got = 1, have = 0; got > 0 && have < size; have += got) {
      const int64_t want = std::min(chunk, size - have);
      bytes.resize(static_cast<size_t>(have + want));
      got = gzread(file_.get(), bytes.data() + have, static_cast<unsigned>(want));
      int status = Z_OK;
      const char* why = gzerror(file_.get(), &status);
      if (status == Z_ERRNO) throw Error(ErrorKind::io, "cannot read " + path_.string() + ": " + std::strerror(errno));
      if (got < 0 || status != Z_OK) throw Error(ErrorKind::bad_input, path_.string() + ": damaged gzip: " + why);
      bytes.resize(static_cast<size_t>(have + got));
    }
    return bytes;
  }

 private:
  fs::path path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

Idx read_idx_file(const fs::path& path) {
  const auto refuse = [&](const std::string& why) { throw Error(ErrorKind::bad_input, path.string() + ": " + why); };
  GzFile file(path);
  const Bytes magic = file.read(4);
  if (magic.size() < 4 || magic[0] != 0 || magic[1] != 0) refuse("not an IDX file");
  if (magic[2] != 8)
    refuse("IDX elements of type " + std::to_string(magic[2]) + "; only unsigned bytes (8) are images");
  const int64_t rank = magic[3];
  const Bytes header = file.read(4 * rank);
  if (rank == 0 || static_cast<int64_t>(header.size()) < 4 * rank) refuse("truncated IDX header");

  Idx idx{path, {}, {}};
  int64_t total = 1;
  for (int64_t i = 0; i < rank; ++i) {
    const uint8_t* b = header.data() + 4 * i;
    idx.shape.push_back(int64_t{b[0]} << 24 | b[1] << 16 | b[2] << 8 | b[3]);
    if (idx.shape.back() == 0) refuse("IDX dimension " + std::to_string(i) + " is 0");
    if (idx.shape.back() > (int64_t{1} << 40) / total) refuse("IDX header claims more than a terabyte");
    total *= idx.shape.back();
  }
  idx.values = file.read(total + 1);
  if (const auto size = static_cast<int64_t>(idx.values.size()); size != total) {
    refuse("IDX header claims " + std::to_string(total) + " bytes, the file has " +
           (size > total ? "more" : std::to_string(size)));
  }
  return idx;
}

std::optional<fs::path> find_idx(const fs::path& folder, Split split, const std::string& what, int rank) {
  for (const char separator : {'-', '.'}) {
    for (const char* ending : {"", ".gz"}) {
      const std::string start = split == Split::train ? "train-" : "t10k-";
      const fs::path file = folder / (start + what + separator + "idx" + std::to_string(rank) + "-ubyte" + ending);
      if (fs::is_regular_file(file)) return file;
    }
  }
  return std::nullopt;
}

std::vector<std::string> names_for(const fs::path& folder, int32_t largest_label) {
  if (lower_case(fs::weakly_canonical(folder).filename().string()).find("fashion") != std::string::npos) {
    return {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"};
  }
  std::vector<std::string> digits;
  for (int32_t i = 0; i <= std::max(largest_label, 9); ++i) digits.push_back(std::to_string(i));
  return digits;
}

}  // namespace

bool looks_like_idx(const fs::path& path) {
  return find_idx(path, Split::train, "images", 3) || find_idx(path, Split::test, "images", 3) ||
         find_idx(path, Split::train, "labels", 1) || find_idx(path, Split::test, "labels", 1);
}

ImageSet read_idx(const fs::path& path, Split split, const LoadImagesOptions& options) {
  const auto read = [&](const std::string& what, int rank) {
    const std::optional<fs::path> file = find_idx(path, split, what, rank);
    const std::string name =
        (split == Split::train ? "train-" : "t10k-") + what + "-idx" + std::to_string(rank) + "-ubyte";
    if (!file) throw Error(ErrorKind::bad_input, (path / name).string() + "[.gz]: missing");
    Idx idx = read_idx_file(*file);
    if (static_cast<int>(idx.shape.size()) != rank) {
      throw Error(ErrorKind::bad_input, file->string() + ": " + std::to_string(idx.shape.size()) +
                                            " dimensions instead of " + std::to_string(rank));
    }
    return idx;
  };
  Idx images = read("images", 3);
  const Idx labels = read("labels", 1);
  if (images.shape[0] != labels.shape[0]) {
    throw Error(ErrorKind::bad_input, images.file.string() + " holds " + std::to_string(images.shape[0]) +
                                          " images but " + labels.file.string() + " " +
                                          std::to_string(labels.shape[0]) + " labels");
  }
  check_dimensions(images.shape[1], images.shape[2], images.file.string());
  ImageSet set;
  set.height = images.shape[1];
  set.width = images.shape[2];
  set.channels = 1;
  set.pixels = std::move(images.values);
  set.labels.assign(labels.values.begin(), labels.values.end());
  set.class_names = names_for(path, *std::max_element(set.labels.begin(), set.labels.end()));
  for (size_t i = 0; i < set.labels.size(); ++i) {
    if (set.labels[i] >= static_cast<int32_t>(set.class_names.size())) {
      throw Error(ErrorKind::bad_input, labels.file.string() + ": label " + std::to_string(set.labels[i]) + " at " +
                                            std::to_string(i) + " of " + std::to_string(set.class_names.size()) +
                                            " classes");
    }
  }
  return fit_images(std::move(set), options);
}

}  // namespace reducenet
