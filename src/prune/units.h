#pragma once

#include <numeric>
#include <utility>
#include <vector>

#include "reducenet/prune.h"

namespace reducenet {

/// Channels as they are met, tied by union-find; 0 is the one that is kept.
class Atoms {
 public:
  int32_t fresh() {
    parent_.push_back(static_cast<int32_t>(parent_.size()));
    return parent_.back();
  }
  std::vector<int32_t> fresh(int64_t count) {
    std::vector<int32_t> made(static_cast<size_t>(count));
    for (int32_t& atom : made) atom = fresh();
    return made;
  }
  int32_t root(int32_t atom) {
    while (parent_[static_cast<size_t>(atom)] != atom) {
      int32_t& above = parent_[static_cast<size_t>(atom)];
      above = parent_[static_cast<size_t>(above)];
      atom = above;
    }
    return atom;
  }
  /// The smaller number stands for both: 0 stays 0.
  void tie(int32_t a, int32_t b) {
    a = root(a), b = root(b);
    parent_[static_cast<size_t>(std::max(a, b))] = std::min(a, b);
  }
  void tie(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
    for (size_t i = 0; i < a.size(); ++i) tie(a[i], b[i]);
  }
  void keep(const std::vector<int32_t>& atoms) {
    for (const int32_t atom : atoms) tie(0, atom);
  }
  int32_t count() const { return static_cast<int32_t>(parent_.size()); }

 private:
  std::vector<int32_t> parent_{0};
};

}  // namespace reducenet
