#include "train/feed.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "data/mix.h"

namespace reducenet::train {
namespace {

ImageSet noise(int64_t count, int64_t height, int64_t width, int64_t channels) {
  ImageSet images{
      .height = height, .width = width, .channels = channels, .pixels = {}, .labels = {}, .class_names = {}};
  for (int64_t i = 0; i < count; ++i) images.labels.push_back(static_cast<int32_t>(i % 5));
  uint64_t random = 1;
  for (int64_t i = 0; i < count * height * width * channels; ++i) {
    random = mix(random);
    images.pixels.push_back(static_cast<uint8_t>(random >> 56));
  }
  return images;
}

struct Case {
  int64_t channels, height, width;
  Augmentation augmentation;
};

class FeedOnDevice : public testing::TestWithParam<Case> {};

// The device here is the CPU: the same operations as on a GPU, on bytes that need no copy.
TEST_P(FeedOnDevice, MakesTheBatchesOfTheHostToTheBit) {
  const auto& [channels, height, width, augmentation] = GetParam();
  const ImageSet images = noise(45, height, width, channels);
  const auto count = static_cast<size_t>(channels);
  const Preprocessing preprocessing{.height = height,
                                    .width = width,
                                    .channels = channels,
                                    .mean = std::vector<double>(count, 0.45),
                                    .std = std::vector<double>(count, 0.22)};
  std::vector<int32_t> all(45);
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> order = epoch_order(all, 3, 7);
  Feed host(images, preprocessing, 16, at::kCPU, Augmented::on_host);
  Feed device(images, preprocessing, 16, at::kCPU, Augmented::on_device);
  Loader ours = host.loader(order, augmentation, 3, 7), theirs = device.loader(order, augmentation, 3, 7);
  for (const int64_t size : {16, 16, 13, 0}) {
    const Labelled expected = host.tensors(ours.next()), got = device.tensors(theirs.next());
    ASSERT_EQ(expected.labels.numel(), size);
    EXPECT_TRUE(at::equal(got.labels, expected.labels));
    EXPECT_TRUE(at::equal(got.pixels, expected.pixels));
    if (size == 0) continue;
    EXPECT_TRUE(got.pixels.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_GT(got.pixels.std().item<float>(), 0.5F);
  }
}

TEST(Feed, WithAnotherBatchServesTheSameImages) {
  const ImageSet images = noise(45, 6, 6, 3);
  const Preprocessing preprocessing{
      .height = 6, .width = 6, .channels = 3, .mean = {0.4, 0.5, 0.6}, .std = {0.2, 0.2, 0.3}};
  std::vector<int32_t> order(45);
  std::iota(order.begin(), order.end(), 0);
  for (const Augmented where : {Augmented::on_host, Augmented::on_device}) {
    Feed small(images, preprocessing, 15, at::kCPU, where), large = small.with_batch(45);
    EXPECT_EQ(small.batch(), 15);
    EXPECT_EQ(large.batch(), 45);
    Loader parts = small.loader(order), whole = large.loader(order);
    const at::Tensor all = large.tensors(whole.next()).pixels;
    for (int64_t first = 0; first < 45; first += 15) {
      EXPECT_TRUE(at::equal(small.tensors(parts.next()).pixels, all.narrow(0, first, 15)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Augmentations, FeedOnDevice,
                         testing::Values(Case{3, 12, 12, {}}, Case{3, 12, 12, {.crop = 4}},
                                         Case{3, 12, 12, {.flip = true}}, Case{3, 12, 12, {.cutout = 5}},
                                         Case{3, 9, 14, {.crop = 20, .flip = true, .cutout = 6}},
                                         Case{1, 14, 9, {.crop = 3, .flip = true, .cutout = 4}}));

}  // namespace
}  // namespace reducenet::train
