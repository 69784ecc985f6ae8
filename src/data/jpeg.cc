#include <csetjmp>
#include <cstdio>

// jerror.h needs jpeglib.h, and that <cstdio>.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "data/image.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr int max_scans = 500;  // a progressive file of a few KB may otherwise ask for hours of work

// libjpeg reports errors by longjmp. The functions that call setjmp therefore hold no object with a destructor.
class JpegDecoder {
 public:
  JpegDecoder() {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = [](j_common_ptr info) { self(info).fail(); };
    errors_.emit_message = [](j_common_ptr info, int level) {
      if (level < 0 && !harmless(info->err->msg_code)) self(info).fail();
    };
    progress_.progress_monitor = [](j_common_ptr info) {
      if (info->is_decompressor && reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > max_scans) {
        info->err->msg_code = JERR_BAD_PROGRESSION;
        self(info).fail();
      }
    };
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  bool read_header(const uint8_t* bytes, unsigned long size) {
    if (setjmp(escape_)) return false;
    jpeg_create_decompress(&info_);
    info_.client_data = this;
    info_.progress = &progress_;
    jpeg_mem_src(&info_, bytes, size);
    jpeg_read_header(&info_, TRUE);
    info_.out_color_space = info_.jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    return true;
  }

  bool read_pixels(uint8_t* pixels) {
    if (setjmp(escape_)) return false;
    jpeg_start_decompress(&info_);
    const size_t row_bytes = size_t{info_.output_width} * static_cast<size_t>(info_.output_components);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = pixels + info_.output_scanline * row_bytes;
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  const jpeg_decompress_struct& info() const { return info_; }
  const char* message() const { return message_; }

 private:
  static JpegDecoder& self(j_common_ptr info) { return *static_cast<JpegDecoder*>(info->client_data); }

  // Warnings after which the pixels are still what was stored. All others mean damaged or missing data.
  static bool harmless(int code) {
    return code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM ||
           code == JWRN_TOO_MUCH_DATA;
  }

  [[noreturn]] void fail() {
    errors_.format_message(reinterpret_cast<j_common_ptr>(&info_), message_);
    std::longjmp(escape_, 1);
  }

  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf escape_{};
  char message_[JMSG_LENGTH_MAX]{};
};

}  // namespace

DecodedImage decode_jpeg(std::span<const uint8_t> bytes, const std::string& name) {
  JpegDecoder decoder;
  const auto check = [&](bool ok) {
    if (!ok) throw Error(ErrorKind::bad_input, name + ": corrupt JPEG: " + decoder.message());
  };
  check(decoder.read_header(bytes.data(), bytes.size()));
  const jpeg_decompress_struct& info = decoder.info();
  check_dimensions(info.image_height, info.image_width, name);
  if (info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK) {
    throw Error(ErrorKind::unsupported, name + ": CMYK JPEG; convert it to RGB");
  }
  DecodedImage image{info.image_height, info.image_width, info.out_color_space == JCS_GRAYSCALE ? 1 : 3, {}};
  image.pixels.resize(static_cast<size_t>(image.height * image.width * image.channels));
  check(decoder.read_pixels(image.pixels.data()));
  return image;
}

}  // namespace reducenet
