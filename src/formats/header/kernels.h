#pragma once

#include <string_view>

namespace reducenet::header {

/// The text of kernels_conv.hpp and kernels_other.hpp, which every header contains.
extern const std::string_view kKernels;

}  // namespace reducenet::header
