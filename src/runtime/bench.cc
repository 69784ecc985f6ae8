#include <algorithm>
#include <chrono>
#include <random>

#include "reducenet/runtime.h"

namespace reducenet {

BenchResult bench(const Plan& plan, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  std::vector<float> input(static_cast<size_t>(plan.input_size())), output(static_cast<size_t>(plan.output_size()));
  std::mt19937_64 random(0);
  std::normal_distribution<float> normal;
  for (float& value : input) value = normal(random);
  const auto arena = plan.arena();

  constexpr size_t kLeastRuns = 5;
  const auto warm_up = Clock::now();
  do {
    plan.run(input, output, *arena);
  } while (since(warm_up) < seconds / 10);
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < kLeastRuns || since(start) < seconds) {
    const auto begin = Clock::now();
    plan.run(input, output, *arena);
    times.push_back(since(begin));
  }
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2], p90 = times[times.size() * 9 / 10];
  return {.median_ms = 1e3 * median,
          .p90_ms = 1e3 * p90,
          .images_per_s = static_cast<double>(plan.batch()) / median,
          .runs = static_cast<int64_t>(times.size())};
}

}  // namespace reducenet
