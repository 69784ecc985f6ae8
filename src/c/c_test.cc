#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "reducenet.h"
#include "reducenet/arch.h"
#include "reducenet/data.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"

namespace reducenet {
namespace {

class CApi : public ::testing::Test {
 protected:
  CApi() : graph_(build("plain", {.modules = 1, .widths = {4, 8}, .height = 9, .width = 7})) {
    Preprocessing{.height = 9, .width = 7, .channels = 3, .mean = {0.5, 0.4, 0.3}, .std = {0.2, 0.3, 0.4}}.to_metadata(
        graph_.metadata);
    set_class_names(graph_.metadata, {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"});
    path_ = ::testing::TempDir() + "c-api-" + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
            ".safetensors";
    save_native(graph_, path_);
  }
  ~CApi() override { std::filesystem::remove(path_); }

  Graph graph_;
  std::string path_;
};

TEST_F(CApi, RunsAsTheCppApiDoes) {
  reducenet_model* model = nullptr;
  ASSERT_EQ(reducenet_load(path_.c_str(), &model), REDUCENET_OK) << reducenet_last_error();
  EXPECT_EQ(reducenet_class_count(model), 10u);
  EXPECT_STREQ(reducenet_class_name(model, 9), "j");
  EXPECT_EQ(reducenet_class_name(model, 10), nullptr);
  reducenet_image size;
  ASSERT_EQ(reducenet_image_size(model, &size), REDUCENET_OK);
  EXPECT_EQ(size.height * size.width * size.channels, 9u * 7 * 3);

  const reducenet_plan_options options{.batch = 2, .threads = 2, .tune = REDUCENET_TUNE_NONE, .dtype = REDUCENET_F32};
  reducenet_plan* plan = nullptr;
  ASSERT_EQ(reducenet_plan_create(model, &options, &plan), REDUCENET_OK) << reducenet_last_error();
  EXPECT_EQ(reducenet_batch(plan), 2u);
  EXPECT_GT(reducenet_arena_bytes(plan), 0u);
  std::vector<uint8_t> pixels(9 * 7 * 3);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 37);
  std::vector<float> input(reducenet_input_size(plan)), output(reducenet_output_size(plan)), expected(output.size());
  ASSERT_EQ(reducenet_preprocess(model, pixels.data(), input.data()), REDUCENET_OK);
  ASSERT_EQ(reducenet_preprocess(model, pixels.data(), input.data() + input.size() / 2), REDUCENET_OK);
  EXPECT_NEAR(input[1], (37.0f * 3 / 255 - 0.5f) / 0.2f, 1e-6);
  reducenet_model_free(model);  // the plan has all it needs

  const Plan same(graph_, {.batch = 2});
  same.run(input, expected);
  ASSERT_EQ(reducenet_run(plan, nullptr, input.data(), input.size(), output.data(), output.size()), REDUCENET_OK);
  EXPECT_EQ(output, expected);

  std::vector<std::vector<float>> together(3, std::vector<float>(output.size()));
  std::vector<std::thread> runners;
  for (std::vector<float>& own : together) {
    runners.emplace_back([&] {
      reducenet_arena* arena = nullptr;
      EXPECT_EQ(reducenet_arena_create(plan, &arena), REDUCENET_OK);
      for (int i = 0; i < 20; ++i) reducenet_run(plan, arena, input.data(), input.size(), own.data(), own.size());
      reducenet_arena_free(arena);
    });
  }
  for (std::thread& runner : runners) runner.join();
  for (const std::vector<float>& own : together) EXPECT_EQ(own, expected);
  reducenet_plan_free(plan);
}

TEST_F(CApi, FailuresHaveAStatusAndAMessage) {
  reducenet_model* model = nullptr;
  EXPECT_EQ(reducenet_load("absent.safetensors", &model), REDUCENET_IO);
  EXPECT_NE(std::string(reducenet_last_error()).find("absent.safetensors"), std::string::npos);
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(reducenet_load(nullptr, &model), REDUCENET_USAGE);
  std::filesystem::resize_file(path_, 100);
  EXPECT_EQ(reducenet_load(path_.c_str(), &model), REDUCENET_BAD_INPUT) << reducenet_last_error();

  graph_.metadata.clear();
  save_native(graph_, path_);
  ASSERT_EQ(reducenet_load(path_.c_str(), &model), REDUCENET_OK);
  reducenet_image size;
  EXPECT_EQ(reducenet_image_size(model, &size), REDUCENET_UNSUPPORTED);
  EXPECT_EQ(reducenet_class_count(model), 0u);
  reducenet_plan* plan = nullptr;
  const reducenet_plan_options nonsense{.batch = 1, .threads = -1, .tune = REDUCENET_TUNE_NONE, .dtype = REDUCENET_F32};
  EXPECT_EQ(reducenet_plan_create(model, &nonsense, &plan), REDUCENET_USAGE);
  EXPECT_EQ(plan, nullptr);
  const reducenet_plan_options uncalibrated{
      .batch = 1, .threads = 1, .tune = REDUCENET_TUNE_NONE, .dtype = REDUCENET_INT8};
  EXPECT_EQ(reducenet_plan_create(model, &uncalibrated, &plan), REDUCENET_USAGE);
  ASSERT_EQ(reducenet_plan_create(model, nullptr, &plan), REDUCENET_OK);
  float x = 0, y = 0;
  EXPECT_EQ(reducenet_run(plan, nullptr, &x, 1, &y, 1), REDUCENET_USAGE);
  EXPECT_NE(std::string(reducenet_last_error()).find("wants 189"), std::string::npos) << reducenet_last_error();
  reducenet_plan_free(plan);
  reducenet_model_free(model);
  reducenet_plan_free(nullptr);
  reducenet_model_free(nullptr);
  reducenet_arena_free(nullptr);
}

}  // namespace
}  // namespace reducenet
