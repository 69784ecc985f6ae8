#include <algorithm>
#include <cmath>
#include <limits>

#include "train/select/select.h"

namespace reducenet::train {
namespace {

/// What it costs that all candidates between the survivors i and j vanish together; −1 and n stand for the two ends.
struct Gap {
  double loss = 0;    ///< rise of the held-out loss
  double saving = 0;  ///< milliseconds
};

constexpr int kUnits = 200;  // of the saving that is asked for
constexpr int kRounds = 16;  // in which savings that did not add up are asked for again

class Programming {
 public:
  explicit Programming(const SelectionContext& context)
      : context_(context),
        n_(static_cast<int64_t>(context.candidates)),
        most_(context.recipe.count < 0 ? n_ : std::min(n_, context.recipe.count)),
        gaps_(static_cast<size_t>((n_ + 1) * (n_ + 1))) {
    const int64_t needed = n_ / (most_ + 1);  // ⌈(n − most)/(most + 1)⌉
    span_ = context.recipe.span == 0 ? n_ : std::max(context.recipe.span, needed);
  }

  /// Measures every run of neighbours by itself.
  void measure(bool milliseconds) {
    const Survivors all(static_cast<size_t>(n_), true);
    const double base = context_.loss(all), slow = milliseconds ? context_.milliseconds(all) : 0;
    const auto last = [&](int64_t i) { return std::min(n_, i + 1 + span_); };
    size_t runs = 0, done = 0;
    for (int64_t i = -1; i < n_; ++i) runs += static_cast<size_t>(std::max<int64_t>(0, last(i) - i - 1));
    for (int64_t i = -1; i < n_; ++i) {
      for (int64_t j = i + 2; j <= last(i); ++j) {
        Survivors survivors = all;
        std::fill(survivors.begin() + i + 1, survivors.begin() + j, false);
        gap(i, j).loss = context_.loss(survivors) - base;
        if (milliseconds) gap(i, j).saving = std::max(0.0, slow - context_.milliseconds(survivors));
        context_.done(++done, runs);
      }
    }
  }

  /// The least loss among choices whose runs save `need` milliseconds together; empty when there is none.
  Survivors solve(double need) const {
    struct Cell {
      double loss = std::numeric_limits<double>::infinity();
      int64_t from = -2;
      int units = 0;
    };
    const int units = need > 0 ? kUnits : 0;
    // By position (−1 … n), number of survivors up to it, units saved.
    const auto columns = static_cast<size_t>(units + 1), rows = static_cast<size_t>(most_ + 1);
    std::vector<Cell> table(static_cast<size_t>(n_ + 2) * rows * columns);
    const auto cell = [&](int64_t j, int64_t c, int q) -> Cell& {
      return table[(static_cast<size_t>(j + 1) * rows + static_cast<size_t>(c)) * columns + static_cast<size_t>(q)];
    };
    cell(-1, 0, 0).loss = 0;
    for (int64_t j = 0; j <= n_; ++j) {
      const int64_t own = j < n_ ? 1 : 0;  // the end is no survivor
      for (int64_t i = std::max<int64_t>(-1, j - 1 - span_); i < j; ++i) {
        const Gap& g = gap(i, j);
        const int saved = need > 0 ? static_cast<int>(std::min<double>(units, std::floor(g.saving / need * units))) : 0;
        for (int64_t c = 0; c + own <= most_; ++c) {
          for (int q = 0; q <= units; ++q) {
            const Cell& before = cell(i, c, q);
            Cell& after = cell(j, c + own, std::min(units, q + saved));
            if (before.loss + g.loss < after.loss) after = {before.loss + g.loss, i, q};
          }
        }
      }
    }
    int64_t count = most_;
    for (int64_t c = 0; need > 0 && c < most_; ++c) {
      if (cell(n_, c, units).loss < cell(n_, count, units).loss) count = c;
    }
    if (!std::isfinite(cell(n_, count, units).loss)) return {};
    Survivors survivors(static_cast<size_t>(n_), false);
    int q = units;
    for (int64_t j = n_, c = count; j >= 0;) {
      const Cell& at = cell(j, c, q);
      if (j < n_) survivors[static_cast<size_t>(j)] = true, --c;
      j = at.from;
      q = at.units;
    }
    return survivors;
  }

  /// What each candidate costs that vanishes by itself.
  std::vector<double> single_losses() const {
    std::vector<double> losses;
    for (int64_t i = 0; i < n_; ++i) losses.push_back(gap(i - 1, i + 1).loss);
    return losses;
  }

 private:
  Gap& gap(int64_t i, int64_t j) { return gaps_[static_cast<size_t>((i + 1) * (n_ + 1) + j)]; }
  const Gap& gap(int64_t i, int64_t j) const { return gaps_[static_cast<size_t>((i + 1) * (n_ + 1) + j)]; }

  const SelectionContext& context_;
  int64_t n_, most_, span_;
  std::vector<Gap> gaps_;  // by i + 1, j
};

}  // namespace

// Two stages (Kim et al., arXiv 2301.12187): first every run of neighbours, up to `span` long, is measured by itself:
// its rise of the held-out loss, and what the collapsed network saves. Then, over survivors in order,
//   D(j, c, q) = min over i < j of D(i, c − 1, q − saving(i, j)) + loss(i, j)
// with c survivors and q units of milliseconds saved, units rounded down. What is chosen is timed as a whole: where
// savings did not add up, what is missing is asked for on top; where no runs promise that much, candidates stay one
// after the other while there is time, the dearest by themselves first.
Selection select_dp(const SelectionContext& context) {
  const Recipe::Select& recipe = context.recipe;
  const bool timed = recipe.milliseconds > 0;
  double need = timed ? context.milliseconds(Survivors(context.candidates, true)) - recipe.milliseconds : 0;
  need = std::max(0.0, need);
  Programming programming(context);
  programming.measure(need > 0);
  for (int round = 0; round < kRounds; ++round) {
    Survivors survivors = programming.solve(need);
    if (survivors.empty() && context.candidates > 0) break;
    const double over = timed ? context.milliseconds(survivors) - recipe.milliseconds : 0;
    if (over <= 0) return {std::move(survivors), programming.single_losses()};
    need += over;
  }
  return by_importance(context, programming.single_losses());
}

}  // namespace reducenet::train
