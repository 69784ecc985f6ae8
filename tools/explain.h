#pragma once

#include <string>
#include <vector>

#include "reducenet/collapse.h"

namespace reducenet::cli {

/// What became of one node of the original network.
struct Explanation {
  std::string node, op, fate;
};

/// One line per node of `before`: merged by which rule into what, or why not.
std::vector<Explanation> explain(const Graph& before, const Collapsed& collapsed);

}  // namespace reducenet::cli
