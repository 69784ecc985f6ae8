#include <algorithm>
#include <cassert>
#include <chrono>
#include <optional>
#include <random>

#include "reducenet/error.h"
#include "reducenet/runtime.h"
#include "runtime/executable.h"
#include "runtime/images.h"

namespace reducenet {
namespace {

/// Whether hardly any time goes into reading weights that one image uses a few times only, as in a fully connected
/// layer: these are better read once for a whole batch.
bool uses_weights_often(const Executable& executable) {
  constexpr double kFewUses = 4;                      // of a weight for an image
  constexpr double kFromCache = 2, kFromMemory = 20;  // reading one weight, in the time of a multiply–add
  constexpr double kCached = 128 * 1024;              // weights that stay in a core's cache from image to image
  constexpr double kHardlyAny = 0.1;                  // of the whole time
  double seldom = 0, weights = 0, time = 0;
  for (const Step& step : executable.steps()) {
    const auto packed = static_cast<double>(step.packed.size());
    weights += packed;
    if (static_cast<double>(step.macs) < kFewUses * packed) seldom += packed;
    time += step.cost;
  }
  return seldom * (weights > kCached ? kFromMemory : kFromCache) <= kHardlyAny * time;
}

}  // namespace

/// A batch is run whole, every step divided among the threads; or, where it may be, image by image, the images divided
/// among the threads: what a layer leaves is then still in the cache when the next one reads it, and nobody waits for
/// the others after each step.
struct Plan::Impl {
  Impl(const Graph& graph, const PlanOptions& options) {
    if (options.threads >= 1 && options.batch >= options.threads && images_stand_alone(graph, options.batch)) {
      PlanOptions of_one = options;
      of_one.batch = of_one.threads = 1;
      executable.emplace(graph, of_one);
      if (uses_weights_often(*executable)) {
        images = options.batch;
        lanes = options.threads;
      }
    }
    if (images == 1) executable.emplace(graph, options);
    for (const reducenet::Step& step : executable->steps()) {
      steps.push_back(
          {step.node, std::string(step.kernel->name), to_string(step.output.shape), images * step.macs, step.error});
    }
  }

  std::unique_ptr<Plan::Arena> new_arena() const {
    if (images == 1) return executable->arena();
    auto whole = std::make_unique<Plan::Arena>(0, 0, lanes);
    for (int i = 0; i < lanes; ++i) whole->lanes.push_back(executable->arena());
    return whole;
  }

  void run(const float* input, float* output, Plan::Arena& arena) const noexcept {
    if (images == 1) return executable->run(input, output, arena);
    arena.threads.run(lanes, [&](int part, int parts) noexcept {
      for (int64_t i = images * part / parts; i < images * (part + 1) / parts; ++i) {
        executable->run(input + i * executable->input_size(), output + i * executable->output_size(),
                        *arena.lanes[static_cast<size_t>(part)]);
      }
    });
  }

  std::optional<Executable> executable;  // of the whole batch or of one image
  int64_t images = 1;                    // that are run one by one
  int lanes = 1;                         // threads among which they are divided
  std::vector<Plan::Step> steps;
  std::unique_ptr<Plan::Arena> arena;  // of run without one
};

Plan::Plan(const Graph& graph, const PlanOptions& options) : impl_(std::make_unique<Impl>(graph, options)) {}
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
Plan::~Plan() = default;

std::unique_ptr<Plan::Arena, void (*)(Plan::Arena*)> Plan::arena() const {
  return {impl_->new_arena().release(), [](Arena* arena) { delete arena; }};
}

void Plan::run(std::span<const float> input, std::span<float> output, Arena& arena) const noexcept {
  assert(static_cast<int64_t>(input.size()) == input_size() && static_cast<int64_t>(output.size()) == output_size());
  impl_->run(input.data(), output.data(), arena);
}

void Plan::run(std::span<const float> input, std::span<float> output) const noexcept {
  if (!impl_->arena) impl_->arena = impl_->new_arena();
  run(input, output, *impl_->arena);
}

std::vector<double> Plan::step_milliseconds(double seconds) const {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kLeastRuns = 5;
  std::vector<float> input(static_cast<size_t>(input_size())), output(static_cast<size_t>(output_size()));
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  for (float& value : input) value = normal(random);
  const Executable& executable = *impl_->executable;
  const auto arena = executable.arena();
  std::vector<std::vector<double>> times(steps().size());
  std::vector<double> one(steps().size());
  const double share = static_cast<double>(impl_->images) / impl_->lanes;  // of one image's time in the run's
  executable.run(input.data(), output.data(), *arena);
  const auto start = Clock::now();
  for (size_t runs = 0; runs < kLeastRuns || std::chrono::duration<double>(Clock::now() - start).count() < seconds;
       ++runs) {
    executable.run(input.data(), output.data(), *arena, one.data());
    for (size_t i = 0; i < one.size(); ++i) times[i].push_back(1e3 * one[i] * share);
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
  return impl_->images * impl_->executable->input_size();
}
int64_t Plan::output_size() const {
  return impl_->images * impl_->executable->output_size();
}
int64_t Plan::batch() const {
  return impl_->images * impl_->executable->batch();
}
int64_t Plan::arena_bytes() const {
  return impl_->lanes * impl_->executable->arena_floats() * static_cast<int64_t>(sizeof(float));
}
const std::vector<Plan::Step>& Plan::steps() const {
  return impl_->steps;
}

}  // namespace reducenet
