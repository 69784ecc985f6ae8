#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// What every architecture is built from. A row of `architectures()` reads the fields that concern it.
struct ArchOptions {
  int64_t modules = 3;                      ///< modules per stage; `vanillanet`: blocks in all
  std::vector<int64_t> widths{16, 32, 64};  ///< channels per stage; each stage after the first halves the resolution
  int64_t expansion = 1;                    ///< width of a module's vanishing middle, as a multiple of its output
  /// Linear training-time branches beside each convolution; names of branch_kinds(), "NAME*N" for N of them.
  std::vector<std::string> branches{};
  /// Where a convolution and its branches meet: "normed": each has a BN, and their outputs are added; "scaled": outputs
  /// scaled by channel are added before one BN; "kernels": the same in weight space, so that they cost one convolution.
  std::string branch_sum = "normed";
  /// What vanishes; names of fade_places(). Error(usage) where the architecture has no such place.
  std::vector<std::string> fades{};
  /// Stochastic depth: the l-th of L blocks that have a shortcut stays with probability 1 − l/L·(1 − survival).
  double survival = 1;
  Activation activation{Activation::Kind::relu};
  /// Each channel of an activation that stays learns its slope below zero, from 0 (PReLU; He et al., ICCV 2015). ReLU
  /// only; otherwise Error(usage).
  bool slopes = false;
  bool shortcut = true;           ///< `reduce`, `article`, `gen2`: a module's input in its sum, where shapes agree
  bool second_activation = true;  ///< `resnet`: the activation after the sum (the article drops it)
  bool bottleneck = true;         ///< `gen3`: the non-linear branch; without it the student's network
  int64_t experts = 4;            ///< `condconv`: kernels that each convolution mixes; `detachnet`: small ones to mix
  int64_t side = 2;               ///< `detachnet`: width of the side network, as a multiple of the stages' widths
  /// `detachnet`: what the side network does to a layer: "multiply", "add", "convolve" (where input and output have one
  /// shape: a 3×3 a channel, mixed of `experts`).
  std::vector<std::string> supplies{"multiply", "add"};
  int64_t series = 3;         ///< `vanillanet`: reach of the series activation's (2·series + 1)² sum; 0: none
  std::string head = "pool";  ///< "pool": average pool + FC; "flatten": flatten + FC
  /// "each": every conv pads; "module": all padding where a module begins, so that no border stands inside it;
  /// "input": all padding at the input (conv-collapsible; architectures of 3×3 convs only).
  std::string padding = "each";
  bool linear = false;  ///< the same network with every activation left out
  int64_t channels = 3, height = 32, width = 32;
  int64_t classes = 10;
  uint64_t seed = 0;  ///< of the initial weights
};

/// A name that `branches` or `fades` may hold.
struct ArchChoice {
  std::string_view name, summary;
};
std::vector<ArchChoice> branch_kinds();
std::span<const ArchChoice> fade_places();

struct Architecture {
  std::string_view name, summary;
  Graph (*build)(const ArchOptions&);
};

/// The one table.
std::span<const Architecture> architectures();
/// "reduce", or a name for options such as "reduce20", "resnet56", "plain11" (depth counts the training network's
/// convolutions and FC on the main path, `vanillanet` its deployed ones; it sets `options.modules`). Error(usage) lists
/// what exists.
const Architecture& find_architecture(std::string_view name, ArchOptions& options);
/// Builds by name.
Graph build(std::string_view name, ArchOptions options);

}  // namespace reducenet
