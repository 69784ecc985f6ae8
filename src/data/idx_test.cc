#include <gtest/gtest.h>

#include "data/testing.h"
#include "reducenet/data.h"

namespace reducenet {
namespace {

namespace fs = std::filesystem;
using testing::error_of;

Bytes idx(const std::vector<uint32_t>& shape, const Bytes& values) {
  Bytes bytes = {0, 0, 8, static_cast<uint8_t>(shape.size())};
  for (const uint32_t n : shape) {
    for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<uint8_t>(n >> shift));
  }
  bytes.insert(bytes.end(), values.begin(), values.end());
  return bytes;
}

const Bytes images = idx({3, 1, 2}, {10, 11, 20, 21, 30, 31}), labels = idx({3}, {7, 0, 9});

TEST(Idx, PlainAndGzipAndEitherSeparator) {
  for (const bool zipped : {false, true}) {
    for (const std::string separator : {"-", "."}) {
      const testing::TemporaryFolder folder;
      const std::string ending = separator + (zipped ? "idx3-ubyte.gz" : "idx3-ubyte");
      const std::string label_ending = separator + (zipped ? "idx1-ubyte.gz" : "idx1-ubyte");
      testing::write_file(folder / ("train-images" + ending), zipped ? testing::gzip(images) : images);
      testing::write_file(folder / ("train-labels" + label_ending), zipped ? testing::gzip(labels) : labels);
      const ImageSet set = load_images(folder.path(), Split::train);
      EXPECT_EQ(set.pixels, (Bytes{10, 11, 20, 21, 30, 31}));
      EXPECT_EQ(set.labels, (std::vector<int32_t>{7, 0, 9}));
      EXPECT_EQ(set.height * 100 + set.width * 10 + set.channels, 121);
      EXPECT_EQ(set.class_names.size(), 10u);
      EXPECT_EQ(set.class_names[9], "9");
    }
  }
}

TEST(Idx, FashionByTheFoldersName) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "Fashion-MNIST/t10k-images-idx3-ubyte", images);
  testing::write_file(folder / "Fashion-MNIST/t10k-labels-idx1-ubyte", labels);
  EXPECT_EQ(load_images(folder / "Fashion-MNIST/", Split::test).class_names[9], "Ankle boot");
}

class IdxFolder : public ::testing::Test {
 protected:
  IdxFolder() { write(images, labels); }
  void write(const Bytes& image_file, const Bytes& label_file, const std::string& ending = "") {
    testing::write_file(image_path.string() + ending, image_file);
    testing::write_file(label_path.string() + ending, label_file);
  }
  std::string error() {
    return error_of([&] { load_images(folder.path(), Split::test); });
  }

  const testing::TemporaryFolder folder;
  const fs::path image_path = folder / "t10k-images-idx3-ubyte", label_path = folder / "t10k-labels-idx1-ubyte";
};

TEST_F(IdxFolder, EveryTruncationNamesTheFile) {
  EXPECT_EQ(error(), "no error");
  for (size_t size = 0; size < images.size(); ++size) {
    write({images.begin(), images.begin() + static_cast<long>(size)}, labels);
    ASSERT_TRUE(error().starts_with("3: " + image_path.string() + ": ")) << size << ": " << error();
  }
  for (size_t size = 0; size < labels.size(); ++size) {
    write(images, {labels.begin(), labels.begin() + static_cast<long>(size)});
    ASSERT_TRUE(error().starts_with("3: " + label_path.string() + ": ")) << size << ": " << error();
  }
}

TEST_F(IdxFolder, EveryTruncationOfGzipNamesTheFile) {
  fs::remove(image_path);
  fs::remove(label_path);
  const Bytes whole = testing::gzip(images);
  write(whole, testing::gzip(labels), ".gz");
  EXPECT_EQ(error(), "no error");
  for (size_t size = 0; size < whole.size(); ++size) {
    testing::write_file(image_path.string() + ".gz", {whole.begin(), whole.begin() + static_cast<long>(size)});
    ASSERT_TRUE(error().starts_with("3: " + image_path.string() + ".gz: ")) << size << ": " << error();
  }
  Bytes wrong_checksum = whole;
  wrong_checksum[whole.size() - 8] ^= 1;
  testing::write_file(image_path.string() + ".gz", wrong_checksum);
  EXPECT_TRUE(error().starts_with("3: " + image_path.string() + ".gz: damaged gzip")) << error();
}

TEST_F(IdxFolder, HeaderLies) {
  const auto image_error = [&](const Bytes& file) {
    write(file, labels);
    const std::string message = error(), start = "3: " + image_path.string() + ": ";
    return message.starts_with(start) ? message.substr(start.size()) : message;
  };
  EXPECT_EQ(image_error(idx({4, 1, 2}, {1, 2, 3, 4, 5, 6})), "IDX header claims 8 bytes, the file has 6");
  EXPECT_EQ(image_error(idx({3, 1, 2}, Bytes(7))), "IDX header claims 6 bytes, the file has more");
  EXPECT_EQ(image_error(idx({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, {1})), "IDX header claims more than a terabyte");
  EXPECT_EQ(image_error(idx({0xFFFFFF, 28, 28}, Bytes(6))), "IDX header claims 13153336560 bytes, the file has 6");
  EXPECT_EQ(image_error(idx({0, 1, 2}, {})), "IDX dimension 0 is 0");
  EXPECT_EQ(image_error(idx({3}, {1, 2, 3})), "1 dimensions instead of 3");
  EXPECT_EQ(image_error({0, 0, 13, 3}), "IDX elements of type 13; only unsigned bytes (8) are images");
  EXPECT_EQ(image_error({'G', 'I', 'F', '8'}), "not an IDX file");
}

TEST_F(IdxFolder, CountsDisagree) {
  write(images, idx({2}, {1, 2}));
  EXPECT_EQ(error(), "3: " + image_path.string() + " holds 3 images but " + label_path.string() + " 2 labels");
}

TEST_F(IdxFolder, MissingLabelsAndMissingSplit) {
  fs::remove(label_path);
  EXPECT_EQ(error(), "3: " + label_path.string() + "[.gz]: missing");
  EXPECT_EQ(error_of([&] { load_images(folder.path(), Split::train); }),
            "3: " + (folder / "train-images-idx3-ubyte").string() + "[.gz]: missing");
}

}  // namespace
}  // namespace reducenet
