#pragma once

#include <string>
#include <vector>

#include "reducenet/collapse.h"
#include "reducenet/verify.h"

namespace reducenet::cli {

/// What became of one node of the original network.
struct Explanation {
  std::string node, op, fate;
};

/// One line per node of `before`: merged by which rule into what (with the error of its region beside what rounding can
/// account for), or why not.
std::vector<Explanation> explain(const Graph& before, const Collapsed& collapsed, const Certificate& certificate);

}  // namespace reducenet::cli
