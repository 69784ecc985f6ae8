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

namespace {

[[noreturn]] void too_slow(const SelectionContext& context, double milliseconds) {
  throw Error(ErrorKind::usage,
              fmt::format("select.milliseconds = {}: even with no activation left the network takes {:.3f} ms",
                          context.recipe.milliseconds, milliseconds));
}

size_t most_survivors(const SelectionContext& context) {
  const int64_t count = context.recipe.count;
  return count < 0 ? context.candidates : std::min(context.candidates, static_cast<size_t>(count));
}

}  // namespace

Survivors largest_within(const SelectionContext& context, const std::function<Survivors(size_t)>& ranked) {
  double last = 0;
  for (size_t count = most_survivors(context);; --count) {
    Survivors survivors = ranked(count);
    if (context.recipe.milliseconds == 0) return survivors;
    last = context.milliseconds(survivors);
    if (last <= context.recipe.milliseconds) return survivors;
    if (count == 0) break;
  }
  too_slow(context, last);
}

Survivors most_important(const SelectionContext& context, const std::vector<double>& importance) {
  std::vector<size_t> order(importance.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return importance[a] > importance[b]; });
  const double budget = context.recipe.milliseconds;
  Survivors survivors(order.size(), false);
  if (budget > 0) {
    const double least = context.milliseconds(survivors);
    if (least > budget) too_slow(context, least);
  }
  size_t left = most_survivors(context);
  for (const size_t i : order) {
    if (left == 0) break;
    survivors[i] = true;
    if (budget > 0 && context.milliseconds(survivors) > budget) {
      survivors[i] = false;
    } else {
      --left;
    }
  }
  return survivors;
}

}  // namespace reducenet::train
