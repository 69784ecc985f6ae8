#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// What every architecture is built from. A row of `architectures()` reads the fields that concern it.
struct ArchOptions {
  int64_t modules = 3;                      ///< modules per stage
  std::vector<int64_t> widths{16, 32, 64};  ///< channels per stage; each stage after the first halves the resolution
  int64_t expansion = 1;                    ///< width of a module's vanishing middle, as a multiple of its output
  std::vector<std::string> branches{};  ///< linear training-time branches beside each 3×3: "1x1", "3x3", "identity-bn"
  Activation activation{Activation::Kind::relu};
  bool second_activation = true;  ///< `resnet`: the activation after the sum (the article drops it)
  std::string head = "pool";      ///< "pool": average pool + FC; "flatten": flatten + FC
  std::string padding = "each";   ///< "each": every conv pads; "input": all padding at the input (conv-collapsible)
  bool linear = false;            ///< the same network with every activation left out
  int64_t channels = 3, height = 32, width = 32;
  int64_t classes = 10;
  uint64_t seed = 0;  ///< of the initial weights
};

struct Architecture {
  std::string_view name, summary;
  Graph (*build)(const ArchOptions&);
};

/// The one table.
std::span<const Architecture> architectures();
/// "reduce", or a name for options such as "reduce20", "resnet56", "plain11" (depth counts the training network's
/// convolutions and FC on the main path; it sets `options.modules`). Error(usage) lists what exists.
const Architecture& find_architecture(std::string_view name, ArchOptions& options);
/// Builds by name.
Graph build(std::string_view name, ArchOptions options);

}  // namespace reducenet
