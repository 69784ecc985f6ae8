#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace reducenet {

/// Runs a job in parts on threads of its own beside the caller's, which does part 0. Work is handed over in well under
/// a microsecond to a thread that has just been busy; one that waits for longer sleeps, and is woken on another CPU
/// than the caller's. One that the system has put on the CPU of the thread it waits for goes to another, or sleeps at
/// once. Another part belongs to whoever claims it first, so that the caller never waits for a thread that has not
/// begun. One caller at a time.
class Threads {
 public:
  /// `count` in all, the caller's included; at most 65,535.
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  /// job(part, of) for every part in [0, of), where `of` is `parts` ≤ count, or 1; returns when all are done.
  template <class Job>
  void run(int parts, const Job& job) noexcept {
    if (parts <= 1 || alone()) return job(0, 1);
    start(parts, &job, [](const void* j, int part, int of) noexcept { (*static_cast<const Job*>(j))(part, of); });
    job(0, parts);
    finish();
  }

 private:
  using Function = void (*)(const void*, int, int) noexcept;
  using Clock = std::chrono::steady_clock;

  /// What threads tell each other, on one cache line: a hand-over costs as often as the line changes sides.
  struct alignas(64) Line {
    std::atomic<uint64_t> ticket{0};  // (number of the job) · 2³² + its parts · 2¹⁶ + its first that nobody has claimed
    std::atomic<uint32_t> number{0};  // of the job; what waiting threads look at
    std::atomic<int> unfinished{0};   // parts of the job, without the caller's
    std::atomic<const void*> job{
        nullptr};  // this and `function` are written before the ticket names a new job; a reader
    std::atomic<Function> function{nullptr};  // uses them only after the ticket has proved to be still the same
    std::atomic<int> caller_cpu{-1};          // where the job was started
    std::atomic<int> worker_cpu{-1};          // where a part was last begun beside the caller
    std::atomic<bool> asleep{false};          // whether some thread waits for a new number and has not been woken
  };

  /// A thread while it sleeps.
  struct Sleeper {
    std::atomic<bool> lying{false};
    std::atomic<int> excluded{-1};  // the CPU on which it was not to be woken, until it takes it back
    int thread = -1;                // as the system numbers it; written before `lying`
  };

  bool alone() const noexcept { return stalled_ && Clock::now() < alone_until_; }
  void note_stall(Clock::duration waited) noexcept;
  void start(int parts, const void* job, Function function) noexcept;
  void finish() noexcept;
  void make_way() noexcept;
  void work(Sleeper& self) noexcept;
  bool claim(bool caller) noexcept;

  Line line_;
  // The caller's own.
  bool stalled_ = false;  // whether a job ever waited for an interrupted thread
  Clock::time_point started_, alone_until_;
  Clock::duration back_off_{};
  std::unique_ptr<Sleeper[]> sleepers_;
  std::vector<std::thread> workers_;
};

}  // namespace reducenet
