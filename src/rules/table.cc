#include "rules/rows.h"

namespace reducenet {

std::span<const Rule> rules() {
  static const std::vector<Rule> table = [] {
    std::vector<Rule> rows;
    for (const auto family :
         {identity_rules, constant_rules, activation_rules, batch_norm_rules, pool_rules, linear_rules, branch_rules,
          concat_rules, residual_rules, last_axis_rules, border_rules, reserve_rules}) {
      rows.insert(rows.end(), family().begin(), family().end());
    }
    return rows;
  }();
  return table;
}

}  // namespace reducenet
