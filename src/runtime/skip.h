#pragma once

#include "runtime/lower.h"

namespace reducenet {

/// Finds products x·g with one number g, and the steps that nothing but x needs: while g is 0 they do not run, and x is
/// zeros (0·x = 0 for every finite x). The steps that make g come before them afterwards. To be called before the arena
/// is laid out.
void find_skips(Program& program);

}  // namespace reducenet
