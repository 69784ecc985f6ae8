#include "train/select/select.h"

namespace reducenet::train {

// Importance of a candidate: the loss without it alone.
Survivors select_sensitivity(const SelectionContext& context) {
  std::vector<double> importance;
  for (size_t i = 0; i < context.candidates; ++i) {
    Survivors others(context.candidates, true);
    others[i] = false;
    importance.push_back(context.loss(others));
  }
  return most_important(context, importance);
}

}  // namespace reducenet::train
