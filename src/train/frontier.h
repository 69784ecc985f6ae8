#pragma once

#include <set>
#include <string>

#include "reducenet/train.h"

namespace reducenet::train {

/// One training of a frontier's grid.
struct FrontierCell {
  /// trunk (fan): the recipe's own network after train.epochs, its schedule not over. deep: the recipe's own network.
  /// step: with fewer survivors, from the step before it or the trunk. direct: the network of a step, from scratch.
  /// control: another network, from scratch.
  enum class Kind { trunk, deep, step, direct, control };
  Kind kind = Kind::deep;
  std::string name;   ///< "trunk-s0", "deep-s0", "k9-s0", "direct-k9-s0", "control1-lr0.1-s0"
  std::string label;  ///< of its curve: "faded", "direct", "plain11 model.branches=1x1"
  int64_t seed = 0;
  int64_t survivors = -1;  ///< activations that are left; −1: as the architecture has it
  int64_t epochs = 0;      ///< in all, those of the cells before it included
  Recipe recipe;           ///< distill.teacher "self": the finished deep cell is the teacher
  std::string after;       ///< cell whose model is the start (deep, step) or the pattern (direct); empty: none
  std::string deep;        ///< the deep cell of the same seed, where the teacher comes from
};

/// The cells whose models it takes: the start or pattern, and where it has one the teacher.
std::set<std::string> needs(const FrontierCell& cell);

/// The grid that the recipe declares, in an order in which every cell follows those it needs. Error(usage) when it
/// declares none, or survivors that do not fall.
std::vector<FrontierCell> frontier_cells(const Recipe& recipe);

}  // namespace reducenet::train
