#include <algorithm>
#include <array>
#include <map>
#include <sstream>

#include "data/readers.h"
#include "reducenet/error.h"

namespace reducenet {
namespace fs = std::filesystem;
namespace {

constexpr int64_t side = 32, planes = 3, plane_bytes = side * side, image_bytes = planes * plane_bytes;

// One record is label_bytes labels, of which the last counts, and then the red, green and blue planes.
// Source: https://www.cs.toronto.edu/~kriz/cifar.html
struct Variant {
  const char* folder;
  std::vector<std::string> train, test;
  const char* names_file;
  const char* names;  // standard ones, by label
  int64_t label_bytes;
};

const std::array<Variant, 2>& variants() {
  static const std::array<Variant, 2> all = {{
      {"cifar-10-batches-bin",
       {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
       {"test_batch.bin"},
       "batches.meta.txt",
       "airplane automobile bird cat deer dog frog horse ship truck",
       1},
      {"cifar-100-binary",
       {"train.bin"},
       {"test.bin"},
       "fine_label_names.txt",
       "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
       "castle "
       "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
       "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
       "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
       "pine_tree "
       "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
       "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor "
       "train "
       "trout tulip turtle wardrobe whale willow_tree wolf woman worm",
       2},
  }};
  return all;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> result;
  for (std::string word; in >> word;) result.push_back(word);
  return result;
}

bool has_file(const Variant& variant, const std::string& name) {
  const auto in = [&](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  return in(variant.train) || in(variant.test);
}

// The variant and the folder that directly holds its files: `path` or the distributed folder below it.
std::pair<const Variant*, fs::path> find_folder(const fs::path& path) {
  for (const Variant& variant : variants()) {
    for (const fs::path& folder : {path, path / variant.folder}) {
      for (const auto* list : {&variant.train, &variant.test}) {
        if (fs::is_regular_file(folder / list->front())) return {&variant, folder};
      }
    }
  }
  return {nullptr, path};
}

// An archive is judged by its first file that is a batch.
const Variant* find_in_archive(const fs::path& path) {
  const Variant* found = nullptr;
  int looked_at = 0;
  walk_files(path,
             [&](const std::string& name, bool is_folder) {
               for (const Variant& variant : variants()) {
                 if (!is_folder && has_file(variant, fs::path(name).filename().string())) found = &variant;
               }
               return found || ++looked_at == 16 ? Visit::stop : Visit::skip;
             },
             {});
  return found;
}

void append_records(const Variant& variant, const Bytes& bytes, size_t classes, const std::string& where,
                    ImageSet& set) {
  const int64_t record = variant.label_bytes + image_bytes, size = static_cast<int64_t>(bytes.size());
  if (size == 0 || size % record != 0) {
    throw Error(ErrorKind::bad_input, where + ": " + std::to_string(size) +
                                          " bytes are no multiple of a CIFAR record's " + std::to_string(record));
  }
  for (int64_t at = 0; at < size; at += record) {
    const uint8_t* image = bytes.data() + at + variant.label_bytes;
    const uint8_t label = image[-1];
    if (label >= classes) {
      throw Error(ErrorKind::bad_input, where + ": record " + std::to_string(at / record) + " has label " +
                                            std::to_string(label) + " of " + std::to_string(classes) + " classes");
    }
    set.labels.push_back(label);
    set.pixels.resize(set.pixels.size() + image_bytes);
    uint8_t* to = set.pixels.data() + set.pixels.size() - image_bytes;
    for (int64_t i = 0; i < plane_bytes; ++i) {
      for (int64_t c = 0; c < planes; ++c) *to++ = image[c * plane_bytes + i];
    }
  }
}

}  // namespace

bool looks_like_cifar(const fs::path& path) {
  if (fs::is_directory(path)) return find_folder(path).first != nullptr;
  return is_archive(path) && find_in_archive(path) != nullptr;
}

ImageSet read_cifar(const fs::path& path, Split split, const LoadImagesOptions& options) {
  const auto [variant, root] = fs::is_directory(path) ? find_folder(path) : std::pair(find_in_archive(path), path);
  const std::vector<std::string>& wanted = split == Split::train ? variant->train : variant->test;

  std::map<std::string, Bytes> files;
  walk_files(
      root,
      [&, variant = variant](const std::string& name, bool is_folder) {
        if (is_folder) return Visit::skip;
        const std::string file = fs::path(name).filename().string();
        const bool needed =
            file == variant->names_file || std::find(wanted.begin(), wanted.end(), file) != wanted.end();
        return needed ? Visit::read : Visit::skip;
      },
      [&](const std::string& name, Bytes bytes) { files[fs::path(name).filename().string()] = std::move(bytes); });

  ImageSet set;
  set.height = set.width = side;
  set.channels = planes;
  set.class_names = words(variant->names);
  const size_t classes = set.class_names.size();
  if (const auto names = files.find(variant->names_file); names != files.end()) {
    set.class_names = words({names->second.begin(), names->second.end()});
    if (set.class_names.size() != classes) {
      throw Error(ErrorKind::bad_input, location(root, names->first) + ": " + std::to_string(set.class_names.size()) +
                                            " names for " + std::to_string(classes) + " classes");
    }
  }
  for (const std::string& name : wanted) {
    const auto file = files.find(name);
    if (file == files.end()) throw Error(ErrorKind::bad_input, location(root, name) + ": missing");
    append_records(*variant, file->second, classes, location(root, name), set);
  }
  return fit_images(std::move(set), options);
}

}  // namespace reducenet
