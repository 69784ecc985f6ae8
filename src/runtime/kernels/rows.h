#pragma once

#include "runtime/step.h"

namespace reducenet {

// One row a kernel, at the end of its file; the table is in table.cc.
extern const Kernel kView, kPlainToBlocked, kBlockedToPlain, kCopy;
extern const Kernel kConvDirect, kConvFirst, kConvPlain, kDepthwise, kConvTranspose;
extern const Kernel kAffine, kAffineBlocked, kMatMul;
extern const Kernel kMap, kMapBlocked, kBinaryBlocked, kBroadcast;
extern const Kernel kPool, kPoolBlocked;
extern const Kernel kConcat, kConcatBlocked, kGather, kSoftmax;

/// step.bias as floats for `channels` ≥ its own number, zero where there is none.
void pack_bias(Step& step, int64_t channels);

}  // namespace reducenet
