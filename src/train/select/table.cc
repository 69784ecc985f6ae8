#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "reducenet/error.h"
#include "train/select/select.h"

namespace reducenet::train {

Selection select_uniform(const SelectionContext& context);
Selection select_trailing(const SelectionContext& context);
Selection select_sensitivity(const SelectionContext& context);
Selection select_learned(const SelectionContext& context);
Selection select_dp(const SelectionContext& context);
Selection select_usage(const SelectionContext& context);

namespace {

constexpr std::string_view kAlone = "rise of the held-out loss when it alone vanishes";

constexpr std::array kTable{
    Selector{"uniform", "evenly spaced", "", select_uniform},
    Selector{"trailing", "evenly spaced, the last one among them", "", select_trailing},
    Selector{"sensitivity", "those whose removal, one at a time, costs most on held-out images", kAlone,
             select_sensitivity},
    Selector{"learned", "masks trained under the budget", "score of its mask", select_learned},
    Selector{"dp", "the best total over runs of neighbours that vanish together", kAlone, select_dp},
    Selector{"usage", "the gated blocks that run for most held-out images",
             "share of held-out images for which it runs", select_usage},
};

}  // namespace

std::span<const Selector> selectors() {
  return kTable;
}

const Selector& selector_of(const Recipe::Select& recipe) {
  return kTable.at(static_cast<size_t>(recipe.by) - 1);
}

Selection select(const SelectionContext& context) {
  if (context.recipe.by == Recipe::SelectBy::none) return {.survive = Survivors(context.candidates, true)};
  return selector_of(context.recipe).select(context);
}

namespace {

[[noreturn]] void too_slow(const SelectionContext& context, double milliseconds) {
  throw Error(ErrorKind::usage,
              fmt::format("select.milliseconds = {}: even with no activation left the network takes {:.3g} ms",
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

Selection by_importance(const SelectionContext& context, std::vector<double> importance) {
  return {most_important(context, importance), std::move(importance)};
}

}  // namespace reducenet::train
