#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

constexpr const Kernel* kTable[] = {
    &kView,
    &kPlainToBlocked,
    &kBlockedToPlain,
    &kCopy,
    &kBlockedToRows,
    &kRowsToBlocked,  // the same elements elsewhere
    &kConvFirst,
    &kConvDirect,
    &kDepthwise,
    &kConvPlain,  // convolutions
    &kWinograd2,
    &kWinograd4,
    &kWinograd6,
    &kPointwise,
    &kAffine,
    &kAffineBlocked,
    &kMatMul,
    &kConvTranspose,  // matrix products and the rest with weights
    &kMap,
    &kMapBlocked,
    &kBinaryBlocked,
    &kBroadcast,  // element by element
    &kPool,
    &kPoolBlocked,
    &kResize,
    &kResizeBlocked,
    &kSoftmax,
    &kNormalize,  // over windows and axes
    &kConcat,
    &kConcatBlocked,
    &kSliceBlocked,
    &kGather,  // moving elements
    &kConvBytes,
    &kConvBytesOut,
    &kConvHalves,
    &kConvHalvesOut,  // in 8 and 16 bits
    &kDepthwiseBytes,
    &kDepthwiseBytesOut,
    &kAffineBytes,
    &kAffineHalves,
    &kPlainToBytes,
    &kBlockedToBytes,
    &kBytesToPlain,
    &kBytesToBlocked,
    &kPlainToHalves,
    &kBlockedToHalves,
    &kHalvesToPlain,
    &kHalvesToBlocked,
};

}  // namespace

std::span<const Kernel* const> kernels() {
  return kTable;
}

void pack_as_is(Step& step) {
  step.packed.assign(step.weight.begin(), step.weight.end());
  pack_bias(step, step.output.shape[1]);
}

void pack_bias(Step& step, int64_t channels) {
  step.packed_bias.assign(static_cast<size_t>(channels), 0.0f);
  for (size_t c = 0; c < step.bias.size(); ++c) step.packed_bias[c] = static_cast<float>(step.bias[c]);
}

}  // namespace reducenet
