// What a second thread gains: the control first, then networks step by step.
//
//   taskset -c 0,1 build/bench/inference_threads [MODEL…]
//
// Prints one JSON object a line. {"fma": …}: GFLOP/s of multiply–adds in registers on core 0 alone, and on cores 0 and
// 1 at once: what the hardware has to give. {"handover_ns": …}: a job of nothing in two parts. Then for each model,
// batch 1: every step's milliseconds in a plan of one thread and in one of two, medians of alternating rounds.

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "inference/threads.cc"
#include "hwy/foreach_target.h"
#include "inference/fma-inl.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"
#include "runtime/threads.h"
#include "timing.h"

#if HWY_ONCE
namespace reducenet {
HWY_EXPORT(fma_turns);
}
using namespace reducenet;

namespace {

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/// GFLOP/s of `cores` at once, each pinned: the median over rounds of the sum.
double fma_rate(int cores) {
  std::vector<double> rates;
  for (int round = 0; round < 21; ++round) {
    std::atomic<int> ready{0};
    std::vector<double> each(static_cast<size_t>(cores));
    std::vector<std::thread> threads;
    for (int core = 0; core < cores; ++core) {
      threads.emplace_back([&, core] {
        pin(core);
        float sink[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
        for (++ready; ready < cores;) {
        }
        const auto start = Clock::now();
        const double operations = HWY_DYNAMIC_DISPATCH(fma_turns)(1'000'000, sink);
        each[static_cast<size_t>(core)] = operations / seconds_since(start) / 1e9;
      });
    }
    for (std::thread& thread : threads) thread.join();
    rates.push_back(0);
    for (const double rate : each) rates.back() += rate;
  }
  return median(rates);
}

/// Nanoseconds of a job in two parts that each wait for the other to have begun.
double handover() {
  Threads threads(2);
  constexpr int kJobs = 1000;
  std::vector<double> times;
  std::atomic<int> begun{0};
  for (int round = 0; round < 51; ++round) {
    const auto start = Clock::now();
    for (int i = 0; i < kJobs; ++i) {
      begun = 0;
      threads.run(2, [&](int, int) noexcept {
        for (++begun; begun < 2;) {
        }
      });
    }
    times.push_back(seconds_since(start) / kJobs);
  }
  return 1e9 * median(times);
}

/// Nanoseconds until core 0 sees what core 1 makes of what core 0 wrote: some 100 where they share a cache, some 500
/// where they do not.
double round_trip() {
  constexpr int kTurns = 2000;
  std::vector<double> times;
  for (int round = 0; round < 21; ++round) {
    alignas(64) std::atomic<int> ball{0};
    std::thread other([&] {
      pin(1);
      for (int turn = 0; turn < kTurns; ++turn) {
        while (ball.load() != 2 * turn + 1) {
        }
        ball = 2 * turn + 2;
      }
    });
    std::thread self([&] {
      pin(0);
      while (ball.load() != 0) {
      }
      const auto start = Clock::now();
      for (int turn = 0; turn < kTurns; ++turn) {
        ball = 2 * turn + 1;
        while (ball.load() != 2 * turn + 2) {
        }
      }
      times.push_back(seconds_since(start) / kTurns);
    });
    self.join();
    other.join();
  }
  return 1e9 * median(times);
}

void compare(const std::string& path) {
  const Graph graph = settle(load(path));
  const std::string name = path.substr(path.rfind('/') + 1);
  const Plan one(graph, {}), two(graph, {.threads = 2});
  std::vector<std::vector<double>> alone(one.steps().size()), together(one.steps().size());
  for (int round = 0; round < 5; ++round) {
    const auto a = one.step_milliseconds(0.2), b = two.step_milliseconds(0.2);
    for (size_t i = 0; i < a.size(); ++i) {
      alone[i].push_back(a[i]);
      together[i].push_back(b[i]);
    }
  }
  double sum_alone = 0, sum_together = 0;
  for (size_t i = 0; i < alone.size(); ++i) {
    const double a = median(alone[i]), b = median(together[i]);
    sum_alone += a;
    sum_together += b;
    const Plan::Step &first = one.steps()[i], &second = two.steps()[i];
    std::printf(
        "{\"model\": \"%s\", \"node\": \"%s\", \"kernel\": \"%s\", \"with_two\": \"%s\", \"shape\": \"%s\", "
        "\"one_us\": %.2f, \"two_us\": %.2f, \"gain\": %.2f}\n",
        name.c_str(), first.node.c_str(), first.kernel.c_str(), second.kernel.c_str(), first.shape.c_str(), 1e3 * a,
        1e3 * b, a / b);
  }
  std::printf("{\"model\": \"%s\", \"one_ms\": %.4f, \"two_ms\": %.4f, \"gain\": %.2f}\n", name.c_str(), sum_alone,
              sum_together, sum_alone / sum_together);
}

}  // namespace

int main(int argc, char** argv) {
  const double alone = fma_rate(1), both = fma_rate(2);
  std::printf("{\"fma\": {\"one_gflops\": %.1f, \"two_gflops\": %.1f, \"gain\": %.2f}}\n", alone, both, both / alone);
  std::printf("{\"round_trip_ns\": %.0f, \"handover_ns\": %.0f}\n", round_trip(), handover());
  try {
    for (int i = 1; i < argc; ++i) {
      compare(argv[i]);
      std::fflush(stdout);
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "inference_threads: %s\n", error.what());
    return 1;
  }
}
#endif
