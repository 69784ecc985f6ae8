#pragma once

#include "reducenet/quantize.h"
#include "runtime/lower.h"

namespace reducenet {

/// Decides which convolutions of a program compute in `dtype` (bf16, or i8 with these scales) and which tensors are
/// stored so: sets Step::in_layout and out_layout, Buffer::narrow and affine. With i8 and no scales (nullptr), every
/// tensor counts as known.
void mark_narrow(Program& program, DType dtype, const Quantization* scales);

}  // namespace reducenet
