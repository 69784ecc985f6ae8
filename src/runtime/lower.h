#pragma once

#include <vector>

#include "reducenet/graph.h"
#include "runtime/step.h"

namespace reducenet {

/// Steps in the order in which they run. Inputs and outputs are dense NCHW and stand in the order of the graph's.
struct Program {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<int> inputs, outputs;
};

/// Graph → steps, kernels not yet chosen. Fuses bias, scale and shift (BatchNorm), residual and activation into the
/// convolution or matrix product before them, and removes what does nothing at inference.
/// Throws Error(unsupported) naming the node that cannot be lowered, Error(usage) when an input has another fixed
/// batch.
Program lower(Graph graph, int64_t batch);

}  // namespace reducenet
