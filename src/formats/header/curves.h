#pragma once

#include <string>

#include "reducenet/op.h"
#include "runtime/step.h"

namespace reducenet::header {

/// C++ expressions of the float `v`. Throws Error(unsupported) for a fade that is none of activations.
std::string expression(const Activation& activation);
std::string expression(const Fade& fade);
std::string expression(const Unary& unary);
/// Of the floats `v` and `w`.
std::string expression(const Binary& binary);

/// The same of what an epilogue has behind its clamp: an Activation or a Fade.
std::string expression(const Op& curve);
/// Statements that return curve(clamp(v)).
std::string finish(const Epilogue& epilogue, std::string v);

}  // namespace reducenet::header
