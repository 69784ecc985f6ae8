#include <gtest/gtest.h>

#include <algorithm>

#include "data/testing.h"
#include "reducenet/data.h"

namespace reducenet {
namespace {

namespace fs = std::filesystem;
using testing::error_of;

// Record i: label(s), then pixel p of plane c is i + 50·c + p mod 7.
Bytes records(int count, int label_bytes, uint8_t first_label) {
  Bytes bytes;
  for (int i = 0; i < count; ++i) {
    if (label_bytes == 2) bytes.push_back(99);  // the coarse label is not used
    bytes.push_back(static_cast<uint8_t>(first_label + i));
    for (int c = 0; c < 3; ++c) {
      for (int p = 0; p < 1024; ++p) bytes.push_back(static_cast<uint8_t>(i + 50 * c + p % 7));
    }
  }
  return bytes;
}

std::vector<testing::TarEntry> cifar10() {
  std::vector<testing::TarEntry> files = {{"cifar-10-batches-bin/", {}}};
  for (int i = 1; i <= 5; ++i) {
    files.push_back(
        {"cifar-10-batches-bin/data_batch_" + std::to_string(i) + ".bin", records(2, 1, static_cast<uint8_t>(i))});
  }
  files.push_back({"cifar-10-batches-bin/test_batch.bin", records(3, 1, 7)});
  return files;
}

void write_all(const fs::path& root, const std::vector<testing::TarEntry>& files) {
  for (const testing::TarEntry& file : files) {
    if (!file.name.ends_with('/')) testing::write_file(root / file.name, file.bytes);
  }
}

void check_cifar10(const fs::path& path) {
  const ImageSet train = load_images(path, Split::train), test = load_images(path, Split::test);
  EXPECT_EQ(train.labels, (std::vector<int32_t>{1, 2, 2, 3, 3, 4, 4, 5, 5, 6}));
  EXPECT_EQ(test.labels, (std::vector<int32_t>{7, 8, 9}));
  EXPECT_EQ(test.class_names.size(), 10u);
  EXPECT_EQ(test.class_names[9], "truck");
  ASSERT_EQ(test.image_bytes(), 3072);
  for (int p = 0; p < 1024; ++p) {
    for (int c = 0; c < 3; ++c) ASSERT_EQ(test.image(2)[3 * p + c], 2 + 50 * c + p % 7) << p << " " << c;
  }
}

TEST(Cifar, FolderAndFolderAboveAndArchive) {
  const testing::TemporaryFolder folder;
  write_all(folder, cifar10());
  testing::write_tar(folder / "cifar-10-binary.tar.gz", cifar10());
  check_cifar10(folder);
  check_cifar10(folder / "cifar-10-batches-bin");
  check_cifar10(folder / "cifar-10-binary.tar.gz");
}

TEST(Cifar, HundredClassesUseTheFineLabel) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "cifar-100-binary/train.bin", records(3, 2, 40));
  testing::write_file(folder / "cifar-100-binary/test.bin", records(1, 2, 99));
  EXPECT_EQ(load_images(folder.path(), Split::train).labels, (std::vector<int32_t>{40, 41, 42}));
  const ImageSet test = load_images(folder.path(), Split::test);
  EXPECT_EQ(test.class_names.size(), 100u);
  EXPECT_EQ(test.class_names[static_cast<size_t>(test.labels[0])], "worm");
  EXPECT_TRUE(std::is_sorted(test.class_names.begin(), test.class_names.end()));
}

TEST(Cifar, NamesFromTheFile) {
  const testing::TemporaryFolder folder;
  write_all(folder, cifar10());
  const std::string names = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n";
  testing::write_file(folder / "cifar-10-batches-bin/batches.meta.txt", {names.begin(), names.end()});
  EXPECT_EQ(load_images(folder.path(), Split::test).class_names[9], "j");
  testing::write_file(folder / "cifar-10-batches-bin/batches.meta.txt", {'a', '\n'});
  EXPECT_NE(error_of([&] { load_images(folder.path(), Split::test); }).find("batches.meta.txt: 1 names for 10"),
            std::string::npos);
}

TEST(Cifar, FitsSizeAndChannels) {
  const testing::TemporaryFolder folder;
  write_all(folder, cifar10());
  LoadImagesOptions options;
  options.height = options.width = 8;
  options.channels = 1;
  const ImageSet set = load_images(folder.path(), Split::test, options);
  EXPECT_EQ(set.height * 100 + set.width * 10 + set.channels, 881);
  EXPECT_EQ(set.pixels.size(), 3u * 64);
}

TEST(Cifar, EveryTruncationButAWholeRecordIsAnError) {
  const testing::TemporaryFolder folder;
  const fs::path file = folder / "test_batch.bin";
  testing::write_file(file, records(2, 1, 0));
  for (uintmax_t size = fs::file_size(file); size-- > 0;) {
    fs::resize_file(file, size);
    const std::string message = error_of([&] { load_images(folder.path(), Split::test); });
    if (size == 3073) {
      ASSERT_EQ(message, "no error");
    } else {
      ASSERT_EQ(message, "3: " + file.string() + ": " + std::to_string(size) +
                             " bytes are no multiple of a CIFAR record's 3073");
    }
  }
}

TEST(Cifar, WrongLabelAndMissingBatch) {
  const testing::TemporaryFolder folder;
  write_all(folder, cifar10());
  const fs::path data = folder / "cifar-10-batches-bin";
  testing::write_file(data / "test_batch.bin", records(2, 1, 9));
  EXPECT_EQ(error_of([&] { load_images(data, Split::test); }),
            "3: " + (data / "test_batch.bin").string() + ": record 1 has label 10 of 10 classes");
  fs::remove(data / "data_batch_4.bin");
  EXPECT_EQ(error_of([&] { load_images(data, Split::train); }),
            "3: " + (data / "data_batch_4.bin").string() + ": missing");
}

}  // namespace
}  // namespace reducenet
