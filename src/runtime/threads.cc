#include "runtime/threads.h"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace reducenet {
namespace {

/// How long to look before sleeping: longer than any step that one thread does alone, so that within a run nobody
/// sleeps and nobody has to be woken.
constexpr std::chrono::microseconds kPatience{200};
constexpr int kLooks = 64;  // between two looks at the clock

void pause() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Until the value is no longer `old`.
template <class T>
T await_change(const std::atomic<T>& value, T old) noexcept {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kLooks; ++i) {
      const T now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      pause();
    }
  } while (std::chrono::steady_clock::now() - start < kPatience);
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

Threads::Threads(int count) {
  for (int part = 1; part < count; ++part) workers_.emplace_back([this] { work(); });
}

Threads::~Threads() {
  start(0, nullptr, nullptr);
  for (std::thread& worker : workers_) worker.join();
}

void Threads::start(int parts, const void* job, Function function) noexcept {
  const uint32_t number = number_.load(std::memory_order_relaxed) + 1;
  job_.store(job, std::memory_order_relaxed);
  function_.store(function, std::memory_order_relaxed);
  parts_.store(parts, std::memory_order_relaxed);
  unfinished_.store(parts, std::memory_order_relaxed);
  ticket_.store(uint64_t{number} << 32, std::memory_order_release);
  number_.store(number, std::memory_order_release);
  number_.notify_all();
}

/// Runs one part of the job that `ticket` names, if one is left and the job is still that.
bool Threads::claim(uint64_t ticket) noexcept {
  const Function function = function_.load(std::memory_order_relaxed);
  const void* job = job_.load(std::memory_order_relaxed);
  const int part = static_cast<int>(ticket & 0xffffffff);
  if (part >= parts_.load(std::memory_order_relaxed)) return false;
  // While a part is unclaimed its job has not ended, so what was read above belongs to it if the ticket is unchanged.
  if (!ticket_.compare_exchange_strong(ticket, ticket + 1, std::memory_order_acq_rel)) return true;
  function(job, part);
  if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  return true;
}

void Threads::finish() noexcept {
  while (claim(ticket_.load(std::memory_order_acquire))) {
  }
  for (int left = unfinished_.load(std::memory_order_acquire); left > 0;) left = await_change(unfinished_, left);
}

void Threads::work() noexcept {
  for (uint32_t seen = 0;;) {
    seen = await_change(number_, seen);
    const uint64_t ticket = ticket_.load(std::memory_order_acquire);
    if (!function_.load(std::memory_order_relaxed) && static_cast<uint32_t>(ticket >> 32) == seen) return;
    while (claim(ticket_.load(std::memory_order_acquire))) {
    }
  }
}

}  // namespace reducenet
