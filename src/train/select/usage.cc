#include "train/select/select.h"

namespace reducenet::train {

// Importance of a gated block: the share of images for which it runs.
Survivors select_usage(const SelectionContext& context) {
  return most_important(context, context.usage());
}

}  // namespace reducenet::train
