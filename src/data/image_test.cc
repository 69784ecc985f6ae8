#include "data/image.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "data/testing.h"

namespace reducenet {
namespace {

using testing::error_of;
using testing::gradient;

int64_t largest_difference(const DecodedImage& a, const DecodedImage& b) {
  EXPECT_EQ(a.height, b.height);
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.channels, b.channels);
  if (a.pixels.size() != b.pixels.size()) return 256;
  int64_t largest = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i)
    largest = std::max<int64_t>(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

TEST(Jpeg, DecodesColourAndGrey) {
  for (const int64_t channels : {1, 3}) {
    const DecodedImage image = gradient(19, 13, channels);
    EXPECT_LE(largest_difference(decode_image(testing::jpeg_of(image), "x.jpg"), image), 6);
  }
}

TEST(Jpeg, RefusesCmykByName) {
  EXPECT_EQ(error_of([] { decode_image(testing::cmyk_jpeg(8, 8), "a/b.jpg"); }),
            "5: a/b.jpg: CMYK JPEG; convert it to RGB");
}

TEST(Jpeg, EveryTruncationIsAnErrorThatNamesTheFile) {
  const Bytes whole = testing::jpeg_of(gradient(24, 24, 3));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string message = error_of([&] { decode_image({whole.data(), size}, "cut.jpg"); });
    ASSERT_TRUE(message.starts_with("3: cut.jpg: ")) << size << " of " << whole.size() << ": " << message;
  }
}

TEST(Png, EveryTruncationIsAnErrorThatNamesTheFile) {
  const Bytes whole = testing::png_of(gradient(12, 12, 3));
  for (size_t size = 0; size < whole.size() - 4; ++size) {  // the last 4 are the end mark's own checksum
    const std::string message = error_of([&] { decode_image({whole.data(), size}, "cut.png"); });
    ASSERT_TRUE(message.starts_with("3: cut.png: ")) << size << " of " << whole.size() << ": " << message;
  }
}

// Damaged files decode or throw Error; the sanitizers watch the rest.
void flip_bits(const Bytes& whole, const DecodedImage& original) {
  std::mt19937_64 random(1);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    Bytes damaged = whole;
    const uint64_t at = random() % (damaged.size() * 8);
    damaged[at / 8] ^= static_cast<uint8_t>(1 << at % 8);
    try {
      const DecodedImage image = decode_image(damaged, "damaged");
      ASSERT_EQ(static_cast<int64_t>(image.pixels.size()), image.height * image.width * image.channels);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(decode_image(whole, "whole").height, original.height);
}

TEST(Jpeg, BitFlips) {
  flip_bits(testing::jpeg_of(gradient(24, 24, 3)), gradient(24, 24, 3));
}
TEST(Png, BitFlips) {
  flip_bits(testing::png_of(gradient(24, 24, 3)), gradient(24, 24, 3));
}

TEST(Png, KeepsEightBitSamples) {
  for (const int64_t channels : {1, 3}) {
    const DecodedImage image = gradient(7, 5, channels);
    EXPECT_EQ(decode_image(testing::png_of(image), "x.png").pixels, image.pixels);
  }
}

TEST(Png, InterlacedIsTheSameImage) {
  const DecodedImage image = gradient(16, 16, 3);
  const testing::PngSource source{16, 16, 2, 8, image.pixels, {}, true};
  EXPECT_EQ(decode_image(testing::png_of(source), "x.png").pixels, image.pixels);
}

TEST(Png, SixteenBitsKeepTheUpperEight) {
  const uint16_t samples[] = {0x1234, 0xABCD, 0xFFFF};
  const auto* bytes = reinterpret_cast<const uint8_t*>(samples);
  const DecodedImage image = decode_image(testing::png_of({1, 1, 2, 16, {bytes, bytes + 6}, {}, false}), "x.png");
  EXPECT_EQ(image.pixels, (Bytes{0x12, 0xAB, 0xFF}));
}

TEST(Png, GreyOfTwoBitsCoversTheRange) {
  const DecodedImage image = decode_image(testing::png_of({1, 4, 0, 2, {0b00'01'10'11}, {}, false}), "x.png");
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.pixels, (Bytes{0, 85, 170, 255}));
}

TEST(Png, AlphaIsCompositedOntoWhite) {
  // v = (c·a + 255·(255 − a)) / 255, rounded: a = 51 is one fifth.
  const DecodedImage rgba =
      decode_image(testing::png_of({1, 2, 6, 8, {10, 20, 30, 0, 100, 0, 255, 51}, {}, false}), "x");
  EXPECT_EQ(rgba.pixels, (Bytes{255, 255, 255, 224, 204, 255}));
  const DecodedImage grey = decode_image(testing::png_of({1, 1, 4, 8, {100, 51}, {}, false}), "x");
  EXPECT_EQ(grey.channels, 1);
  EXPECT_EQ(grey.pixels, (Bytes{224}));
}

TEST(Png, PaletteWithTransparentEntry) {
  const DecodedImage image =
      decode_image(testing::png_of({1, 3, 3, 8, {0, 1, 2}, {9, 8, 7, 255, 200, 0, 0, 255, 0, 0, 0, 0}, false}), "x");
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.pixels, (Bytes{9, 8, 7, 200, 0, 0, 255, 255, 255}));
}

// Files of a few hundred bytes that claim gigabytes are refused by their headers.
TEST(Limits, SizeIsCheckedBeforeAllocation) {
  Bytes png = testing::png_of(gradient(8, 8, 3));
  png[18] = 0x40, png[19] = 0x00;  // width 16384
  png[22] = 0x20, png[23] = 0x00;  // height 8192
  const uLong checksum = crc32(0, png.data() + 12, 17);
  for (int i = 0; i < 4; ++i) png[29 + i] = static_cast<uint8_t>(checksum >> (24 - 8 * i));
  EXPECT_EQ(error_of([&] { decode_image(png, "big.png"); }),
            "5: big.png: 8192×16384 pixels; the limit is 65536 a side and 64 megapixels");
  Bytes jpeg = testing::jpeg_of(gradient(8, 8, 3));
  for (size_t i = 0; i + 8 < jpeg.size(); ++i) {
    if (jpeg[i] == 0xFF && jpeg[i + 1] == 0xC0) jpeg[i + 5] = jpeg[i + 6] = jpeg[i + 7] = jpeg[i + 8] = 0xF0;
  }
  EXPECT_EQ(error_of([&] { decode_image(jpeg, "big.jpg"); }),
            "5: big.jpg: 61680×61680 pixels; the limit is 65536 a side and 64 megapixels");
  EXPECT_EQ(error_of([] { check_dimensions(8192, 8192, "fits"); }), "no error");
  EXPECT_NE(error_of([] { check_dimensions(8193, 8192, "too large"); }), "no error");
  EXPECT_NE(error_of([] { check_dimensions(1, 65537, "too wide"); }), "no error");
}

TEST(Decode, NeitherJpegNorPng) {
  EXPECT_EQ(error_of([] { decode_image(Bytes{'G', 'I', 'F', '8'}, "x.jpg"); }), "3: x.jpg: neither a JPEG nor a PNG");
}

// Width 4 → 2: centres 1 and 3, half-width 2, weights (0.75, 0.75, 0.25) / 1.75 and their mirror image.
TEST(Resize, HalvesARowByHand) {
  const DecodedImage row = resize_image({1, 4, 1, {0, 100, 200, 40}}, 1, 2);
  EXPECT_EQ(row.pixels, (Bytes{71, 117}));  // 125 / 1.75 = 71.43, 205 / 1.75 = 117.14
  const DecodedImage column = resize_image({4, 1, 1, {0, 100, 200, 40}}, 2, 1);
  EXPECT_EQ(column.pixels, row.pixels);
}

// Width 2 → 4: centres 0.25, 0.75, 1.25, 1.75, half-width 1.
TEST(Resize, DoublesARowByHand) {
  EXPECT_EQ(resize_image({1, 2, 1, {0, 100}}, 1, 4).pixels, (Bytes{0, 25, 75, 100}));
}

// Width 3 → 2: centres 0.75 and 2.25, half-width 1.5: weights (5/6, 1/2, 0)/(4/3) = (5/8, 3/8).
TEST(Resize, ThreeToTwoByHand) {
  EXPECT_EQ(resize_image({1, 3, 1, {80, 160, 240}}, 1, 2).pixels, (Bytes{110, 210}));
}

TEST(Resize, ChannelsStayApartAndConstantsStayConstant) {
  const DecodedImage image = resize_image({2, 2, 3, {0, 7, 255, 0, 7, 255, 0, 7, 255, 0, 7, 255}}, 5, 3);
  ASSERT_EQ(image.pixels.size(), 45u);
  for (size_t i = 0; i < image.pixels.size(); ++i) EXPECT_EQ(image.pixels[i], (std::array{0, 7, 255})[i % 3]) << i;
}

TEST(Resize, SameSizeIsTheSameImage) {
  const DecodedImage image = gradient(6, 9, 3);
  EXPECT_EQ(resize_image(image, 6, 9).pixels, image.pixels);
}

TEST(Channels, LumaAndBack) {
  EXPECT_EQ(convert_channels({1, 3, 3, {255, 0, 0, 0, 255, 0, 0, 0, 255}}, 1).pixels, (Bytes{76, 150, 29}));
  EXPECT_EQ(convert_channels({1, 2, 1, {5, 250}}, 3).pixels, (Bytes{5, 5, 5, 250, 250, 250}));
}

TEST(LoadImageFile, FitsOneImage) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "x.png", testing::png_of(gradient(10, 20, 3)));
  LoadImagesOptions options;
  options.height = 4;
  options.width = 6;
  options.channels = 1;
  const ImageSet set = load_image_file(folder / "x.png", options);
  EXPECT_EQ(set.count(), 1);
  EXPECT_EQ(set.height * 100 + set.width * 10 + set.channels, 461);
  EXPECT_EQ(static_cast<int64_t>(set.pixels.size()), set.image_bytes());
  EXPECT_TRUE(error_of([&] { load_image_file(folder / "none.png"); }).starts_with("4: cannot read "));
  EXPECT_TRUE(error_of([&] { load_image_file(folder.path()); }).starts_with("4: cannot read "));
  options.width.reset();
  EXPECT_TRUE(error_of([&] { load_image_file(folder / "x.png", options); }).starts_with("2: image options: "));
}

}  // namespace
}  // namespace reducenet
