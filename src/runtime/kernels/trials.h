#pragma once

#include <ostream>
#include <string_view>

#include "runtime/kernels/trial_graphs.h"

namespace reducenet::testing {

/// Which graphs try a kernel.
struct Trial {
  std::string_view kernel;
  Graph (*graph)(Dice&);
  bool exact = false;
  friend void PrintTo(const Trial& trial, std::ostream* out) { *out << trial.kernel; }
};
constexpr Trial kTrials[] = {
    {"conv-direct", dense_conv},
    {"conv-direct", grouped_conv},
    {"conv-direct", heavy_conv},
    {"conv-direct", odd_groups},
    {"conv-direct", neighbouring_groups},
    {"conv-first", heavy_conv},
    {"conv-first", first_conv},
    {"conv-first", grouped_conv},
    {"conv-plain", dense_conv},
    {"winograd-2", conv3x3},
    {"winograd-4", conv3x3},
    {"winograd-6", conv3x3},
    {"conv-plain", odd_groups},
    {"pointwise", conv1x1},
    {"depthwise", depthwise},
    {"depthwise", small_depthwise},
    {"conv-transpose", conv_transpose},
    {"affine", affine},
    {"affine", affine_of_images},
    {"affine-blocked", affine_of_images},
    {"matmul", product},
    {"resize", moved_to_nearest, true},
    {"resize-blocked", moved_to_nearest, true},
    {"resize", interpolated},
    {"resize-blocked", interpolated},
    {"map", map},
    {"map-blocked", map},
    {"binary-blocked", equal_shapes},
    {"binary-blocked", gated},
    {"broadcast", equal_shapes},
    {"broadcast", broadcast},
    {"pool", pool},
    {"pool-blocked", pool},
    {"pool", reduced},
    {"pool-blocked", reduced_planes},
    {"softmax", softmax},
    {"concat", concat, true},
    {"concat-blocked", concat_of_blocks, true},
    {"to-rows", rows_of_pixels<true>, true},
    {"from-rows", rows_of_pixels<false>, true},
    {"gather", moved, true},
    {"gather", rearranged, true},
    {"slice-blocked", sliced_blocks, true},
    {"normalize", normalized},
};

/// Which graphs try the kernels in 8 and 16 bits.
constexpr Trial kNarrowTrials[] = {
    {"conv", dense_conv},         {"conv", first_conv},           {"conv", heavy_conv},
    {"conv", grouped_conv},       {"conv", odd_groups},           {"conv", conv1x1},
    {"depthwise", depthwise},     {"depthwise", small_depthwise}, {"affine", affine},
    {"affine", affine_of_images},
};

}  // namespace reducenet::testing
