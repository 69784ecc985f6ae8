#pragma once

#include <vector>

#include "reducenet/graph.h"

namespace reducenet::train {

/// One step of the interpreter: a node, or a whole sum of batch normalisations
///   y = A(Σᵢ BNᵢ(xᵢ) + Σⱼ rⱼ),   A(v) = v > 0 ? v : s·v with 0 ≤ s ≤ 1, or absent.
struct Step {
  NodeId node;                     ///< makes the step's output
  std::vector<NodeId> branches;    ///< the BNᵢ; empty when the step is a single node
  std::vector<ValueId> residuals;  ///< the rⱼ
  NodeId activation;               ///< A: Relu, LeakyRelu or the Fade of one; false when absent
};

/// The graph's nodes in order, one step each.
std::vector<Step> plain_steps(const Graph& graph);

/// As above, with the largest sums taken together. A BN, an Add or an inner value belongs to a sum when nothing else
/// reads it, the Add does not broadcast, and the BN has constant parameters.
std::vector<Step> fused_steps(const Graph& graph);

}  // namespace reducenet::train
