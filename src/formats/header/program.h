#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "formats/header/blob.h"
#include "reducenet/graph.h"
#include "runtime/lower.h"

// A lowered program as calls of the functions in kernels_conv.hpp and kernels_other.hpp.

namespace reducenet::header {

/// A tensor in the header's memory.
struct Slot {
  Shape shape;
  int64_t block = 0;            ///< channels in a row of pixels: 16, 1, or 0 for plain
  int64_t left = 0, right = 0;  ///< pixels of zeros beside every row
  Buffer::Place place = Buffer::Place::arena;
  int64_t offset = 0;    ///< floats
  std::string constant;  ///< where it stands, for constants
  int view_of = -1;
};

/// One call. Its text is made when every slot has its place.
struct Item {
  std::string comment;
  std::vector<int> reads;
  int writes = -1;
  std::function<std::string()> code;
};

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
