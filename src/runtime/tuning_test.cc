#include "runtime/tuning.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "reducenet/arch.h"
#include "reducenet/runtime.h"

namespace reducenet {
namespace {

class Tuning : public ::testing::Test {
 protected:
  Tuning() : folder_(std::filesystem::path(::testing::TempDir()) / "reducenet-tuning"), file_(folder_ / "kernels.tsv") {
    std::filesystem::remove_all(folder_);
  }
  ~Tuning() override { std::filesystem::remove_all(folder_); }
  std::string text() const {
    std::ifstream file(file_);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path folder_, file_;
};

TEST_F(Tuning, KeepsWhatItIsTold) {
  TuningCache first(file_);
  first.put("a key", 0.25);
  first.save();
  TuningCache second(file_), third(file_);
  second.put("another", 1e-6);
  third.put("a third", 2e-6);
  second.save();
  third.save();  // keeps what the second one wrote since it was read
  const TuningCache last(file_);
  EXPECT_EQ(last.find("a key"), 0.25);
  EXPECT_EQ(last.find("another"), 1e-6);
  EXPECT_EQ(last.find("a third"), 2e-6);
  EXPECT_EQ(last.find("none"), std::nullopt);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1) << "a part was left behind";
}

TEST_F(Tuning, IgnoresLinesThatAreNone) {
  std::filesystem::create_directories(folder_);
  std::ofstream(file_) << "\nnonsense\n1e-3 no tab\n-1\tnegative\nnan\tnumber\n5x\tjunk\n2e-3\tgood\n\t\n3e-3";
  const TuningCache cache(file_);
  EXPECT_EQ(cache.find("good"), 2e-3);
  for (const char* key : {"negative", "number", "junk", "", "no tab"}) EXPECT_EQ(cache.find(key), std::nullopt) << key;
}

TEST_F(Tuning, NeedsNoFile) {
  TuningCache nowhere(""), impossible("/proc/no/such/place");
  for (TuningCache* cache : {&nowhere, &impossible}) {
    cache->put("a", 1);
    cache->save();
    EXPECT_EQ(cache->find("a"), 1);
  }
}

TEST_F(Tuning, APlanFromTheCacheIsTheSamePlanAndMeasuresNothing) {
  const Graph graph = build("plain11", {.modules = 1, .height = 16, .width = 16});
  const PlanOptions options{.tune = Tune::fast, .tuning_cache = file_};
  const Plan first(graph, options);
  const std::string kept = text();
  ASSERT_NE(kept, "");
  const Plan second(graph, options);
  EXPECT_EQ(text(), kept);
  ASSERT_EQ(first.steps().size(), second.steps().size());
  for (size_t i = 0; i < first.steps().size(); ++i) EXPECT_EQ(first.steps()[i].kernel, second.steps()[i].kernel);
}

TEST_F(Tuning, TheCacheDecides) {
  const Graph graph = build("plain11", {.modules = 1, .height = 16, .width = 16});
  const PlanOptions options{.tune = Tune::fast, .tuning_cache = file_};
  const Plan measured(graph, options);
  std::string kept = text(), slow;
  for (size_t at = 0, end; at < kept.size(); at = end + 1) {  // say that Winograd takes a second
    end = kept.find('\n', at);
    const std::string line = kept.substr(at, end - at);
    slow += (line.find("winograd") == std::string::npos ? line : "1.0" + line.substr(line.find('\t'))) + "\n";
  }
  ASSERT_NE(slow, kept);
  std::ofstream(file_) << slow;
  const Plan read(graph, options);
  for (const Plan::Step& step : read.steps()) EXPECT_FALSE(step.kernel.starts_with("winograd"));
}

}  // namespace
}  // namespace reducenet
