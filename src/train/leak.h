#pragma once

#include <ATen/core/Tensor.h>

namespace reducenet::train {

/// y = x > 0 ? x : slope·x (PReLU; He et al., ICCV 2015), for a slope [C,1,1] on CPU one of each channel of x
/// [N,C,H,W], in one pass each way; otherwise of any shape that broadcasts. ∂slope = Σ min(x, 0)·∂y. Results do not
/// depend on the number of threads.
at::Tensor leak(const at::Tensor& x, const at::Tensor& slope);

}  // namespace reducenet::train
