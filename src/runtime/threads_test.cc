#include "runtime/threads.h"

#include <gtest/gtest.h>

#include <chrono>

namespace reducenet {
namespace {

TEST(Threads, EveryPartRunsOnceAndIsSeen) {
  Threads threads(3);
  std::vector<int> runs(3, 0);  // plain ints: what a part writes is visible when run returns
  for (int round = 1; round <= 2000; ++round) {
    threads.run(3, [&](int part) { ++runs[static_cast<size_t>(part)]; });
    ASSERT_EQ(runs, std::vector<int>(3, round));
  }
}

TEST(Threads, FewerPartsThanThreads) {
  Threads threads(3);
  std::vector<int> runs(3, 0);
  for (int round = 0; round < 100; ++round) {
    threads.run(1 + round % 2, [&](int part) { ++runs[static_cast<size_t>(part)]; });
  }
  EXPECT_EQ(runs, (std::vector<int>{100, 50, 0}));
}

TEST(Threads, SleepersWake) {
  Threads threads(2);
  int sum[2] = {0, 0};
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    threads.run(2, [&](int part) { ++sum[part]; });
  }
  EXPECT_EQ(sum[0] + sum[1], 6);
}

TEST(Threads, AloneItRunsOnTheCaller) {
  Threads threads(1);
  std::thread::id ran;
  threads.run(1, [&](int) { ran = std::this_thread::get_id(); });
  EXPECT_EQ(ran, std::this_thread::get_id());
}

}  // namespace
}  // namespace reducenet
