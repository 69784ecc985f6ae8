#include <algorithm>
#include <cassert>
#include <chrono>
#include <random>

#include "reducenet/error.h"
#include "reducenet/runtime.h"
#include "runtime/executable.h"

namespace reducenet {

struct Plan::Impl {
  Executable executable;
  std::vector<Plan::Step> steps;
  std::unique_ptr<Plan::Arena> arena;  // of run without one
};

Plan::Plan(const Graph& graph, const PlanOptions& options)
    : impl_(std::make_unique<Impl>(Impl{Executable(graph, options), {}, nullptr})) {
  for (const reducenet::Step& step : impl_->executable.steps()) {
    impl_->steps.push_back(
        {step.node, std::string(step.kernel->name), to_string(step.output.shape), step.macs, step.error});
  }
}
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
Plan::~Plan() = default;

std::unique_ptr<Plan::Arena, void (*)(Plan::Arena*)> Plan::arena() const {
  return {impl_->executable.arena().release(), [](Arena* arena) { delete arena; }};
}

void Plan::run(std::span<const float> input, std::span<float> output, Arena& arena) const noexcept {
  assert(static_cast<int64_t>(input.size()) == input_size() && static_cast<int64_t>(output.size()) == output_size());
  impl_->executable.run(input.data(), output.data(), arena);
}

void Plan::run(std::span<const float> input, std::span<float> output) const noexcept {
  if (!impl_->arena) impl_->arena = impl_->executable.arena();
  run(input, output, *impl_->arena);
}

std::vector<double> Plan::step_milliseconds(double seconds) const {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kLeastRuns = 5;
  std::vector<float> input(static_cast<size_t>(input_size())), output(static_cast<size_t>(output_size()));
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  for (float& value : input) value = normal(random);
  const auto arena = impl_->executable.arena();
  std::vector<std::vector<double>> times(steps().size());
  std::vector<double> one(steps().size());
  impl_->executable.run(input.data(), output.data(), *arena);
  const auto start = Clock::now();
  for (size_t runs = 0; runs < kLeastRuns || std::chrono::duration<double>(Clock::now() - start).count() < seconds;
       ++runs) {
    impl_->executable.run(input.data(), output.data(), *arena, one.data());
    for (size_t i = 0; i < one.size(); ++i) times[i].push_back(1e3 * one[i]);
  }
  std::vector<double> medians;
  for (std::vector<double>& step : times) {
    const auto middle = step.begin() + static_cast<int64_t>(step.size() / 2);
    std::nth_element(step.begin(), middle, step.end());
    medians.push_back(*middle);
  }
  return medians;
}

int64_t Plan::input_size() const {
  return impl_->executable.input_size();
}
int64_t Plan::output_size() const {
  return impl_->executable.output_size();
}
int64_t Plan::batch() const {
  return impl_->executable.batch();
}
int64_t Plan::arena_bytes() const {
  return impl_->executable.arena_floats() * static_cast<int64_t>(sizeof(float));
}
const std::vector<Plan::Step>& Plan::steps() const {
  return impl_->steps;
}

}  // namespace reducenet
