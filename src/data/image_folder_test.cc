#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "data/testing.h"
#include "reducenet/data.h"

namespace reducenet {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::gradient;
using testing::TarEntry;

Bytes flat(uint8_t value, int64_t height = 4, int64_t width = 4, int64_t channels = 3) {
  return testing::png_of({height, width, channels, Bytes(static_cast<size_t>(height * width * channels), value)});
}

// Classes "10", "2" and "b c" (sorted by name), out of order, with files to be ignored.
std::vector<TarEntry> data_set() {
  return {
      {"train/", {}},
      {"train/b c/", {}},
      {"train/b c/2.png", flat(32)},
      {"train/b c/1.PNG", flat(31)},
      {"train/b c/deeper/3.png", flat(33)},
      {"train/2/1.png", flat(21)},
      {"train/10/1.png", flat(11)},
      {"train/10/.DS_Store", {1, 2, 3}},
      {"train/10/._1.png", {1, 2, 3}},
      {"train/10/notes.txt", {1, 2, 3}},
      {"train/readme.png", {1, 2, 3}},
      {"test/10/x.png", flat(110)},
      {"test/2/x.png", flat(120)},
      {"test/b c/x.jpg", testing::jpeg_of({4, 4, 3, Bytes(48, 130)})},
      {"README.md", {1}},
  };
}

// Writes the files as a folder or as an archive, by the name's ending.
fs::path write_as(const std::string& name, const fs::path& below, const std::vector<TarEntry>& files) {
  if (name.find(".t") != std::string::npos) {
    testing::write_tar(below / name, files);
  } else {
    for (const TarEntry& file : files) {
      if (file.name.ends_with('/')) {
        fs::create_directories(below / name / file.name);
      } else {
        testing::write_file(below / name / file.name, file.bytes);
      }
    }
  }
  return below / name;
}

class ImageFolder : public ::testing::TestWithParam<const char*> {
 protected:
  fs::path write(const std::vector<TarEntry>& files) { return write_as(GetParam(), folder, files); }
  std::string name(const fs::path& root, const std::string& file) const {
    return fs::is_directory(root) ? (root / file).string() : root.string() + ": " + file;
  }
  const testing::TemporaryFolder folder;
};

INSTANTIATE_TEST_SUITE_P(Forms, ImageFolder, ::testing::Values("folder", "a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"));

TEST_P(ImageFolder, ClassesAndImagesSortByName) {
  const fs::path root = write(data_set());
  const ImageSet train = load_images(root, Split::train), test = load_images(root, Split::test);
  EXPECT_EQ(train.class_names, (std::vector<std::string>{"10", "2", "b c"}));
  EXPECT_EQ(test.class_names, train.class_names);
  EXPECT_EQ(train.labels, (std::vector<int32_t>{0, 1, 2, 2, 2}));
  EXPECT_EQ(test.labels, (std::vector<int32_t>{0, 1, 2}));
  ASSERT_EQ(train.pixels.size(), 5u * 48);
  std::vector<int> values;
  for (int64_t i = 0; i < train.count(); ++i) values.push_back(train.image(i)[47]);
  EXPECT_EQ(values, (std::vector<int>{11, 21, 31, 32, 33}));
}

TEST_P(ImageFolder, AnyNumberOfThreadsGivesTheSameSet) {
  std::vector<TarEntry> files;
  for (int i = 0; i < 200; ++i) {
    files.push_back(
        {"train/" + std::to_string(i % 7) + "/" + std::to_string(i) + ".png", flat(static_cast<uint8_t>(i))});
  }
  const fs::path root = write(files);
  LoadImagesOptions options;
  options.threads = 1;
  const ImageSet one = load_images(root, Split::train, options);
  options.threads = 7;
  std::vector<int64_t> progress;
  options.progress = [&](int64_t done, int64_t total) { progress.push_back(done * 1000 + total); };
  const ImageSet seven = load_images(root, Split::train, options);
  EXPECT_EQ(one.pixels, seven.pixels);
  EXPECT_EQ(one.labels, seven.labels);
  ASSERT_EQ(progress.size(), 200u);
  EXPECT_EQ(progress.front(), 1200);
  EXPECT_EQ(progress.back(), 200200);
}

TEST_P(ImageFolder, ValidationStandsInForTest) {
  const fs::path root = write({{"val/a/1.png", flat(1)}, {"train/a/1.png", flat(2)}});
  EXPECT_EQ(load_images(root, Split::test).pixels[0], 1);
}

TEST_P(ImageFolder, MissingSplitIsNamed) {
  const fs::path root = write({{"test/a/1.png", flat(1)}, {"other/a/1.png", flat(1)}});
  EXPECT_TRUE(error_of([&] {
                load_images(root, Split::train);
              }).starts_with("3: " + root.string() + ": no folder train/ (found: test/"));
  const fs::path train_only = write_as(std::string("only-") + GetParam(), folder, {{"train/a/1.png", flat(1)}});
  EXPECT_EQ(error_of([&] { load_images(train_only, Split::test); }),
            "3: " + train_only.string() + ": no folder test/ or val/ (found: train/)");
}

TEST_P(ImageFolder, EmptyClassIsNamed) {
  const fs::path root = write({{"train/cat/1.png", flat(1)}, {"train/dog/", {}}});
  EXPECT_EQ(error_of([&] { load_images(root, Split::train); }),
            "3: " + root.string() + ": class dog has no image in train/");
}

TEST_P(ImageFolder, CorruptImageIsNamedOrSkippedWithCount) {
  Bytes cut = testing::jpeg_of(gradient(4, 4, 3));
  cut.resize(cut.size() / 2);
  std::vector<TarEntry> files = {{"train/a/1.png", flat(1)}, {"train/a/2.jpg", cut},
                                 {"train/a/3.png", flat(3)}, {"train/b/1.png", {}},
                                 {"train/b/2.png", flat(4)}, {"train/b/3.jpg", testing::cmyk_jpeg(4, 4)}};
  const fs::path root = write(files);
  EXPECT_TRUE(
      error_of([&] { load_images(root, Split::train); }).starts_with("3: " + name(root, "train/a/2.jpg") + ": "));
  LoadImagesOptions options;
  options.skip_corrupt = true;
  const ImageSet set = load_images(root, Split::train, options);
  EXPECT_EQ(set.skipped, 3);
  EXPECT_EQ(set.labels, (std::vector<int32_t>{0, 0, 1}));
  ASSERT_EQ(set.pixels.size(), 3u * 48);
  EXPECT_EQ(set.image(0)[0] * 100 + set.image(1)[0] * 10 + set.image(2)[0], 134);
}

TEST_P(ImageFolder, FormsThatAreNotReadAreNamedOrSkippedWithCount) {
  const fs::path root = write({{"train/a/1.png", flat(1)}, {"train/a/2.bmp", {'B', 'M'}}, {"train/a/notes.txt", {1}}});
  EXPECT_EQ(error_of([&] { load_images(root, Split::train); }),
            "3: " + name(root, "train/a/2.bmp") +
                ": neither a JPEG nor a PNG; --skip-corrupt (in a recipe: data.skip_corrupt) leaves such files out");
  LoadImagesOptions options;
  options.skip_corrupt = true;
  const ImageSet set = load_images(root, Split::train, options);
  EXPECT_EQ(set.skipped, 1);
  EXPECT_EQ(set.count(), 1);
}

TEST_P(ImageFolder, HiddenFilesAndFoldersAreNoImagesAndNoClasses) {
  const fs::path root =
      write({{"train/a/1.png", flat(1)}, {"train/a/._1.png", {0}}, {"train/.ipynb_checkpoints/1.png", flat(2)}});
  const ImageSet set = load_images(root, Split::train);
  EXPECT_EQ(set.class_names, (std::vector<std::string>{"a"}));
  EXPECT_EQ(set.count(), 1);
}

TEST_P(ImageFolder, NothingDecodes) {
  const fs::path root = write({{"train/a/1.png", {1}}, {"train/a/2.png", {2}}});
  LoadImagesOptions options;
  options.skip_corrupt = true;
  EXPECT_EQ(error_of([&] { load_images(root, Split::train, options); }),
            "3: " + root.string() + ": none of its 2 images decodes");
}

TEST_P(ImageFolder, DifferentSizesNameBothFilesUnlessASizeIsAskedFor) {
  const fs::path root = write({{"train/a/1.png", flat(1)}, {"train/a/2.png", flat(2, 5, 4)}});
  EXPECT_EQ(error_of([&] { load_images(root, Split::train); }),
            "3: " + name(root, "train/a/2.png") + " is 5×4 RGB but " + name(root, "train/a/1.png") +
                " is 4×4 RGB; ask for one size (in a recipe: model.height and model.width)");
  LoadImagesOptions options;
  options.height = 3;
  options.width = 2;
  const ImageSet set = load_images(root, Split::train, options);
  EXPECT_EQ(set.count(), 2);
  const Bytes first(18, 1), second(18, 2);
  EXPECT_EQ(Bytes(set.image(0), set.image(1)), first);
  EXPECT_EQ(Bytes(set.image(1), set.image(1) + 18), second);
}

TEST_P(ImageFolder, GreyAmongColour) {
  const fs::path root = write({{"train/a/1.png", flat(1)}, {"train/a/2.png", flat(2, 4, 4, 1)}});
  EXPECT_EQ(error_of([&] { load_images(root, Split::train); }),
            "3: " + name(root, "train/a/2.png") + " is 4×4 grey but " + name(root, "train/a/1.png") +
                " is 4×4 RGB; ask for 1 or 3 channels (in a recipe: model.channels)");
  LoadImagesOptions options;
  options.channels = 3;
  EXPECT_EQ(load_images(root, Split::train, options).image(1)[47], 2);
}

TEST_P(ImageFolder, NamesNeedNotBeAscii) {
  const fs::path root = write({{"train/café/ä.png", flat(1)}, {"train/\xE9/x.png", flat(2)}});
  EXPECT_EQ(load_images(root, Split::train).class_names, (std::vector<std::string>{"café", "\xE9"}));
}

TEST(ImageArchive, WrapperFolderAndDotSlash) {
  const testing::TemporaryFolder folder;
  testing::write_tar(folder / "a.tar",
                     {{"./", {}}, {"./data/", {}}, {"./data/train/", {}}, {"./data/train/a/1.png", flat(5)}});
  EXPECT_EQ(load_images(folder / "a.tar", Split::train).pixels[0], 5);
  testing::write_tar(folder / "b.tar", {{"x/train/a/1.png", flat(5)}, {"y/train/a/1.png", flat(5)}});
  EXPECT_EQ(error_of([&] { load_images(folder / "b.tar", Split::train); }),
            "3: " + (folder / "b.tar").string() + ": two data sets, x/ and y/");
  testing::write_tar(folder / "c.tar", {{"train/a/1.png", flat(5)}, {"./train/a/1.png", flat(5)}});
  EXPECT_EQ(error_of([&] { load_images(folder / "c.tar", Split::train); }),
            "3: " + (folder / "c.tar").string() + ": train/a/1.png occurs twice");
}

// Where a compressed archive ends early, the compressor's end mark is missing.
TEST(ImageArchive, EveryTruncationIsAnErrorThatNamesTheArchive) {
  const testing::TemporaryFolder folder;
  for (const std::string name : {"a.tar.gz", "a.tar.zst"}) {
    const fs::path path = folder / name;
    testing::write_tar(path, data_set());
    for (uintmax_t size = fs::file_size(path); size-- > 0;) {
      fs::resize_file(path, size);
      const std::string message = error_of([&] { load_images(path, Split::train); });
      ASSERT_TRUE(message.starts_with("3: " + path.string() + ": ")) << size << ": " << message;
    }
  }
}

TEST(ImageArchive, BitFlips) {
  const testing::TemporaryFolder folder;
  const fs::path path = folder / "a.tar";
  testing::write_tar(path, data_set());
  std::ifstream in(path, std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(in), {});
  std::mt19937_64 random(3);
  std::set<std::string> outcomes;
  for (int i = 0; i < 300; ++i) {
    Bytes damaged(whole.begin(), whole.end());
    const uint64_t at = random() % (damaged.size() * 8);
    damaged[at / 8] ^= static_cast<uint8_t>(1 << at % 8);
    testing::write_file(path, damaged);
    outcomes.insert(error_of([&] { load_images(path, Split::train); }));
  }
  EXPECT_GT(outcomes.size(), 2u);
}

TEST(LoadImages, NoSuchPathListsTheForms) {
  const std::string message = error_of([] { load_images("/no/such/folder", Split::train); });
  EXPECT_TRUE(message.starts_with("4: no such file or folder: /no/such/folder; accepted are: generated")) << message;
  for (const char* form : {"CIFAR", "IDX", ".tar.zst"}) EXPECT_NE(message.find(form), std::string::npos) << form;
}

TEST(LoadImages, OtherFileIsRefused) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "model.onnx", {1, 2, 3});
  EXPECT_TRUE(error_of([&] {
                load_images(folder / "model.onnx", Split::train);
              }).starts_with("3: " + (folder / "model.onnx").string() + ": not a data set"));
}

TEST(LoadImages, ALinkToItselfEnds) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "train/a/1.png", flat(1));
  fs::create_directory_symlink(folder / "train", folder / "train/a/loop");
  EXPECT_GE(load_images(folder.path(), Split::train).count(), 1);
}

}  // namespace
}  // namespace reducenet
