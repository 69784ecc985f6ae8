#pragma once

#include <vector>

#include "reducenet/collapse.h"

namespace reducenet {

/// Compares the two graphs by names alone: nodes of `after` that are not the same node of `before` (op, constants,
/// names of inputs and outputs) form regions, each cut where both graphs name the same value.
std::vector<Region> find_regions(const Graph& before, const Graph& after);

/// The named nodes as a graph from `inputs` to `output`; shapes are left open.
Graph cut_out(const Graph& graph, const std::vector<std::string>& nodes, const std::vector<std::string>& inputs,
              const std::string& output);

/// Whether the two, cut out with the same inputs, are the same ops on the same inputs and constants: but for nodes that
/// hand their input on (Identity, Dropout at inference, Cast to the same type) and for what is computed from constants.
bool same_expression(const Graph& before, const Graph& after);

}  // namespace reducenet
