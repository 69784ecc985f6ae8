#include "reducenet/engines.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

#include "engines/onnxruntime.h"
#include "reducenet/builder.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

class Engines : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("reducenet-engines-" + std::to_string(getpid()));

  std::filesystem::path write(const std::string& text) {
    std::ofstream(folder_ / "costs.json") << text;
    return folder_ / "costs.json";
  }
};

Workload conv(int64_t in, int64_t out, int64_t kernel, int64_t side) {
  return {Conv2d{.padding = {kernel / 2, kernel / 2, kernel / 2, kernel / 2}},
          {{{1, in, side, side}}, {{out, in, kernel, kernel}, true}},
          {1, out, side, side}};
}

CostTable table() {
  CostTable costs{"reducenet", "a CPU", 1, {}};
  for (const int64_t out : {8, 16, 32}) {
    const Workload workload = conv(8, out, 3, 8);
    costs.entries[key_of(workload)] = {"Conv", count_macs(workload), element_count(workload.output),
                                       static_cast<double>(out) / 8, true};
  }
  return costs;
}

TEST_F(Engines, TablesSurviveTheFile) {
  CostTable costs = table();
  costs.entries["Mystery | 1x1"] = {"Mystery", 0, 1, 0, false};
  save_costs(costs, folder_ / "costs.json");
  const CostTable read = load_costs(folder_ / "costs.json");
  EXPECT_EQ(read.engine, "reducenet");
  EXPECT_EQ(read.device, "a CPU");
  ASSERT_EQ(read.entries.size(), costs.entries.size());
  for (const auto& [key, entry] : costs.entries) {
    EXPECT_EQ(read.entries.at(key).ms, entry.ms);
    EXPECT_EQ(read.entries.at(key).macs, entry.macs);
    EXPECT_EQ(read.entries.at(key).timed, entry.timed);
  }
}

TEST_F(Engines, MissingEntriesAreInterpolatedAndSaidToBe) {
  std::vector<std::string> notes;
  const Cost cost = table_cost(table(), [&](const std::string& note) { notes.push_back(note); });
  EXPECT_EQ(cost(conv(8, 16, 3, 8)), 2);
  EXPECT_TRUE(notes.empty());
  EXPECT_DOUBLE_EQ(cost(conv(8, 24, 3, 8)), 3);   // between 16 and 32
  EXPECT_DOUBLE_EQ(cost(conv(8, 64, 3, 8)), 8);   // beyond the largest
  EXPECT_DOUBLE_EQ(cost(conv(8, 4, 3, 8)), 0.5);  // below the smallest
  EXPECT_DOUBLE_EQ(cost(conv(8, 24, 3, 8)), 3);
  EXPECT_EQ(notes.size(), 3u);
  EXPECT_EQ(cost({Softmax{}, {{{1, 10}}}, {1, 10}}), 0);
  ASSERT_EQ(notes.size(), 4u);
  EXPECT_NE(notes[3].find("has no Softmax"), std::string::npos) << notes[3];
}

TEST_F(Engines, BadTablesAreRefusedByName) {
  for (const char* text :
       {"", "[]", "{\"schema\": \"other\", \"version\": 1, \"entries\": []}",
        "{\"schema\": \"reducenet.costs\", \"version\": 2, \"entries\": []}",
        "{\"schema\": \"reducenet.costs\", \"version\": 1, \"unit\": \"mJ\", \"entries\": []}",
        "{\"schema\": \"reducenet.costs\", \"version\": 1}",
        "{\"schema\": \"reducenet.costs\", \"version\": 1, \"entries\": [{\"op\": \"Conv\", \"workload\": \"c\", "
        "\"macs\": 1, \"elements\": 1, \"ms\": -1}]}",
        "{\"schema\": \"reducenet.costs\", \"version\": 1, \"entries\": [{\"op\": \"Conv\", \"macs\": 1}]}"}) {
    try {
      load_costs(write(text));
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input) << text;
      EXPECT_NE(std::string(error.what()).find("costs.json"), std::string::npos) << error.what();
    }
  }
}

TEST_F(Engines, WhatWasMeasuredIsRemembered) {
  const MeasureOptions options{.seconds = 0.001, .cache = folder_ / "below" / "cache.json"};
  double ms = 0;
  {
    Stopwatch watch(options);
    ms = watch(conv(8, 16, 3, 16));
    EXPECT_GT(ms, 0);
    EXPECT_EQ(watch(conv(8, 16, 3, 16)), ms);
    EXPECT_EQ(watch.measured(), 1);
    watch.save();
  }
  Stopwatch again(options);
  EXPECT_EQ(again(conv(8, 16, 3, 16)), ms);
  EXPECT_EQ(again.measured(), 0);
  EXPECT_EQ(again.asked().entries.size(), 1u);
  EXPECT_EQ(again({Opaque{.type = "Mystery"}, {{{1, 1}}}, {1, 1}}), 0);  // cannot be timed
}

TEST_F(Engines, ADamagedCacheIsMeasuredAgain) {
  Stopwatch watch({.seconds = 0.001, .cache = write("not json")});
  EXPECT_GT(watch(conv(8, 16, 3, 16)), 0);
  EXPECT_EQ(watch.measured(), 1);
}

TEST_F(Engines, AnAbsentPythonIsNamedWithTheRemedy) {
  const char* python = std::getenv("REDUCENET_PYTHON");
  const std::optional<std::string> before = python ? std::optional<std::string>(python) : std::nullopt;
  setenv("REDUCENET_PYTHON", "/nonexistent/python", 1);
  try {
    OnnxRuntime engine(1);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("pip install onnxruntime"), std::string::npos) << error.what();
  }
  setenv("REDUCENET_PYTHON", "true", 1);  // a program that answers nothing
  EXPECT_THROW(OnnxRuntime engine(1), Error);
  before ? setenv("REDUCENET_PYTHON", before->c_str(), 1) : unsetenv("REDUCENET_PYTHON");
}

TEST_F(Engines, OnnxRuntimeTimesAndRuns) {
  GraphBuilder b("small", 3);
  const ValueId x = b.input("x", {1, 3, 8, 8});
  b.output(b.activation("relu", b.conv("conv", x, 4, {3, 3}, {.padding = {1, 1, 1, 1}}), {}));
  const Graph graph = std::move(b).finish();
  save(graph, folder_ / "small.onnx");
  std::unique_ptr<OnnxRuntime> engine;
  try {
    engine = std::make_unique<OnnxRuntime>(1);
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  EXPECT_GT(engine->time(graph_of(conv(3, 4, 3, 8)), 0.001), 0);
  const std::vector<Tensor> inputs{Tensor::filled({1, 3, 8, 8}, 0.5)};
  const auto expected = evaluate(graph, inputs)[0].to_doubles(),
             found = engine->run(folder_ / "small.onnx", inputs).at(0).to_doubles();
  ASSERT_EQ(expected.size(), found.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-5);
  EXPECT_THROW(engine->run(folder_ / "absent.onnx", inputs), Error);
  EXPECT_EQ(engine->run(folder_ / "small.onnx", inputs).size(), 1u);  // it goes on after an error
}

}  // namespace
}  // namespace reducenet
