#pragma once

#include <functional>

#include "reducenet/quantize.h"
#include "runtime/lower.h"

namespace reducenet {

/// The graph for a plan in 8 bits: an activation that rounds to bytes leaves the rounding to who stores or reads them,
/// and clamps.
Graph roundings_as_clamps(Graph graph);

/// Decides which layers of a program compute in `dtype` (bf16, or i8 with these scales) and which tensors are stored
/// so: sets Step::in_layout and out_layout, Buffer::narrow and affine. With i8 and no scales (nullptr), every tensor
/// counts as known. All layers that a kernel takes: convolutions (in bf16 not depthwise ones), and products of a matrix
/// of weights.
void mark_narrow(Program& program, DType dtype, const Quantization* scales);

/// What a marked program costs; the unit does not matter.
struct NarrowCosts {
  std::function<double(const Step&)> step;  ///< by its in_layout and out_layout; float32 where it has none
  std::function<double(const Shape&, Layout from, Layout to)> move;
};
/// Takes back the marks that do not pay: as long as it lowers the sum of all costs, sets all layers of a run of
/// neighbouring ones to float32, or to `dtype`. Starts from both extremes and keeps the better end. In a chain of
/// layers that is the least sum of all choices, as long as storing narrow costs at most what storing floats and
/// converting them does (a submodular chain: where no run improves, no set does). Time grows as the cube of the layers.
void keep_what_pays(Program& program, DType dtype, const NarrowCosts& costs);

}  // namespace reducenet
