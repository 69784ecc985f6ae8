#pragma once

#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// A block that one bit an image lets run: sum = shortcut + block·gate, gate = hard_sigmoid(sign(logit)), perhaps in
/// another shape.
struct GatedBlock {
  NodeId sum;        ///< Add, or the fade "branch" of the same
  NodeId product;    ///< block·gate
  ValueId shortcut;  ///< the sum's other term
  ValueId gate;      ///< [N,1,1,1], 0 or 1
  NodeId sign;       ///< sign(logit)
};
/// In graph order.
std::vector<GatedBlock> gated_blocks(const Graph& graph);

/// The nodes that only the block's product needs, and the product itself, in graph order. Neither the gate nor the
/// shortcut depends on any of them.
std::vector<NodeId> nodes_behind(const Graph& graph, const Uses& uses, const GatedBlock& block);

}  // namespace reducenet
