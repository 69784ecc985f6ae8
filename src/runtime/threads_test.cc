#include "runtime/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#endif

namespace reducenet {
namespace {

TEST(Threads, EveryPartRunsOnceAndIsSeen) {
  Threads threads(3);
  for (int round = 1; round <= 2000; ++round) {
    const int wanted = 1 + round % 3;
    std::vector<int> runs(3, 0);  // plain ints: what a part writes is visible when run returns
    int parts = 0;
    threads.run(wanted, [&](int part, int of) noexcept {
      ++runs[static_cast<size_t>(part)];
      if (part == 0) parts = of;
    });
    ASSERT_TRUE(parts == wanted || parts == 1);  // 1: a thread was interrupted a moment ago
    for (int part = 0; part < 3; ++part) ASSERT_EQ(runs[static_cast<size_t>(part)], part < parts);
  }
}

TEST(Threads, TheFirstPartIsTheCallers) {
  Threads threads(2);
  std::thread::id ran;
  for (int round = 0; round < 100; ++round) {
    threads.run(2, [&](int part, int) noexcept {
      if (part == 0) ran = std::this_thread::get_id();
    });
    ASSERT_EQ(ran, std::this_thread::get_id());
  }
}

TEST(Threads, SleepersWake) {
  Threads threads(2);
  std::atomic<int> sum{0};
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    threads.run(2, [&](int, int of) noexcept { sum += 2 / of; });
  }
  EXPECT_EQ(sum, 6);
}

TEST(Threads, AloneItRunsOnTheCaller) {
  Threads threads(1);
  std::thread::id ran;
  threads.run(1, [&](int, int) noexcept { ran = std::this_thread::get_id(); });
  EXPECT_EQ(ran, std::this_thread::get_id());
}

TEST(Threads, AfterAnInterruptionTheCallerWorksAloneForAWhile) {
  // Both parts begin, then the other thread's is held up. Tries in which it did not begin in time prove nothing.
  int parts = 2, proofs = 0;
  for (int attempt = 0; attempt < 1000 && proofs < 20 && parts == 2; ++attempt) {
    Threads threads(2);
    threads.run(2, [](int, int) noexcept {});
    std::atomic<bool> other{false};
    const auto caller = std::this_thread::get_id();
    threads.run(2, [&](int, int) noexcept {
      if (std::this_thread::get_id() != caller) {
        other = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return;
      }
      const auto start = std::chrono::steady_clock::now();
      while (!other && std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1)) {
      }
    });
    threads.run(2, [&](int part, int of) noexcept {
      if (part == 0) parts = of;
    });
    proofs += other;
  }
  if (proofs == 0) GTEST_SKIP() << "no second CPU was free";
  EXPECT_EQ(parts, 1);
}

#if defined(__linux__)
TEST(Threads, AThreadThatWasWokenElsewhereMayUseEveryCpuAgain) {
  const auto cpus = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  };
  const int all = cpus();
  Threads threads(2);
  int theirs = 0, ran = 0;
  for (int round = 0; round < 200 && (ran < 5 || theirs != all); ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    for (int job = 0; job < 2; ++job) {  // the first wakes it
      const auto caller = std::this_thread::get_id();
      threads.run(2, [&](int, int) noexcept {
        if (std::this_thread::get_id() != caller) {
          theirs = cpus();
          ++ran;
        }
        const auto start = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - start < std::chrono::microseconds(200)) {
        }
      });
    }
  }
  if (ran == 0) GTEST_SKIP() << "no second CPU was free";
  EXPECT_EQ(theirs, all);
}
#endif

TEST(Threads, ManyComeAndGo) {
  for (int round = 0; round < 200; ++round) {
    Threads threads(1 + round % 4);
    std::atomic<int> sum{0};
    for (int job = 0; job < round % 3; ++job) {
      threads.run(1 + round % 4, [&](int part, int of) noexcept { sum += part < of; });
    }
    ASSERT_GE(sum, round % 3);
  }
}

}  // namespace
}  // namespace reducenet
