#include "runtime/arena.h"

#include <gtest/gtest.h>

#include <random>

namespace reducenet {
namespace {

TEST(Arena, WhatIsAliveTogetherLiesApart) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    std::vector<Lifetime> lifetimes(30);
    for (Lifetime& l : lifetimes) {
      l.size = random() % 1000;
      l.first = static_cast<int>(random() % 20);
      l.last = l.first + static_cast<int>(random() % 5);
    }
    const ArenaLayout layout = place(lifetimes);
    for (size_t a = 0; a < lifetimes.size(); ++a) {
      EXPECT_EQ(layout.offsets[a] % 16, 0);
      EXPECT_LE(layout.offsets[a] + lifetimes[a].size, layout.size);
      for (size_t b = 0; b < a; ++b) {
        const bool together = lifetimes[a].first <= lifetimes[b].last && lifetimes[b].first <= lifetimes[a].last;
        const bool apart = layout.offsets[a] + lifetimes[a].size <= layout.offsets[b] ||
                           layout.offsets[b] + lifetimes[b].size <= layout.offsets[a];
        EXPECT_TRUE(!together || apart) << a << " and " << b;
      }
    }
  }
}

TEST(Arena, AChainTakesTheRoomOfItsLargestPair) {
  // Each tensor lives from the step that makes it to the next one.
  EXPECT_EQ(place({{160, 0, 1}, {320, 1, 2}, {160, 2, 3}, {64, 3, 4}}).size, 480);
}

TEST(Arena, NothingNeedsNothing) {
  EXPECT_EQ(place({}).size, 0);
  EXPECT_EQ(place({Lifetime{}}).size, 0);
}

}  // namespace
}  // namespace reducenet
