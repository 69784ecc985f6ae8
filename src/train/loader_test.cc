#include "train/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace reducenet::train {
namespace {

/// Pixel value = 1 + 10·y + x + 100·(c > 0), so that no pixel is black and every place shows.
ImageSet numbered(int64_t count, int64_t size = 8, int64_t channels = 3) {
  ImageSet images{.height = size, .width = size, .channels = channels, .pixels = {}, .labels = {}, .class_names = {}};
  for (int64_t i = 0; i < count; ++i) {
    images.labels.push_back(static_cast<int32_t>(i % 3));
    for (int64_t y = 0; y < size; ++y) {
      for (int64_t x = 0; x < size; ++x) {
        for (int64_t c = 0; c < channels; ++c) {
          images.pixels.push_back(static_cast<uint8_t>(1 + 10 * y + x + (c > 0 ? 100 : 0)));
        }
      }
    }
  }
  return images;
}

Preprocessing preprocessing_for(const ImageSet& images) {
  Preprocessing p{.height = images.height, .width = images.width, .channels = images.channels, .mean = {}, .std = {}};
  for (int64_t c = 0; c < images.channels; ++c) {
    p.mean.push_back(0.3 + 0.1 * static_cast<double>(c));
    p.std.push_back(0.2 + 0.05 * static_cast<double>(c));
  }
  return p;
}

std::vector<float> written(const ImageSet& images, const Augmentation& augmentation, uint64_t random) {
  std::vector<float> out(static_cast<size_t>(images.image_bytes()), -99.0F);
  const View view = draw_view(0, images.height, images.width, augmentation, random);
  ImageWriter(images, preprocessing_for(images)).write(view, augmentation.cutout, out.data());
  return out;
}

TEST(ImageWriter, WithoutAugmentationIsPreprocessing) {
  for (const int64_t channels : {1, 3}) {
    const ImageSet images = numbered(1, 8, channels);
    std::vector<float> planes(static_cast<size_t>(images.image_bytes()));
    preprocessing_for(images).apply(images.image(0), planes.data());
    const std::vector<float> out = written(images, {}, 7);
    for (int64_t p = 0; p < 64; ++p) {
      for (int64_t c = 0; c < channels; ++c) {
        EXPECT_EQ(out[static_cast<size_t>(p * channels + c)], planes[static_cast<size_t>(c * 64 + p)]);
      }
    }
  }
}

TEST(ImageWriter, CropAndFlipMoveWholeImages) {
  const ImageSet images = numbered(1);
  const std::vector<float> plain = written(images, {}, 0);
  const ImageSet black{
      .height = 8, .width = 8, .channels = 3, .pixels = std::vector<uint8_t>(192), .labels = {0}, .class_names = {}};
  const std::vector<float> dark = written(black, {}, 0);
  std::set<std::array<int64_t, 3>> seen;
  for (uint64_t random = 0; random < 2000; ++random) {
    const std::vector<float> out = written(images, {.crop = 2, .flip = true}, random);
    int matches = 0;
    for (int64_t dy = -2; dy <= 2; ++dy) {
      for (int64_t dx = -2; dx <= 2; ++dx) {
        for (int64_t flip = 0; flip < 2; ++flip) {
          std::vector<float> expected = dark;
          for (int64_t y = 0; y < 8; ++y) {
            for (int64_t x = 0; x < 8; ++x) {
              const int64_t sy = y + dy, sx = flip != 0 ? 7 - (x + dx) : x + dx;
              if (sy < 0 || sy > 7 || sx < 0 || sx > 7) continue;
              std::copy_n(plain.begin() + (sy * 8 + sx) * 3, 3, expected.begin() + (y * 8 + x) * 3);
            }
          }
          if (expected != out) continue;
          ++matches;
          seen.insert({dy, dx, flip});
        }
      }
    }
    ASSERT_EQ(matches, 1) << random;
  }
  EXPECT_EQ(seen.size(), 50U);  // every shift, either way round
}

TEST(ImageWriter, CropMayExceedTheImage) {
  const ImageSet images = numbered(1, 4);
  for (uint64_t random = 0; random < 200; ++random) {
    const std::vector<float> out = written(images, {.crop = 9, .flip = true}, random);
    EXPECT_EQ(std::ranges::count(out, -99.0F), 0);
  }
}

TEST(ImageWriter, CutoutIsASquareOfMean) {
  const ImageSet images = numbered(1);
  const std::vector<float> plain = written(images, {}, 0);
  std::set<int64_t> sizes;
  for (uint64_t random = 0; random < 500; ++random) {
    const std::vector<float> out = written(images, {.cutout = 4}, random);
    int64_t cut = 0, top = 8, bottom = -1, left = 8, right = -1;
    for (int64_t p = 0; p < 64; ++p) {
      const auto first = static_cast<size_t>(p * 3);
      if (out[first] == plain[first]) continue;
      for (size_t c = 0; c < 3; ++c) EXPECT_EQ(out[first + c], 0.0F);
      ++cut;
      top = std::min(top, p / 8), bottom = std::max(bottom, p / 8);
      left = std::min(left, p % 8), right = std::max(right, p % 8);
    }
    EXPECT_EQ(cut, (bottom - top + 1) * (right - left + 1));
    EXPECT_LE(std::max(bottom - top, right - left), 3);
    sizes.insert(cut);
  }
  EXPECT_EQ(*sizes.rbegin(), 16);
  EXPECT_EQ(*sizes.begin(), 4);
}

TEST(HoldOut, EvenlySpacedIndicesMeetEveryClass) {
  const std::vector<int32_t> by_class{2, 3, 5, 7, 11, 13, 17};
  EXPECT_EQ(evenly_spaced(by_class, 3), (std::vector<int32_t>{2, 5, 11}));
  EXPECT_EQ(evenly_spaced(by_class, 9), by_class);
  EXPECT_TRUE(evenly_spaced(by_class, 0).empty());
}

TEST(HoldOut, TakesTheAskedNumberOfEveryClassAlike) {
  const ImageSet images = numbered(1000, 1);
  for (const int64_t count : {0, 1, 100, 333, 999}) {
    const HoldOut split = hold_out(images, count, 0);
    EXPECT_EQ(static_cast<int64_t>(split.validation.size()), count);
    std::vector<int32_t> all = split.training;
    all.insert(all.end(), split.validation.begin(), split.validation.end());
    std::ranges::sort(all);
    std::vector<int32_t> expected(1000);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
    std::map<int32_t, int64_t> per_class;
    for (const int32_t i : split.validation) ++per_class[images.labels[static_cast<size_t>(i)]];
    for (const auto& [label, n] : per_class) EXPECT_NEAR(static_cast<double>(n), static_cast<double>(count) / 3, 1.5);
  }
  EXPECT_EQ(hold_out(images, 100, 0).validation, hold_out(images, 100, 0).validation);
  EXPECT_EQ(hold_out(images, kTenth, 0).validation, hold_out(images, 100, 0).validation);
  EXPECT_NE(hold_out(images, 100, 0).validation, hold_out(images, 100, 1).validation);
}

TEST(EpochOrder, IsAPermutationOfItsOwnForEverySeedAndEpoch) {
  std::vector<int32_t> indices(500);
  std::iota(indices.begin(), indices.end(), 0);
  const std::vector<int32_t> order = epoch_order(indices, 1, 2);
  EXPECT_EQ(order, epoch_order(indices, 1, 2));
  EXPECT_NE(order, epoch_order(indices, 2, 2));
  EXPECT_NE(order, epoch_order(indices, 1, 3));
  std::vector<int32_t> sorted = order;
  std::ranges::sort(sorted);
  EXPECT_EQ(sorted, indices);
  // The order of any subset is the order of the whole, restricted to it.
  std::vector<int32_t> half(250), expected;
  std::iota(half.begin(), half.end(), 0);
  std::ranges::copy_if(order, std::back_inserter(expected), [](int32_t i) { return i < 250; });
  EXPECT_EQ(epoch_order(half, 1, 2), expected);
}

TEST(Loader, ServesEveryImageOnceAndResumesAnywhere) {
  const ImageSet images = numbered(50);
  const ImageWriter writer(images, preprocessing_for(images));
  std::vector<int32_t> all(50);
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> order = epoch_order(all, 5, 1);
  const Loader::Source source{.images = writer, .order = order, .augmentation = {2, true, 3}, .seed = 5, .epoch = 1};
  const auto serve = [&](int64_t first) {
    std::vector<float> even(16 * 192), odd(16 * 192), pixels;
    std::vector<int64_t> labels;
    Loader loader(source, 16, first, even, odd);
    for (Batch batch = loader.next(); batch.count() > 0; batch = loader.next()) {
      pixels.insert(pixels.end(), batch.pixels.begin(), batch.pixels.end());
      labels.insert(labels.end(), batch.labels.begin(), batch.labels.end());
    }
    return std::pair(pixels, labels);
  };
  const auto [pixels, labels] = serve(0);
  ASSERT_EQ(labels.size(), 50U);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(labels[i], images.labels[static_cast<size_t>(order[i])]);
  const auto [later_pixels, later_labels] = serve(2);
  EXPECT_EQ(later_labels, std::vector<int64_t>(labels.begin() + 32, labels.end()));
  EXPECT_EQ(later_pixels, std::vector<float>(pixels.begin() + 32 * 192, pixels.end()));
}

}  // namespace
}  // namespace reducenet::train
