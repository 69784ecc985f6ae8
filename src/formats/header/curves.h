#pragma once

#include <string>

#include "reducenet/op.h"

namespace reducenet::header {

/// C++ expressions of the float `v`. Throws Error(unsupported) for a fade that is none of activations.
std::string expression(const Activation& activation);
std::string expression(const Fade& fade);
std::string expression(const Unary& unary);
/// Of the floats `v` and `w`.
std::string expression(const Binary& binary);

}  // namespace reducenet::header
