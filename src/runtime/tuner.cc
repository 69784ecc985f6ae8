#include "runtime/tuner.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <optional>

namespace reducenet {
namespace {

/// Reads memory that no kernel uses: between two runs of a layer a network passes through all its other weights.
void pass_through(const Floats& others) {
  constexpr size_t kLine = 64 / sizeof(float);
  float sum = 0;
  for (size_t i = 0; i < others.size(); i += kLine) sum += others[i];
  [[maybe_unused]] volatile float sink = sum;
}

/// Seconds that a kernel takes for a step on one thread: the fastest of `rounds` runs on constant inputs, each after
/// passing through `others`.
double time(Step step, const Kernel& kernel, size_t buffers, int rounds, const Floats& others) {
  if (!kernel.run) return 0;
  kernel.pack(step);
  std::vector<float*> pointers(buffers);
  std::vector<Floats> memory;
  const auto provide = [&](const Port& port, Layout layout) {
    memory.emplace_back(static_cast<size_t>(storage(port.shape, layout)), 0.5f);
    pointers[static_cast<size_t>(port.buffer)] = memory.back().data();
  };
  for (size_t i = 0; i < step.inputs.size(); ++i) provide(step.inputs[i], layout_of_input(kernel, step, i));
  provide(step.output, kernel.out);
  Floats scratch(static_cast<size_t>(step.scratch));
  double fastest = std::numeric_limits<double>::infinity();
  for (int round = 0; round < rounds; ++round) {
    pass_through(others);
    const auto start = std::chrono::steady_clock::now();
    kernel.run({step, pointers.data(), scratch.data(), 0, 1});
    fastest = std::min(fastest, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return fastest;
}

}  // namespace

Tuner::Tuner(const PlanOptions& options, std::span<const Step> steps, size_t buffers)
    : cache_(options.tuning_cache), buffers_(buffers), rounds_(options.tune == Tune::fast ? 3 : 30) {
  constexpr size_t kMost = 16 << 20;  // floats: past every cache
  size_t weights = 0;
  for (const Step& step : steps) weights += step.weight.size();
  others_.assign(std::min(weights, kMost), 1.0f);
  context_ = std::string(options.tune == Tune::fast ? "fast" : "full") + ", " + std::to_string(options.threads) +
             " threads, among 2^" + std::to_string(std::bit_width(weights)) + " weights";
}

double Tuner::cost(const Step& step, const Kernel& kernel) {
  const std::string key = tuning_key(step, kernel, context_);
  std::optional<double> seconds = cache_.find(key);
  if (!seconds) {
    seconds = time(step, kernel, buffers_, rounds_, others_);
    cache_.put(key, *seconds);
  }
  return kMacsPerSecond * *seconds;
}

}  // namespace reducenet
