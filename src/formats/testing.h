#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

#include "reducenet/builder.h"
#include "reducenet/error.h"
#include "reducenet/graph.h"

// What the tests of the formats share.

namespace reducenet {

/// An empty folder that vanishes with the test.
class TestFolder {
 public:
  TestFolder()
      : path_(std::filesystem::path(::testing::TempDir()) /
              (std::string("reducenet-") + ::testing::UnitTest::GetInstance()->current_test_info()->name() + "-" +
               std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Expects `body` to throw an Error of that kind whose message has every one of `parts`.
inline void expect_error(ErrorKind kind, std::initializer_list<std::string> parts, const std::function<void()>& body) {
  try {
    body();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << "\nlacks: " << part;
    }
  }
}

/// Equal in every field, constants bit for bit; only the order of the values may differ.
void expect_equal(const Graph& a, const Graph& b);

/// A graph with every op that has fields or inputs of its own kind.
Graph graph_of_every_op();
/// The ops that reduce, move, select, repeat and count elements, for an operator set of at least 18.
Graph graph_of_index_ops(int64_t opset);

}  // namespace reducenet
