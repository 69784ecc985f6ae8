#include "runtime/threads.h"

#include <algorithm>

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace reducenet {
namespace {

/// How long to look before sleeping: longer than any step that one thread does alone, so that within a run nobody
/// sleeps and nobody has to be woken.
constexpr std::chrono::microseconds kPatience{200};
/// How long the caller works alone after a job waited longer for a thread than all its own work took, in terms of that
/// wait: then waiting costs a ninth at most, were every attempt to end so. If the next attempt does, within as long
/// again, twice as long as the last time, up to the longest: somebody else needs the CPU.
constexpr int kBackOff = 8;
constexpr std::chrono::milliseconds kLongestBackOff{500};
constexpr int kLooks = 64;  // between two looks at the clock

void pause() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// The CPU that this thread is on, or was a moment ago; −2 where the system does not say.
int this_cpu() noexcept {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -2;
#endif
}

/// Takes a CPU from those that a thread may use, if there are others. Returns whether it did.
bool exclude([[maybe_unused]] int thread, [[maybe_unused]] int cpu) noexcept {
#if defined(__linux__)
  cpu_set_t set;
  if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(thread, sizeof set, &set) != 0) return false;
  if (!CPU_ISSET(static_cast<size_t>(cpu), &set) || CPU_COUNT(&set) < 2) return false;
  CPU_CLR(static_cast<size_t>(cpu), &set);
  return sched_setaffinity(thread, sizeof set, &set) == 0;
#else
  return false;
#endif
}

/// Gives it back to this thread.
void include([[maybe_unused]] int cpu) noexcept {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return;
  CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
#endif
}

/// Moves this thread off a CPU to another that it may use, if there is one; afterwards it may use the same as before.
/// A system that leaves a woken thread where it last ran would leave it there for long.
void leave(int cpu) noexcept {
  if (exclude(0, cpu)) include(cpu);
}

/// Looks until the value is no longer `old` or that takes too long, and returns it. `other`: the CPU of the thread that
/// will change it, which looking would only keep from running if it is this one.
template <class T>
T look(const std::atomic<T>& value, T old, const std::atomic<int>& other) noexcept {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kLooks; ++i) {
      const T now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      pause();
    }
    if (this_cpu() == other.load(std::memory_order_relaxed)) break;
  } while (std::chrono::steady_clock::now() - start < kPatience);
  return value.load(std::memory_order_acquire);
}

}  // namespace

Threads::Threads(int count) : sleepers_(new Sleeper[static_cast<size_t>(std::max(count, 1))]) {
  line_.caller_cpu = this_cpu();
  for (int part = 1; part < count; ++part) {
    workers_.emplace_back([this, part] { work(sleepers_[static_cast<size_t>(part)]); });
  }
}

Threads::~Threads() {
  start(1, nullptr, nullptr);
  line_.number.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Threads::note_stall(Clock::duration waited) noexcept {
  const Clock::time_point now = Clock::now();
  const bool soon = stalled_ && now < alone_until_ + back_off_;
  back_off_ = std::min<Clock::duration>(std::max(kBackOff * waited, soon ? 2 * back_off_ : waited), kLongestBackOff);
  alone_until_ = now + back_off_;
  stalled_ = true;
}

/// Before the sleeping are woken: a system may put a thread on the CPU of the one that wakes it, where it gets no time
/// before the caller has used up its own, some milliseconds later.
void Threads::make_way() noexcept {
  const int cpu = this_cpu();
  for (size_t part = 1; part <= workers_.size(); ++part) {
    Sleeper& sleeper = sleepers_[part];
    if (!sleeper.lying.load(std::memory_order_acquire) || sleeper.excluded.load(std::memory_order_relaxed) >= 0)
      continue;
    if (exclude(sleeper.thread, cpu)) sleeper.excluded.store(cpu, std::memory_order_relaxed);
  }
}

void Threads::start(int parts, const void* job, Function function) noexcept {
  started_ = Clock::now();
  const uint32_t number = line_.number.load(std::memory_order_relaxed) + 1;
  line_.job.store(job, std::memory_order_relaxed);
  line_.function.store(function, std::memory_order_relaxed);
  line_.unfinished.store(parts - 1, std::memory_order_relaxed);
  line_.caller_cpu.store(this_cpu(), std::memory_order_relaxed);
  if (line_.asleep.load(std::memory_order_relaxed)) make_way();
  line_.ticket.store(uint64_t{number} << 32 | static_cast<uint64_t>(parts) << 16 | 1, std::memory_order_release);
  line_.number.store(number, std::memory_order_release);
  // One that lies down at this moment may be missed: then its part is the caller's, and the next job wakes it. One that
  // has been woken and has not run yet is not woken again.
  if (line_.asleep.load(std::memory_order_relaxed) && line_.asleep.exchange(false)) line_.number.notify_all();
}

/// Runs one part of the present job, if one is left.
bool Threads::claim(bool caller) noexcept {
  uint64_t ticket = line_.ticket.load(std::memory_order_acquire);
  const Function function = line_.function.load(std::memory_order_relaxed);
  const void* job = line_.job.load(std::memory_order_relaxed);
  const int part = static_cast<int>(ticket & 0xffff), parts = static_cast<int>(ticket >> 16 & 0xffff);
  if (part >= parts) return false;
  // While a part is unclaimed its job has not ended, so what was read above belongs to it if the ticket is unchanged.
  if (!line_.ticket.compare_exchange_strong(ticket, ticket + 1, std::memory_order_acq_rel)) return true;
  if (!caller) line_.worker_cpu.store(this_cpu(), std::memory_order_relaxed);
  function(job, part, parts);
  if (line_.unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) line_.unfinished.notify_one();
  return true;
}

void Threads::finish() noexcept {
  while (claim(true)) {
  }
  int left = line_.unfinished.load(std::memory_order_acquire);
  if (left == 0) return;
  const Clock::time_point done = Clock::now();
  while (left > 0) {
    const int before = left;
    left = look(line_.unfinished, before, line_.worker_cpu);
    if (left == before) line_.unfinished.wait(before, std::memory_order_acquire);
  }
  const Clock::duration waited = Clock::now() - done;
  if (waited > std::max<Clock::duration>(done - started_, kPatience)) note_stall(waited);
}

void Threads::work(Sleeper& self) noexcept {
#if defined(__linux__)
  self.thread = gettid();
#endif
  for (uint32_t seen = 0;;) {
    uint32_t now = look(line_.number, seen, line_.caller_cpu);
    const int caller = line_.caller_cpu.load(std::memory_order_relaxed);
    if (now == seen && this_cpu() == caller) {
      leave(caller);
      now = look(line_.number, seen, line_.caller_cpu);
    }
    const bool sleeps = now == seen;
    if (sleeps) self.lying.store(true, std::memory_order_release);
    while (now == seen) {
      line_.asleep.store(true, std::memory_order_seq_cst);
      line_.number.wait(seen, std::memory_order_seq_cst);
      now = line_.number.load(std::memory_order_acquire);
    }
    if (sleeps) self.lying.store(false, std::memory_order_relaxed);
    seen = now;
    if (!line_.function.load(std::memory_order_relaxed)) return;
    while (claim(false)) {
    }
    if (self.excluded.load(std::memory_order_relaxed) >= 0) {
      include(self.excluded.exchange(-1, std::memory_order_relaxed));
    }
  }
}

}  // namespace reducenet
