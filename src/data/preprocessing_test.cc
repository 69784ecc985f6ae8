#include <gtest/gtest.h>

#include "data/testing.h"
#include "reducenet/data.h"

namespace reducenet {
namespace {

using Metadata = std::map<std::string, std::string>;
using testing::error_of;

Preprocessing sample() {
  Preprocessing p{2, 1, 3, {0.5, 0.25, 0.1}, {0.5, 0.2, 1.0 / 3}};
  return p;
}

TEST(Preprocessing, AppliesTheFormula) {
  const uint8_t image[] = {0, 51, 102, 255, 204, 153};
  float out[6];
  sample().apply(image, out);
  const double expected[] = {-1, 1, -0.25, 2.75, 0.9, 1.5};  // (v/255 − mean)/std, plane by plane
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(out[i], expected[i], 1e-6) << i;
}

TEST(Preprocessing, BgrReversesTheChannels) {
  const uint8_t image[] = {0, 51, 102, 255, 204, 153};
  Preprocessing p = sample();
  p.mean = {0, 0, 0};
  p.std = {1, 1, 1};
  p.channel_order = "BGR";
  float out[6];
  p.apply(image, out);
  const double expected[] = {0.4, 0.6, 0.2, 0.8, 0, 1};
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(out[i], expected[i], 1e-6) << i;
}

TEST(Preprocessing, GreyHasOnePlane) {
  const Preprocessing p{1, 2, 1, {0.2}, {0.4}};
  const uint8_t image[] = {51, 255};
  float out[2];
  p.apply(image, out);
  EXPECT_NEAR(out[0], 0, 1e-6);
  EXPECT_NEAR(out[1], 2, 1e-6);
}

TEST(Preprocessing, OfASet) {
  ImageSet set;
  set.height = 1;
  set.width = 2;
  set.channels = 3;
  set.pixels = {0, 51, 7, 255, 51, 7, 0, 153, 7, 255, 153, 7};
  set.labels = {0, 1};
  const Preprocessing p = Preprocessing::of(set);
  EXPECT_NEAR(p.mean[0], 0.5, 1e-12);
  EXPECT_NEAR(p.std[0], 0.5, 1e-12);
  EXPECT_NEAR(p.mean[1], 0.4, 1e-12);
  EXPECT_NEAR(p.std[1], 0.2, 1e-12);
  EXPECT_EQ(p.std[2], 1);  // a constant channel is only centred
  EXPECT_EQ(p.height * 100 + p.width * 10 + p.channels, 123);
  EXPECT_NE(error_of([] { Preprocessing::of({}); }), "no error");
}

TEST(Preprocessing, MetadataIsReadableAndExact) {
  Metadata metadata = {{"other", "kept"}};
  Preprocessing p = sample();
  p.channel_order = "BGR";
  p.to_metadata(metadata);
  EXPECT_EQ(metadata["mean"], "[0.5,0.25,0.1]");
  EXPECT_EQ(metadata["imgsz"], "[2,1]");
  EXPECT_EQ(metadata["channels"], "3");
  EXPECT_EQ(metadata["channel_order"], "BGR");
  EXPECT_EQ(metadata["resize"], "bilinear-antialias");
  EXPECT_EQ(metadata["other"], "kept");
  const Preprocessing back = Preprocessing::from_metadata(metadata).value();
  EXPECT_EQ(back.mean, p.mean);
  EXPECT_EQ(back.std, p.std);
  EXPECT_EQ(back.height * 100 + back.width * 10 + back.channels, 213);
  EXPECT_EQ(back.channel_order, "BGR");
}

TEST(Preprocessing, AbsentWhenTheModelSaysNothing) {
  EXPECT_FALSE(Preprocessing::from_metadata({}).has_value());
  EXPECT_FALSE(Preprocessing::from_metadata({{"imgsz", "[640, 640]"}, {"names", "{}"}}).has_value());
}

TEST(Preprocessing, NonsenseNamesTheKey) {
  const std::pair<const char*, const char*> cases[] = {
      {"mean", "[0.5, 0.5]"},
      {"mean", "0.5"},
      {"mean", "[0.5, 0.5, \"x\"]"},
      {"mean", "[0.5, 0.5"},
      {"std", "[1, 1, 0]"},
      {"std", "[1, 1, -1]"},
      {"std", "[1, 1, 1e999]"},
      {"std", "{}"},
      {"imgsz", "[32]"},
      {"imgsz", "[0, 32]"},
      {"imgsz", "[32, 1e300]"},
      {"imgsz", "[3.5, 32]"},
      {"imgsz", "32"},
      {"channels", "2"},
      {"channels", "three"},
      {"channels", "-3"},
      {"channel_order", "GBR"},
      {"resize", "lanczos"},
      {"imgsz", "[true, 1]"},
      {"imgsz", "[18446744073709551615, 1]"},
  };
  for (const auto& [key, value] : cases) {
    Metadata metadata;
    sample().to_metadata(metadata);
    metadata[key] = value;
    const std::string message = error_of([&] { Preprocessing::from_metadata(metadata); });
    EXPECT_TRUE(message.starts_with("3: metadata \"" + std::string(key) + "\": ")) << value << ": " << message;
  }
  for (const char* key : {"mean", "std", "imgsz", "channels"}) {
    Metadata metadata;
    sample().to_metadata(metadata);
    metadata.erase(key);
    EXPECT_EQ(error_of([&] { Preprocessing::from_metadata(metadata); }),
              "3: metadata \"" + std::string(key) + "\": missing");
  }
}

TEST(ClassNames, RoundTripInLabelOrder) {
  std::vector<std::string> names;
  for (int i = 0; i < 12; ++i) names.push_back("class \"" + std::to_string(i) + "\"");
  Metadata metadata;
  set_class_names(metadata, names);
  EXPECT_TRUE(metadata["names"].starts_with("{\"0\":\"class \\\"0\\\"\",\"1\":")) << metadata["names"];
  EXPECT_EQ(class_names(metadata), names);
  EXPECT_TRUE(class_names({}).empty());
}

// Ultralytics writes str(dict).
TEST(ClassNames, AsPythonPrintsADict) {
  const std::vector<std::string> names{"person", "it's", "\"quoted\"", "back\\slash, {5: 'x'}", "caf\xc3\xa9"};
  EXPECT_EQ(
      class_names(
          {{"names", "{0: 'person', 1: \"it's\", 2: '\"quoted\"', 3: 'back\\\\slash, {5: \\'x\\'}', 4: 'caf\\xe9'}"}}),
      names);
  EXPECT_EQ(class_names({{"names", "{1: 'b', 0: 'a'}"}}), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(class_names({{"names", "{}"}}).empty());
}

TEST(ClassNames, NonsenseNamesTheKey) {
  for (const char* value : {"", "[]", "{\"1\": \"a\"}", "{\"0\": 5}", "{\"0\": \"a\", \"2\": \"b\"}", "{"}) {
    EXPECT_TRUE(error_of([&] { class_names({{"names", value}}); }).starts_with("3: metadata \"names\": ")) << value;
  }
}

}  // namespace
}  // namespace reducenet
