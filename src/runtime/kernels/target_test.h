#pragma once

#include <gtest/gtest.h>

#include "hwy/highway.h"
#include "runtime/executable.h"
#include "runtime/kernels/trials.h"

namespace reducenet::testing {

/// A trial of kernels on one SIMD target after the other.
class TargetTest : public ::testing::TestWithParam<Trial> {
 protected:
  void TearDown() override { use(0); }
  static void use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }

  /// The trial's kernel wherever it can run the step.
  static KernelFilter only(const Trial& trial) {
    return [&trial](const Kernel& kernel, const Step& step) {
      for (const Kernel* other : kernels()) {
        if (other->name == trial.kernel && other->supports(step)) return kernel.name == trial.kernel;
      }
      return true;
    };
  }
};

}  // namespace reducenet::testing
