#include "train/select/select.h"

namespace reducenet::train {

// k of n: the candidates ⌊(i + ½)·n/k⌋ for i < k.
Selection select_uniform(const SelectionContext& context) {
  const size_t n = context.candidates;
  return {.survive = largest_within(context, [n](size_t k) {
            Survivors survivors(n, false);
            for (size_t i = 0; i < k; ++i) survivors[(2 * i + 1) * n / (2 * k)] = true;
            return survivors;
          })};
}

}  // namespace reducenet::train
