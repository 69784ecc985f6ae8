#include "data/testing.h"

#include <archive.h>
#include <archive_entry.h>
#include <spng.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>

// jpeglib.h needs <cstdio> before it.
#include <jpeglib.h>

namespace reducenet::testing {
namespace fs = std::filesystem;
namespace {

void require(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(what);
}

Bytes jpeg(const DecodedImage& image, J_COLOR_SPACE space, int quality) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &data, &size);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.input_components = static_cast<int>(image.channels);
  info.in_color_space = space;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<uint8_t*>(image.pixels.data()) + info.next_scanline * image.width * image.channels;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  const Bytes bytes(data, data + size);
  std::free(data);
  return bytes;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "reducenet-XXXXXX").string();
  require(mkdtemp(name.data()) != nullptr, "mkdtemp");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_file(const fs::path& path, const Bytes& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  require(bool(out), "cannot write a test file");
}

DecodedImage gradient(int64_t height, int64_t width, int64_t channels) {
  DecodedImage image{height, width, channels, {}};
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        image.pixels.push_back(static_cast<uint8_t>(40 + 60 * c + 50 * x / width + 20 * y / height));
      }
    }
  }
  return image;
}

Bytes jpeg_of(const DecodedImage& image, int quality) {
  return jpeg(image, image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB, quality);
}

Bytes cmyk_jpeg(int64_t height, int64_t width) {
  return jpeg({height, width, 4, Bytes(static_cast<size_t>(height * width * 4), 99)}, JCS_CMYK, 90);
}

Bytes png_of(const PngSource& source) {
  const std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)> context(spng_ctx_new(SPNG_CTX_ENCODER), spng_ctx_free);
  spng_set_option(context.get(), SPNG_ENCODE_TO_BUFFER, 1);
  spng_ihdr header{};
  header.width = source.width;
  header.height = source.height;
  header.color_type = source.color_type;
  header.bit_depth = source.bit_depth;
  header.interlace_method = source.interlaced;
  require(spng_set_ihdr(context.get(), &header) == 0, "spng_set_ihdr");
  if (!source.palette.empty()) {
    spng_plte palette{};
    spng_trns alpha{};
    palette.n_entries = alpha.n_type3_entries = static_cast<uint32_t>(source.palette.size() / 4);
    for (uint32_t i = 0; i < palette.n_entries; ++i) {
      const uint8_t* rgba = source.palette.data() + 4 * i;
      palette.entries[i] = {rgba[0], rgba[1], rgba[2], 255};
      alpha.type3_alpha[i] = rgba[3];
    }
    require(spng_set_plte(context.get(), &palette) == 0 && spng_set_trns(context.get(), &alpha) == 0, "palette");
  }
  require(spng_encode_image(context.get(), source.pixels.data(), source.pixels.size(), SPNG_FMT_PNG,
                            SPNG_ENCODE_FINALIZE) == 0,
          "spng_encode_image");
  size_t size = 0;
  int status = 0;
  const std::unique_ptr<void, decltype(&std::free)> data(spng_get_png_buffer(context.get(), &size, &status), std::free);
  require(status == 0, "spng_get_png_buffer");
  const auto* bytes = static_cast<const uint8_t*>(data.get());
  return {bytes, bytes + size};
}

Bytes png_of(const DecodedImage& image) {
  return png_of(PngSource{static_cast<uint32_t>(image.height),
                          static_cast<uint32_t>(image.width),
                          static_cast<uint8_t>(image.channels == 1 ? 0 : 2),
                          8,
                          image.pixels,
                          {},
                          false});
}

Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  require(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
  Bytes packed(deflateBound(&stream, bytes.size()));
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

void write_tar(const fs::path& path, const std::vector<TarEntry>& entries) {
  const std::unique_ptr<archive, decltype(&archive_write_free)> tar(archive_write_new(), archive_write_free);
  archive_write_set_format_gnutar(tar.get());
  const std::string ending = path.extension().string();
  if (ending == ".gz" || ending == ".tgz") archive_write_add_filter_gzip(tar.get());
  if (ending == ".zst") archive_write_add_filter_zstd(tar.get());
  require(archive_write_open_filename(tar.get(), path.c_str()) == ARCHIVE_OK, "archive_write_open_filename");
  for (const TarEntry& from : entries) {
    const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(), archive_entry_free);
    const bool folder = from.name.ends_with('/');
    archive_entry_set_pathname(entry.get(), from.name.c_str());
    archive_entry_set_filetype(entry.get(), folder ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry.get(), folder ? 0755 : 0644);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(from.bytes.size()));
    require(archive_write_header(tar.get(), entry.get()) == ARCHIVE_OK, "archive_write_header");
    const auto written = archive_write_data(tar.get(), from.bytes.data(), from.bytes.size());
    require(written == static_cast<la_ssize_t>(from.bytes.size()), "archive_write_data");
  }
  require(archive_write_close(tar.get()) == ARCHIVE_OK, "archive_write_close");
}

}  // namespace reducenet::testing
