#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <fstream>

#include "formats/native.h"
#include "reducenet/error.h"
#include "reducenet/train.h"

namespace reducenet::train {

namespace fs = std::filesystem;

/// A run of seconds: generated images, one module a stage, everything switched on.
inline Recipe small(std::initializer_list<const char*> settings = {}) {
  Recipe recipe;
  for (const char* setting :
       {"data.path=generated:512", "data.validation=100", "data.cutout=4", "model.arch=reduce", "model.modules=1",
        "model.widths=4,8", "model.branches=1x1", "model.height=16", "model.width=16", "optimizer.batch=32",
        "optimizer.ema=0.9", "optimizer.warmup=0.5", "optimizer.label_smoothing=0.1", "train.epochs=3",
        "train.threads=1", "fade.end=0.5", "train.batch_norm_batches=4"}) {
    set(recipe, setting);
  }
  for (const char* setting : settings) set(recipe, setting);
  return recipe;
}

/// A folder for the runs of one test.
class Run : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(mkdtemp(folder_.data()), nullptr); }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path out(const char* name) const { return fs::path(folder_) / name; }
  /// Runs until `steps` more steps are done.
  static Result run_steps(const Recipe& recipe, Options options, int64_t steps) {
    std::atomic<bool> stop = false;
    options.stop = &stop;
    options.on_step = [&, left = steps](const Progress&) mutable { stop = --left == 0; };
    return run(recipe, options);
  }
  /// Kind and message of the error that a run must end with.
  static std::pair<ErrorKind, std::string> failure(const Recipe& recipe, const Options& options) {
    try {
      run(recipe, options);
    } catch (const Error& error) {
      return {error.kind(), error.what()};
    }
    ADD_FAILURE() << "no error";
    return {};
  }

 private:
  std::string folder_ = testing::TempDir() + "run-XXXXXX";
};

inline std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks: " << part;
}

inline void expect_same_tensors(const fs::path& a, const fs::path& b) {
  const NamedTensors first = read_safetensors(a), second = read_safetensors(b);
  ASSERT_EQ(first.tensors.size(), second.tensors.size());
  for (size_t i = 0; i < first.tensors.size(); ++i) {
    EXPECT_EQ(first.tensors[i].first, second.tensors[i].first);
    EXPECT_TRUE(first.tensors[i].second == second.tensors[i].second) << first.tensors[i].first;
  }
}

}  // namespace reducenet::train
