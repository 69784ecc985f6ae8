#include "data/work_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>

namespace reducenet {
namespace {

TEST(WorkQueue, DoesEverything) {
  std::atomic<int> sum = 0;
  WorkQueue<int> queue(3, [&](int& item) { sum += item; });
  for (int i = 1; i <= 1000; ++i) EXPECT_TRUE(queue.push(i));
  queue.finish();
  EXPECT_EQ(sum, 500500);
}

// Item 3 fails late, item 4 at once: the earlier pushed one counts.
TEST(WorkQueue, ThrowsTheEarliestFailure) {
  WorkQueue<int> queue(4, [](int& item) {
    if (item == 3) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (item >= 3) throw std::runtime_error(std::to_string(item));
  });
  for (int i = 1; queue.push(i); ++i) {
  }
  try {
    queue.finish();
    FAIL() << "nothing thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "3");
  }
}

TEST(WorkQueue, LeavingEarlyDropsWhatWaits) {
  std::atomic<int> done = 0;
  {
    WorkQueue<int> queue(1, [&](int&) { ++done; });
    for (int i = 0; i < 10; ++i) queue.push(i);
  }
  EXPECT_LE(done, 10);
}

}  // namespace
}  // namespace reducenet
