#pragma once

#include <cstdint>
#include <string>

#include "formats/header/blob.h"
#include "reducenet/graph.h"

// A lowered program as calls of the functions in kernels_conv.hpp and kernels_other.hpp.

namespace reducenet::header {

/// What a header says beside its constants.
struct Translation {
  std::string calls;
  Blob blob;          ///< weights, biases and constants
  int64_t arena = 0;  ///< floats
  int64_t input_size = 0, output_size = 0;
  int64_t steps = 0, macs = 0;
};
/// Throws Error(unsupported) naming the node that a header cannot run.
Translation translate(const Graph& graph);

}  // namespace reducenet::header
