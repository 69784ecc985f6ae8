#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace reducenet {

/// Runs a job in parts on threads of its own beside the caller's. Work is handed over in well under a microsecond to a
/// thread that has just been busy; one that waits for longer sleeps. A part belongs to whoever claims it first, so that
/// the caller never waits for a thread that has not begun. One caller at a time.
class Threads {
 public:
  /// `count` in all, the caller's included.
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  /// job(part) for every part in [0, parts), parts ≤ count; returns when all are done.
  template <class Job>
  void run(int parts, const Job& job) noexcept {
    if (parts <= 1) return job(0);
    start(parts, &job, [](const void* j, int part) noexcept { (*static_cast<const Job*>(j))(part); });
    finish();
  }

 private:
  using Function = void (*)(const void*, int) noexcept;
  void start(int parts, const void* job, Function function) noexcept;
  void finish() noexcept;
  void work() noexcept;
  bool claim(uint64_t ticket) noexcept;

  // Written before ticket_ names a new job. A reader uses them only after ticket_ has proved to be still the same.
  std::atomic<const void*> job_{nullptr};
  std::atomic<Function> function_{nullptr};
  std::atomic<int> parts_{0};

  alignas(64) std::atomic<uint64_t> ticket_{0};  // (number of the job) · 2³² + its first part that nobody has claimed
  alignas(64) std::atomic<uint32_t> number_{0};  // of the job; what waiting threads look at
  alignas(64) std::atomic<int> unfinished_{0};   // parts of the job
  std::vector<std::thread> workers_;
};

}  // namespace reducenet
