#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "reducenet/error.h"
#include "train/select/select.h"

namespace reducenet::train {
namespace {

/// What it costs that all candidates between the survivors i and j vanish together; −1 and n stand for the two ends.
struct Gap {
  double loss = 0;    ///< rise of the held-out loss
  double saving = 0;  ///< milliseconds
};

constexpr int kUnits = 200;  // of the saving that the budget asks for

}  // namespace

// Two stages (Kim et al., arXiv 2301.12187): first every run of neighbours, up to `span` long, is measured by itself:
// its rise of the held-out loss, and what the collapsed network saves. Then, over survivors in order,
//   D(j, c, q) = min over i < j of D(i, c − 1, q − saving(i, j)) + loss(i, j)
// with c survivors and q units of milliseconds saved, units rounded down.
Survivors select_dp(const SelectionContext& context) {
  const Recipe::Select& recipe = context.recipe;
  const auto n = static_cast<int64_t>(context.candidates);
  const int64_t most = recipe.count < 0 ? n : std::min<int64_t>(n, recipe.count);
  const int64_t needed_span = n / (most + 1);  // ⌈(n − most)/(most + 1)⌉
  const int64_t span = recipe.span == 0 ? n : std::max(recipe.span, needed_span);
  const Survivors all(static_cast<size_t>(n), true);
  const double base = context.loss(all);
  const double slow = recipe.milliseconds > 0 ? context.milliseconds(all) : 0;
  const double need = recipe.milliseconds > 0 ? std::max(0.0, slow - recipe.milliseconds) : 0;
  const int units = need > 0 ? kUnits : 0;

  std::vector<std::vector<Gap>> gaps(static_cast<size_t>(n + 1), std::vector<Gap>(static_cast<size_t>(n + 1)));
  const auto gap = [&](int64_t i, int64_t j) -> Gap& {
    return gaps[static_cast<size_t>(i + 1)][static_cast<size_t>(j)];
  };
  for (int64_t i = -1; i < n; ++i) {
    for (int64_t j = i + 2; j <= std::min(n, i + 1 + span); ++j) {
      Survivors survivors = all;
      std::fill(survivors.begin() + i + 1, survivors.begin() + j, false);
      gap(i, j).loss = context.loss(survivors) - base;
      if (need > 0) gap(i, j).saving = std::max(0.0, slow - context.milliseconds(survivors));
    }
  }

  struct Cell {
    double loss = std::numeric_limits<double>::infinity();
    int64_t from = -2;
    int units = 0;
  };
  // By position (−1 … n), number of survivors up to it, units saved.
  const auto columns = static_cast<size_t>(units + 1), rows = static_cast<size_t>(most + 1);
  std::vector<Cell> table(static_cast<size_t>(n + 2) * rows * columns);
  const auto cell = [&](int64_t j, int64_t c, int q) -> Cell& {
    return table[(static_cast<size_t>(j + 1) * rows + static_cast<size_t>(c)) * columns + static_cast<size_t>(q)];
  };
  cell(-1, 0, 0).loss = 0;
  for (int64_t j = 0; j <= n; ++j) {
    const int64_t own = j < n ? 1 : 0;  // the end is no survivor
    for (int64_t i = std::max<int64_t>(-1, j - 1 - span); i < j; ++i) {
      const Gap& g = gap(i, j);
      const int saved = need > 0 ? static_cast<int>(std::min<double>(units, std::floor(g.saving / need * units))) : 0;
      for (int64_t c = 0; c + own <= most; ++c) {
        for (int q = 0; q <= units; ++q) {
          const Cell& before = cell(i, c, q);
          Cell& after = cell(j, c + own, std::min(units, q + saved));
          if (before.loss + g.loss < after.loss) after = {before.loss + g.loss, i, q};
        }
      }
    }
  }
  int64_t count = most;
  for (int64_t c = 0; need > 0 && c < most; ++c) {
    if (cell(n, c, units).loss < cell(n, count, units).loss) count = c;
  }
  if (!std::isfinite(cell(n, count, units).loss)) {
    throw Error(ErrorKind::usage, fmt::format("select.milliseconds = {}: the network takes {:.3f} ms, and vanishing "
                                              "activations save too little (select.span = {})",
                                              recipe.milliseconds, slow, recipe.span));
  }
  Survivors survivors(static_cast<size_t>(n), false);
  int q = units;
  for (int64_t j = n, c = count; j >= 0;) {
    const Cell& at = cell(j, c, q);
    if (j < n) survivors[static_cast<size_t>(j)] = true, --c;
    j = at.from;
    q = at.units;
  }
  return survivors;
}

}  // namespace reducenet::train
