#pragma once

#include <span>
#include <string>

#include "reducenet/runtime.h"
#include "runtime/step.h"
#include "runtime/tuning.h"

namespace reducenet {

/// What a multiply–add of a well filled convolution takes: makes seconds comparable with the kernels' predictions.
inline constexpr double kMacsPerSecond = 5e10;

/// The layout in which a kernel reads input `i`: what is added to the output lies as the output.
inline Layout layout_of_input(const Kernel& kernel, const Step& step, size_t i) {
  return static_cast<int>(i) == step.epilogue.residual ? kernel.out : kernel.in;
}

/// Costs by the clock, or from the cache of earlier plans.
class Tuner {
 public:
  /// `steps`: of the whole plan; `buffers`: how many it has.
  Tuner(const PlanOptions& options, std::span<const Step> steps, size_t buffers);
  ~Tuner() { cache_.save(); }

  /// In the unit of Kernel::cost.
  double cost(const Step& step, const Kernel& kernel);

 private:
  TuningCache cache_;
  size_t buffers_;
  int rounds_;
  Floats others_;
  std::string context_;
};

}  // namespace reducenet
