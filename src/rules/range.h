#pragma once

#include <limits>

#include "reducenet/collapse.h"

namespace reducenet {

/// Bounds that hold for every element, whatever the graph's inputs are.
struct Range {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
};

/// Follows the producers back a few nodes; nothing known: the whole line.
Range range_of(const Site& site, ValueId value);

/// Activations (and Min, Max with one constant in all) that are  x → min(max(x, low), high).
struct Clamp {
  ValueId source;
  Range bounds;
};
std::optional<Clamp> clamp_of(const Graph& graph, NodeId node);

}  // namespace reducenet
