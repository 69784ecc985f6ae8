#include "train/select/select.h"

namespace reducenet::train {
namespace {

/// k of n candidates, at place(i, k, n) for i < k.
Selection spaced(const SelectionContext& context, size_t (*place)(size_t i, size_t k, size_t n)) {
  const size_t n = context.candidates;
  return {.survive = largest_within(context, [n, place](size_t k) {
            Survivors survivors(n, false);
            for (size_t i = 0; i < k; ++i) survivors[place(i, k, n)] = true;
            return survivors;
          })};
}

}  // namespace

// In the middle of each share: ⌊(i + ½)·n/k⌋.
Selection select_uniform(const SelectionContext& context) {
  return spaced(context, [](size_t i, size_t k, size_t n) { return (2 * i + 1) * n / (2 * k); });
}

// At the end of each share: ⌈(i + 1)·n/k⌉ − 1.
Selection select_trailing(const SelectionContext& context) {
  return spaced(context, [](size_t i, size_t k, size_t n) { return ((i + 1) * n + k - 1) / k - 1; });
}

}  // namespace reducenet::train
