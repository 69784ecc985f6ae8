#pragma once

#include <optional>
#include <vector>

#include "collapse/driver.h"

namespace reducenet {

/// Linear nodes between two values: every path to `to` passes `from`, and what lies between is read inside only.
struct LinearBlock {
  ValueId from, to;
  std::vector<NodeId> nodes;  ///< in topological order
};

/// Blocks in a row: each reads what the one before makes, and nothing else does.
using Chain = std::vector<LinearBlock>;

/// Every maximal chain of the driver's graph, inner ones (on a branch) before the ones that contain them.
std::vector<Chain> find_chains(const Driver& driver);

/// The blocks first … last of a chain as a graph of its own, in double. Names and shapes are those of `graph`.
Graph cut_out(const Graph& graph, std::span<const LinearBlock> blocks);

}  // namespace reducenet
