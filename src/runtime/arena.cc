#include "runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <numeric>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "runtime/step.h"

namespace reducenet {

inline namespace engine {

void* allocate_aligned(size_t bytes) {
  constexpr size_t kLine = 64, kHugePage = 2 << 20;
  const bool large = bytes >= kHugePage / 2;
  const size_t alignment = large ? kHugePage : kLine;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, std::max<size_t>(bytes, 1)) != 0) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (large) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

}  // namespace engine

ArenaLayout place(const std::vector<Lifetime>& lifetimes) {
  constexpr int64_t kLine = 64 / sizeof(float);
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].size > lifetimes[b].size; });

  ArenaLayout layout{.offsets = std::vector<int64_t>(lifetimes.size(), 0)};
  std::vector<size_t> placed;  // by offset
  for (const size_t i : order) {
    int64_t offset = 0;
    for (const size_t other : placed) {
      const bool together = lifetimes[i].first <= lifetimes[other].last && lifetimes[other].first <= lifetimes[i].last;
      if (!together) continue;
      if (offset + lifetimes[i].size <= layout.offsets[other]) break;
      offset = std::max(offset, round_up(layout.offsets[other] + lifetimes[other].size, kLine));
    }
    layout.offsets[i] = offset;
    layout.size = std::max(layout.size, round_up(offset + lifetimes[i].size, kLine));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](int64_t at, size_t other) { return at < layout.offsets[other]; }),
                  i);
  }
  return layout;
}

}  // namespace reducenet
