#pragma once

#include <ATen/core/Tensor.h>

#include "reducenet/train.h"
#include "train/feed.h"
#include "train/network.h"

namespace reducenet::train {

/// A block that one bit an image lets run: fade "branch"( shortcut, block · gate ), or Add of the same.
struct GatedBlock {
  NodeId sum;    ///< the fade or Add
  ValueId gate;  ///< [N,1,1,1], 0 or 1
};
/// In graph order. A gate is hard_sigmoid(sign(z)), perhaps in another shape.
std::vector<GatedBlock> gated_blocks(const Graph& graph);

/// weight·(mean of all gates − budget)²
at::Tensor gate_cost(const std::vector<at::Tensor>& gates, const Recipe::Gate& recipe);

/// Mean of each gate over these images; watches the gates, and nothing afterwards.
std::vector<double> gate_usage(Network& network, const std::vector<ValueId>& gates, Feed& feed,
                               std::span<const int32_t> order);

}  // namespace reducenet::train
