#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/readers.h"
#include "reducenet/error.h"

namespace reducenet {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::json;

constexpr int cache_version = 2;  // raise it when what is read, decoded or resized becomes another

// A 64-bit hash of bytes in memory, eight at a time; catches damage, not malice.
uint64_t hash_bytes(const void* data, size_t size, uint64_t hash = 0xCBF29CE484222325) {
  const auto* at = static_cast<const uint8_t*>(data);
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
  };
  mix(size);
  for (; size >= 8; at += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  for (; size > 0; ++at, --size) mix(*at);
  return hash;
}

std::string stamp(const fs::path& file) {
  return file.string() + "|" + std::to_string(fs::file_size(file)) + "|" +
         std::to_string(fs::last_write_time(file).time_since_epoch().count());
}

// Every file of the data with its size and time, and every option that changes the result.
uint64_t key_of(const fs::path& data, Split split, const LoadImagesOptions& options) {
  const std::string request =
      Json{cache_version,    split == Split::train, options.height.value_or(0), options.width.value_or(0),
           options.channels, options.skip_corrupt}
          .dump();
  uint64_t key = hash_bytes(request.data(), request.size());
  const auto add = [&](const fs::path& file) {
    const std::string text = stamp(file);
    key = hash_bytes(text.data(), text.size(), key);
  };
  const fs::path root = fs::canonical(data);
  if (!fs::is_directory(root)) {
    add(root);
    return key;
  }
  walk_files(root,
             [&](const std::string& name, bool is_folder) {
               if (!is_folder) add(root / name);
               return is_folder ? Visit::read : Visit::skip;
             },
             {});
  return key;
}

std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string checksum(const ImageSet& images, const std::string& names) {
  const std::string text = names + Json{images.height, images.width, images.channels, images.skipped}.dump();
  const uint64_t hash = hash_bytes(images.pixels.data(), images.pixels.size(), hash_bytes(text.data(), text.size()));
  return hex(hash_bytes(images.labels.data(), images.labels.size() * sizeof(int32_t), hash));
}

}  // namespace

ImageCache::ImageCache(const fs::path& data, Split split, const LoadImagesOptions& options) {
  std::error_code error;
  fs::create_directories(options.cache, error);
  if (error)
    throw Error(ErrorKind::io, "cannot create the cache folder " + options.cache.string() + ": " + error.message());
  file_ = options.cache / (hex(key_of(data, split, options)) + ".safetensors");
}

// safetensors: header size (8 bytes, little-endian), JSON header, then the tensors "labels" I32 [N] and "pixels" U8 [N,
// H, W, C].
void ImageCache::save(const ImageSet& images) const {
  const size_t label_bytes = images.labels.size() * sizeof(int32_t);
  std::map<std::string, std::string> metadata;
  set_class_names(metadata, images.class_names);
  if (class_names(metadata) != images.class_names) return;  // JSON cannot hold names that are not UTF-8
  metadata["skipped"] = std::to_string(images.skipped);
  metadata["checksum"] = checksum(images, metadata.at("names"));
  const Json header = {
      {"__metadata__", metadata},
      {"labels", {{"dtype", "I32"}, {"shape", {images.count()}}, {"data_offsets", {0, label_bytes}}}},
      {"pixels",
       {{"dtype", "U8"},
        {"shape", {images.count(), images.height, images.width, images.channels}},
        {"data_offsets", {label_bytes, label_bytes + images.pixels.size()}}}},
  };
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t text_size = text.size();

  const fs::path temporary = file_.string() + "." + std::to_string(getpid()) + ".tmp";
  std::FILE* out = std::fopen(temporary.c_str(), "wb");
  if (!out) return;
  const auto write = [&](const void* data, size_t size) { return std::fwrite(data, 1, size, out) == size; };
  const bool written = write(&text_size, 8) && write(text.data(), text.size()) &&
                       write(images.labels.data(), label_bytes) && write(images.pixels.data(), images.pixels.size()) &&
                       std::fflush(out) == 0 && fsync(fileno(out)) == 0;
  std::error_code error;
  if (std::fclose(out) == 0 && written) fs::rename(temporary, file_, error);
  fs::remove(temporary, error);
}

std::optional<ImageSet> ImageCache::load() const {
  std::ifstream in(file_, std::ios::binary);
  uint64_t text_size = 0;
  std::error_code error;
  const uintmax_t file_size = fs::file_size(file_, error);
  if (error || !in.read(reinterpret_cast<char*>(&text_size), 8) || text_size > file_size - 8) return std::nullopt;
  std::string text(text_size, '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(text_size))) return std::nullopt;
  try {
    const Json header = Json::parse(text);
    const auto metadata = header.at("__metadata__").get<std::map<std::string, std::string>>();
    const auto shape = header.at("pixels").at("shape").get<std::array<int64_t, 4>>();
    const auto labels = header.at("labels").at("data_offsets").get<std::array<uint64_t, 2>>();
    const auto pixels = header.at("pixels").at("data_offsets").get<std::array<uint64_t, 2>>();
    ImageSet images;
    images.height = shape[1];
    images.width = shape[2];
    images.channels = shape[3];
    images.skipped = std::stoll(metadata.at("skipped"));
    images.class_names = class_names(metadata);
    if (labels[0] != 0 || labels[1] % sizeof(int32_t) != 0 || pixels[0] != labels[1] || pixels[1] < pixels[0] ||
        pixels[1] != file_size - 8 - text_size || labels[1] / sizeof(int32_t) != static_cast<uint64_t>(shape[0])) {
      return std::nullopt;
    }
    images.labels.resize(labels[1] / sizeof(int32_t));
    images.pixels.resize(pixels[1] - pixels[0]);
    in.read(reinterpret_cast<char*>(images.labels.data()), static_cast<std::streamsize>(labels[1]));
    in.read(reinterpret_cast<char*>(images.pixels.data()), static_cast<std::streamsize>(images.pixels.size()));
    if (!in || checksum(images, metadata.at("names")) != metadata.at("checksum")) return std::nullopt;
    return images;
  } catch (const std::exception&) {  // whatever is wrong with it, it is written anew
    return std::nullopt;
  }
}

}  // namespace reducenet
