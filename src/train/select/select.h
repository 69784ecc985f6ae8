#pragma once

#include <functional>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "reducenet/graph.h"
#include "reducenet/train.h"
#include "train/feed.h"

namespace reducenet::train {

/// For each candidate, in graph order: whether its activation stays.
using Survivors = std::vector<bool>;

/// What was chosen, and what each candidate is worth (Selector::importance); empty where the way to choose ranks none.
struct Selection {
  Survivors survive;
  std::vector<double> importance;
};

/// What a way to choose survivors may look at. Only training and held-out images are behind it.
struct SelectionContext {
  Recipe::Select recipe;
  size_t candidates = 0;
  /// Mean cross-entropy on held-out images when only these survive, BatchNorm by each batch's own statistics.
  std::function<double(const Survivors&)> loss;
  /// Share of held-out images for which each candidate's gate is open.
  std::function<std::vector<double>()> usage;
  /// Median time of the network when only these survive, settled and collapsed, at batch 1 on one thread.
  std::function<double(const Survivors&)> milliseconds;
  /// For masks: a copy of the network to train, the index of each candidate among its fades, and training batches.
  std::function<Network()> copy;
  std::vector<size_t> fades;
  std::function<Labelled()> next_batch;
  Recipe::Optimizer optimizer;
  /// Told after each of the equal parts that the choice consists of; may throw to end it. Empty: nobody asks.
  std::function<void(size_t done, size_t parts)> progress;
  void done(size_t part, size_t parts) const {
    if (progress) progress(part, parts);
  }
};

/// A way to choose. Deterministic, but for measured milliseconds. `importance` says what it measures of each candidate
/// on held-out images; empty: it looks at none.
struct Selector {
  std::string_view name, summary, importance;
  Selection (*select)(const SelectionContext&);
};

/// The one table; rows in the order of Recipe::SelectBy, after `none`.
std::span<const Selector> selectors();
/// The recipe's way to choose; by = none has none.
const Selector& selector_of(const Recipe::Select& recipe);
/// Chooses as the recipe says. Error(usage) when no choice meets its budget.
Selection select(const SelectionContext& context);

/// The most survivors that the budgets allow, `ranked` giving the choice for each number of them.
Survivors largest_within(const SelectionContext& context, const std::function<Survivors(size_t)>& ranked);
/// One after the other, the most important first; passes over those that would break the budget of milliseconds.
Survivors most_important(const SelectionContext& context, const std::vector<double>& importance);
Selection by_importance(const SelectionContext& context, std::vector<double> importance);

}  // namespace reducenet::train
