#pragma once

#include <cstdint>
#include <vector>

#include "runtime/step.h"

namespace reducenet::header {

/// What one block of 16 output channels reads: whole rows of `block` channels from `first` on, up to `channels` of
/// them.
struct Range {
  int64_t first, channels, weights;  ///< weights: where the block's begin, in floats
};
/// One for each block of outputs. With groups, a block spans the rows of all the groups that it has channels of.
std::vector<Range> ranges_of(const Conv2d& op, const Shape& weight, int64_t block);

/// [o / 16][c / block][u][v][c % block][o % 16], zero where output and input are of different groups.
std::vector<float> pack_conv(const Step& step, const std::vector<Range>& ranges, int64_t block);
/// [o / 16][u][v][o % 16]
std::vector<float> pack_depthwise(const Step& step);
/// [o / 16][k][o % 16]
std::vector<float> pack_affine(const Step& step);
/// The bias of `channels` channels, zero behind the last.
std::vector<float> pack_bias(const Step& step, int64_t channels);

}  // namespace reducenet::header
