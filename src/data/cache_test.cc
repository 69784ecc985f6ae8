#include <gtest/gtest.h>

#include <fstream>

#include "data/readers.h"
#include "data/testing.h"

namespace reducenet {
namespace {

namespace fs = std::filesystem;

class Cache : public ::testing::Test {
 protected:
  Cache() {
    for (const char* name : {"train/a/1.png", "train/b/1.png", "train/b/2.png"}) {
      testing::write_file(data / name, testing::png_of(testing::gradient(5, 4, 3)));
    }
    options.cache = folder / "new/cache";
    options.progress = [this](int64_t, int64_t) { ++decoded; };
  }
  // The set, and how many images had to be decoded for it.
  std::pair<ImageSet, int> load() {
    decoded = 0;
    ImageSet images = load_images(data, Split::train, options);
    return {std::move(images), decoded};
  }
  fs::path entry() const { return ImageCache(data, Split::train, options).file(); }

  const testing::TemporaryFolder folder;
  const fs::path data = folder / "data";
  LoadImagesOptions options;
  int decoded = 0;
};

TEST_F(Cache, SecondLoadDecodesNothingAndIsTheSame) {
  testing::write_file(data / "train/b/3.png", {1});
  options.skip_corrupt = true;
  const auto [cold, cold_decoded] = load();
  const auto [warm, warm_decoded] = load();
  EXPECT_EQ(cold_decoded, 4);
  EXPECT_EQ(warm_decoded, 0);
  EXPECT_EQ(warm.pixels, cold.pixels);
  EXPECT_EQ(warm.labels, cold.labels);
  EXPECT_EQ(warm.class_names, cold.class_names);
  EXPECT_EQ(warm.skipped, 1);
  EXPECT_EQ(warm.height * 100 + warm.width * 10 + warm.channels, 543);
}

TEST_F(Cache, OptionsAndSplitHaveTheirOwnEntries) {
  const fs::path plain = entry();
  EXPECT_NE(ImageCache(data, Split::test, options).file(), plain);
  options.channels = 1;
  const fs::path grey = entry();
  EXPECT_NE(grey, plain);
  options.height = options.width = 3;
  EXPECT_NE(entry(), grey);
  options = {.cache = options.cache, .progress = {}};
  options.threads = 5;
  EXPECT_EQ(entry(), plain);
}

TEST_F(Cache, ChangedDataIsReadAnew) {
  load();
  testing::write_file(data / "train/a/2.png", testing::png_of(testing::gradient(5, 4, 3)));
  EXPECT_EQ(load().first.count(), 4);
  const fs::path before = entry();
  fs::last_write_time(data / "train/a/1.png", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_NE(entry(), before);
}

TEST_F(Cache, DamagedEntryIsIgnoredAndRewritten) {
  const ImageSet cold = load().first;
  std::ifstream in(entry(), std::ios::binary);
  const Bytes whole(std::istreambuf_iterator<char>(in), {});
  const auto check = [&](const Bytes& damaged, const std::string& what) {
    testing::write_file(entry(), damaged);
    const auto [images, decoded] = load();
    ASSERT_EQ(decoded, 3) << what;
    ASSERT_EQ(images.pixels, cold.pixels) << what;
    ASSERT_EQ(load().second, 0) << what << ", rewritten";
  };
  for (size_t size = 0; size < whole.size(); size += 31) {
    check({whole.begin(), whole.begin() + static_cast<long>(size)}, "cut at " + std::to_string(size));
  }
  Bytes longer = whole;
  longer.push_back(0);
  check(longer, "longer");
  for (size_t at = whole.size() - 192; at < whole.size(); at += 17) {  // labels and pixels
    Bytes damaged = whole;
    damaged[at] ^= 4;
    check(damaged, "flipped at " + std::to_string(at));
  }
}

// A flip in the header's text may be harmless, but it must never change the images or crash.
TEST_F(Cache, FlipsInTheHeader) {
  const ImageSet cold = load().first;
  std::ifstream in(entry(), std::ios::binary);
  const Bytes whole(std::istreambuf_iterator<char>(in), {});
  for (size_t bit = 0; bit < (whole.size() - 192) * 8; bit += 29) {
    Bytes damaged = whole;
    damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    testing::write_file(entry(), damaged);
    ASSERT_EQ(load().first.pixels, cold.pixels) << bit;
  }
}

TEST_F(Cache, NamesThatJsonCannotHoldAreNotCached) {
  testing::write_file(data / "train/\xE9/1.png", testing::png_of(testing::gradient(5, 4, 3)));
  EXPECT_EQ(load().first.class_names[2], "\xE9");
  EXPECT_EQ(load().first.class_names[2], "\xE9");
  EXPECT_EQ(decoded, 4);
}

TEST_F(Cache, LeavesNoTemporaryFile) {
  load();
  const auto files = std::distance(fs::directory_iterator(options.cache), fs::directory_iterator{});
  EXPECT_EQ(files, 1);
}

TEST_F(Cache, FolderThatCannotBeCreatedIsAnError) {
  testing::write_file(folder / "file", {1});
  options.cache = folder / "file/cache";
  EXPECT_TRUE(testing::error_of([&] { load(); }).starts_with("4: cannot create the cache folder "));
}

}  // namespace
}  // namespace reducenet
