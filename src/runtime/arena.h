#pragma once

#include <cstdint>
#include <vector>

namespace reducenet {

/// A piece of memory that is needed from one step to another, both included.
struct Lifetime {
  int64_t size = 0;  ///< floats
  int first = 0, last = -1;
};

struct ArenaLayout {
  std::vector<int64_t> offsets;  ///< floats, each on a cache line; by lifetime
  int64_t size = 0;              ///< floats
};

/// Largest first, each at the lowest offset where it meets no placed one that is alive with it.
ArenaLayout place(const std::vector<Lifetime>& lifetimes);

}  // namespace reducenet
