#pragma once

#include <string_view>

/// What a refusal's text says, whatever nodes it names: every `why` of a rule contains exactly one of these.
namespace reducenet::reason {

inline constexpr std::string_view kIsOutput = "is an output of the graph";
inline constexpr std::string_view kReadAgain = "merging would compute it again";
inline constexpr std::string_view kBorder = "would make there is not zero, so border outputs differ";
inline constexpr std::string_view kBias = "adds its bias inside the image only, so border outputs differ";
inline constexpr std::string_view kWork = "would raise the multiply-accumulates";
inline constexpr std::string_view kNotAligned = "are not aligned: strides or paddings differ";
inline constexpr std::string_view kMeanOfInside = "leaves padding out of its means: at the border it is no convolution";
inline constexpr std::string_view kRandom = "drops at random: export the model in evaluation mode";
inline constexpr std::string_view kMask = "its mask is read";
inline constexpr std::string_view kNames = "must both keep their names";
inline constexpr std::string_view kMatrix = "would take more multiply-accumulates as one matrix";
inline constexpr std::string_view kNotFinite = "would not be finite in";
inline constexpr std::string_view kCoverage =
    "reaches outputs with different numbers of taps, so a shift before it is no bias";
inline constexpr std::string_view kFill = "makes another value of zeros than the padding behind it";
inline constexpr std::string_view kOpenSize = "the image size is open: its borders cannot be corrected by constants";
inline constexpr std::string_view kOnlyBorder = "no output keeps clear of the border";
inline constexpr std::string_view kStrips =
    "merging, with its border put right, would not save a fifth of the multiply-accumulates";
inline constexpr std::string_view kMayBeNegative = "may be negative: reserved channels would lose it in the activation";

inline constexpr std::string_view kCost = "would cost";

inline constexpr std::string_view kAll[] = {
    kIsOutput, kReadAgain, kBorder,   kBias, kWork,     kNotAligned, kMeanOfInside, kRandom,        kMask, kNames,
    kMatrix,   kNotFinite, kCoverage, kFill, kOpenSize, kOnlyBorder, kStrips,       kMayBeNegative, kCost,
};

}  // namespace reducenet::reason
