#pragma once

#include <span>
#include <string>
#include <string_view>

#include "reducenet/graph.h"

namespace reducenet {

class StagedBuilder;

/// The convolution that a branch runs beside: from x to `out` channels.
struct Beside {
  StagedBuilder& b;
  std::string name;  ///< of the branch
  ValueId x;
  int64_t out, kernel, stride, groups;
};

/// One kind of training-time branch. All are linear, and join the convolution's own kernel.
struct BranchKind {
  std::string_view name, summary;
  /// The branch's output, of the convolution's shape; false where the kind does not apply. What options.branch_sum says
  /// stands behind it: a BN, or a scale.
  ValueId (*build)(const Beside&);
  /// The scaled branch as a kernel of the convolution's shape, a function of its own weights; false likewise.
  ValueId (*kernel)(const Beside&);
};

/// Row by name; Error(usage) lists the names.
const BranchKind& find_branch(std::string_view name);

}  // namespace reducenet
