#include <algorithm>
#include <array>
#include <atomic>
#include <set>

#include "data/readers.h"
#include "data/work_queue.h"
#include "reducenet/error.h"

namespace reducenet {
namespace fs = std::filesystem;
namespace {

// [wrapper/]split/class/rest, where only an archive has a wrapper. Views into the name that was split.
struct Place {
  std::string_view wrapper, split, class_name, rest;
};

bool is_split(std::string_view name) {
  return name == "train" || name == "test" || name == "val";
}

std::string_view take_component(std::string_view& name) {
  const size_t slash = std::min(name.find('/'), name.size());
  const std::string_view component = name.substr(0, slash);
  name.remove_prefix(std::min(slash + 1, name.size()));
  return component;
}

std::optional<Place> place_of(std::string_view name, bool in_archive) {
  Place place;
  place.split = take_component(name);
  if (in_archive && !is_split(place.split)) {
    place.wrapper = place.split;
    place.split = take_component(name);
  }
  if (!is_split(place.split)) return std::nullopt;
  place.class_name = take_component(name);
  place.rest = name;
  return place;
}

// Whether a file's name says that it is an image, of a form that is read or not: what is left out is not left out
// silently.
bool is_image_name(const std::string& name) {
  constexpr std::array<std::string_view, 15> endings = {".jpg",  ".jpeg", ".jpe",  ".jfif", ".png",
                                                        ".bmp",  ".gif",  ".webp", ".tif",  ".tiff",
                                                        ".avif", ".heic", ".jp2",  ".ppm",  ".pgm"};
  const std::string lower = lower_case(name);
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view ending) { return lower.ends_with(ending); });
}

// Below a split, what editors, notebooks and file managers leave behind: .ipynb_checkpoints/, ._1.png.
bool is_hidden(const Place& place) {
  return place.class_name.starts_with('.') || place.rest.starts_with('.') ||
         place.rest.find("/.") != std::string_view::npos;
}

// What a folder or archive holds, by names alone.
struct Index {
  struct File {
    int32_t label;
    std::string name;
    auto operator<=>(const File&) const = default;
  };
  std::vector<std::string> classes;  // of all splits together, so that labels agree between them
  std::vector<File> files;           // of one split, sorted

  // The position of a file, or -1.
  int64_t find(const std::string& name, bool in_archive) const {
    const std::optional<Place> place = place_of(name, in_archive);
    if (!place) return -1;
    const auto class_at = std::lower_bound(classes.begin(), classes.end(), place->class_name);
    const File file{static_cast<int32_t>(class_at - classes.begin()), name};
    const auto at = std::lower_bound(files.begin(), files.end(), file);
    return at != files.end() && *at == file ? at - files.begin() : -1;
  }
};

Index index_images(const fs::path& root, Split split) {
  const bool in_archive = is_archive(root);
  std::set<std::string> splits, classes, wrappers, others;
  std::vector<std::string> names;
  walk_files(root,
             [&](const std::string& name, bool is_folder) {
               const std::optional<Place> place = place_of(name, in_archive);
               if (!place) {
                 if (is_folder) others.insert(name.substr(0, name.find('/')));
                 return Visit::skip;
               }
               if (is_hidden(*place)) return Visit::skip;
               if (is_folder) {
                 splits.emplace(place->split);
                 if (!place->class_name.empty()) classes.emplace(place->class_name);
                 return Visit::read;
               }
               if (!place->rest.empty() && is_image_name(name)) {
                 splits.emplace(place->split);
                 classes.emplace(place->class_name);
                 wrappers.emplace(place->wrapper);
                 names.push_back(name);
               }
               return Visit::skip;
             },
             {});

  const auto refuse = [&](const std::string& why) { throw Error(ErrorKind::bad_input, root.string() + ": " + why); };
  if (wrappers.size() > 1) refuse("two data sets, " + *wrappers.begin() + "/ and " + *wrappers.rbegin() + "/");
  const std::string chosen = split == Split::train ? "train" : splits.contains("test") ? "test" : "val";
  if (!splits.contains(chosen)) {
    std::string found;
    for (const std::string& name : splits) found += " " + name + "/";
    for (const std::string& name : others) {
      if (found.size() < 200) found += " " + name + "/";
    }
    refuse(std::string("no folder ") + (split == Split::train ? "train/" : "test/ or val/") +
           " (found:" + (found.empty() ? " none" : found) + ")");
  }

  Index index;
  index.classes.assign(classes.begin(), classes.end());
  std::vector<int64_t> count(index.classes.size());
  for (std::string& name : names) {
    const Place place = *place_of(name, in_archive);
    if (place.split != chosen) continue;
    const auto at = std::lower_bound(index.classes.begin(), index.classes.end(), place.class_name);
    const auto label = static_cast<int32_t>(at - index.classes.begin());
    ++count[static_cast<size_t>(label)];
    index.files.push_back({label, std::move(name)});
  }
  std::sort(index.files.begin(), index.files.end());
  if (const auto twice = std::adjacent_find(index.files.begin(), index.files.end()); twice != index.files.end()) {
    refuse(twice->name + " occurs twice");
  }
  for (size_t i = 0; i < count.size(); ++i) {
    if (count[i] == 0) refuse("class " + index.classes[i] + " has no image in " + chosen + "/");
  }
  if (index.files.empty()) refuse("no classes in " + chosen + "/");
  return index;
}

std::string size_text(const DecodedImage& image) {
  return std::to_string(image.height) + "×" + std::to_string(image.width) + (image.channels == 1 ? " grey" : " RGB");
}

// Decodes the files of an index into their places of one ImageSet; the first one that decodes sets the size.
class Decoder {
 public:
  Decoder(const fs::path& root, const Index& index, const LoadImagesOptions& options)
      : root_(root), index_(index), options_(options), decoded_(index.files.size()) {}

  bool has_size() const { return set_.height > 0; }

  // Safe to call concurrently once has_size().
  void decode(int64_t position, const Bytes& bytes) {
    const std::string name = location(root_, index_.files[static_cast<size_t>(position)].name);
    DecodedImage image;
    try {
      image = fit_image(decode_image(bytes, name), options_);
    } catch (const Error& error) {
      if (!options_.skip_corrupt) {
        throw Error(error.kind(), std::string(error.what()) +
                                      "; --skip-corrupt (in a recipe: data.skip_corrupt) leaves such files out");
      }
      ++skipped_;
      return;
    }
    if (!has_size()) set_size(name, image);
    if (image.height != set_.height || image.width != set_.width || image.channels != set_.channels) {
      const bool same_size = image.height == set_.height && image.width == set_.width;
      throw Error(ErrorKind::bad_input, name + " is " + size_text(image) + " but " + first_ + "; ask for " +
                                            (same_size ? "1 or 3 channels (in a recipe: model.channels)"
                                                       : "one size (in a recipe: model.height and model.width)"));
    }
    std::copy(image.pixels.begin(), image.pixels.end(), set_.pixels.begin() + position * set_.image_bytes());
    decoded_[static_cast<size_t>(position)] = 1;
  }

  // Closes the gaps that skipped files left.
  ImageSet finish() {
    set_.skipped = skipped_;
    set_.class_names = index_.classes;
    int64_t kept = 0;
    for (size_t i = 0; i < decoded_.size(); ++i) {
      if (!decoded_[i]) continue;
      const uint8_t* image = set_.image(static_cast<int64_t>(i));
      if (kept != static_cast<int64_t>(i)) {
        std::copy(image, image + set_.image_bytes(), set_.pixels.data() + kept * set_.image_bytes());
      }
      set_.labels.push_back(index_.files[i].label);
      ++kept;
    }
    set_.pixels.resize(static_cast<size_t>(kept * set_.image_bytes()));
    const auto total = static_cast<int64_t>(index_.files.size());
    if (kept + set_.skipped != total) throw Error(ErrorKind::io, root_.string() + ": changed while it was read");
    if (kept == 0) {
      throw Error(ErrorKind::bad_input, root_.string() + ": none of its " + std::to_string(total) + " images decodes");
    }
    return std::move(set_);
  }

 private:
  void set_size(const std::string& name, const DecodedImage& image) {
    first_ = name + " is " + size_text(image);
    set_.height = image.height;
    set_.width = image.width;
    set_.channels = image.channels;
    set_.pixels.resize(index_.files.size() * image.pixels.size());
  }

  const fs::path& root_;
  const Index& index_;
  const LoadImagesOptions& options_;
  ImageSet set_;
  std::string first_;
  std::vector<uint8_t> decoded_;  // not bool: written concurrently
  std::atomic<int64_t> skipped_ = 0;
};

}  // namespace

bool looks_like_image_folder(const fs::path& path) {
  return fs::is_directory(path) || (fs::is_regular_file(path) && is_archive(path));
}

ImageSet read_image_folder(const fs::path& path, Split split, const LoadImagesOptions& options) {
  const bool in_archive = is_archive(path);
  const Index index = index_images(path, split);
  const auto total = static_cast<int64_t>(index.files.size());
  Decoder decoder(path, index, options);
  using Item = std::pair<int64_t, Bytes>;
  WorkQueue<Item> queue(std::max(options.threads, 1), [&](Item& item) { decoder.decode(item.first, item.second); });

  int64_t done = 0, position = -1;
  bool failed = false;
  walk_files(
      path,
      [&](const std::string& name, bool is_folder) {
        if (failed) return Visit::stop;
        if (is_folder) return place_of(name, in_archive) ? Visit::read : Visit::skip;
        position = index.find(name, in_archive);
        return position < 0 ? Visit::skip : Visit::read;
      },
      [&](const std::string&, Bytes bytes) {
        if (decoder.has_size()) {
          failed = !queue.push({position, std::move(bytes)});
        } else {
          decoder.decode(position, bytes);
        }
        if (options.progress) options.progress(++done, total);
      });
  queue.finish();
  return decoder.finish();
}

}  // namespace reducenet
