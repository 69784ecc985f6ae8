#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "reducenet/error.h"
#include "train/select/select.h"

namespace reducenet::train {

Survivors select_uniform(const SelectionContext& context);
Survivors select_sensitivity(const SelectionContext& context);
Survivors select_learned(const SelectionContext& context);
Survivors select_dp(const SelectionContext& context);
Survivors select_usage(const SelectionContext& context);

namespace {

constexpr std::array kTable{
    Selector{"uniform", "evenly spaced", select_uniform},
    Selector{"sensitivity", "those whose removal, one at a time, costs most on held-out images", select_sensitivity},
    Selector{"learned", "masks trained under the budget", select_learned},
    Selector{"dp", "the best total over runs of neighbours that vanish together", select_dp},
    Selector{"usage", "the gated blocks that run for most held-out images", select_usage},
};

}  // namespace

std::span<const Selector> selectors() {
  return kTable;
}

Survivors select(const SelectionContext& context) {
  if (context.recipe.by == Recipe::SelectBy::none) return Survivors(context.candidates, true);
  return kTable.at(static_cast<size_t>(context.recipe.by) - 1).select(context);
}

Survivors largest_within(const SelectionContext& context, const std::function<Survivors(size_t)>& ranked) {
  const Recipe::Select& recipe = context.recipe;
  size_t count = context.candidates;
  if (recipe.count >= 0) count = std::min(count, static_cast<size_t>(recipe.count));
  if (recipe.milliseconds == 0) return ranked(count);
  double last = 0;
  for (;; --count) {
    Survivors survivors = ranked(count);
    last = context.milliseconds(survivors);
    if (last <= recipe.milliseconds) return survivors;
    if (count == 0) break;
  }
  throw Error(ErrorKind::usage,
              fmt::format("select.milliseconds = {}: even with no activation left the network takes {:.3f} ms",
                          recipe.milliseconds, last));
}

Survivors most_important(const SelectionContext& context, const std::vector<double>& importance) {
  std::vector<size_t> order(importance.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return importance[a] > importance[b]; });
  return largest_within(context, [&](size_t count) {
    Survivors survivors(order.size(), false);
    for (size_t i = 0; i < count; ++i) survivors[order[i]] = true;
    return survivors;
  });
}

}  // namespace reducenet::train
