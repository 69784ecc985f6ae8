#include "prune.h"
#include "verbs.h"

namespace reducenet::cli {

Action declare_prune(CLI::App& app) {
  return declare_prune_with(app, nullptr);
}

}  // namespace reducenet::cli
