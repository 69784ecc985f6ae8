#pragma once

#include <algorithm>

#include "runtime/step.h"

namespace reducenet {

// One row a kernel, at the end of its file; the table is in table.cc.
extern const Kernel kPlainToBytes, kBlockedToBytes, kBytesToPlain, kBytesToBlocked;
extern const Kernel kPlainToHalves, kBlockedToHalves, kHalvesToPlain, kHalvesToBlocked;
extern const Kernel kConvBytes, kConvBytesOut, kDepthwiseBytes, kDepthwiseBytesOut, kConvHalves, kConvHalvesOut;
extern const Kernel kAffineBytes, kAffineHalves;
extern const Kernel kView, kPlainToBlocked, kBlockedToPlain, kCopy, kBlockedToRows, kRowsToBlocked;
extern const Kernel kConvDirect, kConvFirst, kConvPlain, kDepthwise, kConvTranspose;
extern const Kernel kWinograd2, kWinograd4, kWinograd6, kPointwise;
extern const Kernel kAffine, kAffineBlocked, kMatMul;
extern const Kernel kMap, kMapBlocked, kBinaryBlocked, kBroadcast;
extern const Kernel kPool, kPoolBlocked;
extern const Kernel kResize, kResizeBlocked;
extern const Kernel kConcat, kConcatBlocked, kSliceBlocked, kGather, kSoftmax, kNormalize;

/// step.bias as floats for `channels` ≥ its own number, zero where there is none.
void pack_bias(Step& step, int64_t channels);
/// The weight in the file's order, and a bias for each output channel.
void pack_as_is(Step& step);

/// Into how many blocks of at most `most` to divide `items`, so that blocks × others share out evenly among threads.
inline int64_t even_blocks(int64_t items, int64_t most, int64_t others, int threads) {
  int64_t blocks = ceil_div(items, most);
  while (blocks < items && blocks * others % threads != 0) ++blocks;
  return blocks;
}

/// The j in [0, count) for which left + j·stride lies in [0, size).
struct Columns {
  int64_t first, last;  // half open
};
inline Columns inside(int64_t count, int64_t size, int64_t left, int64_t stride) {
  return {std::min(count, ceil_div(std::max<int64_t>(-left, 0), stride)),
          std::min(count, ceil_div(std::max<int64_t>(size - left, 0), stride))};
}

}  // namespace reducenet
