#include "train/select/select.h"

namespace reducenet::train {

// Importance of a gated block: the share of images for which it runs.
Selection select_usage(const SelectionContext& context) {
  return by_importance(context, context.usage());
}

}  // namespace reducenet::train
