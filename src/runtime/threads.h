#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace reducenet {

/// Runs a job in parts on threads of its own beside the caller's. Work is handed over in well under a microsecond to a
/// thread that has just been busy; one that waits for longer sleeps. One caller at a time.
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
    job(0);
    finish();
  }

 private:
  using Function = void (*)(const void*, int) noexcept;
  void start(int parts, const void* job, Function function) noexcept;
  void finish() noexcept;
  void work(int part) noexcept;

  // Written before generation_ changes, read after.
  const void* job_ = nullptr;
  Function function_ = nullptr;
  int parts_ = 0;

  alignas(64) std::atomic<uint32_t> generation_{0};  // of jobs; changes when there is one
  alignas(64) std::atomic<int> busy_{0};             // workers that have not finished it
  std::vector<std::thread> workers_;
};

}  // namespace reducenet
