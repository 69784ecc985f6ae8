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
  for (int part = 1; part < count; ++part) workers_.emplace_back([this, part] { work(part); });
}

Threads::~Threads() {
  start(0, nullptr, nullptr);
  for (std::thread& worker : workers_) worker.join();
}

void Threads::start(int parts, const void* job, Function function) noexcept {
  job_ = job;
  function_ = function;
  parts_ = parts;
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void Threads::finish() noexcept {
  for (int busy = busy_.load(std::memory_order_acquire); busy > 0;) busy = await_change(busy_, busy);
}

void Threads::work(int part) noexcept {
  for (uint32_t seen = 0;;) {
    seen = await_change(generation_, seen);
    if (!function_) return;
    if (part < parts_) function_(job_, part);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
  }
}

}  // namespace reducenet
