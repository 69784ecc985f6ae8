#include "train/select/select.h"

namespace reducenet::train {

// Importance of a candidate: by how much the loss is higher without it alone.
Selection select_sensitivity(const SelectionContext& context) {
  const Survivors all(context.candidates, true);
  const double base = context.loss(all);
  std::vector<double> importance;
  for (size_t i = 0; i < context.candidates; ++i) {
    Survivors others = all;
    others[i] = false;
    importance.push_back(context.loss(others) - base);
    context.done(i + 1, context.candidates);
  }
  return by_importance(context, std::move(importance));
}

}  // namespace reducenet::train
