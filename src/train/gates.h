#pragma once

#include <ATen/core/Tensor.h>

#include "graph/gates.h"
#include "reducenet/train.h"
#include "train/feed.h"
#include "train/network.h"

namespace reducenet::train {

/// weight·(mean of all gates − budget)²
at::Tensor gate_cost(const std::vector<at::Tensor>& gates, const Recipe::Gate& recipe);

/// Mean of each gate over these images; watches the gates, and nothing afterwards.
std::vector<double> gate_usage(Network& network, const std::vector<ValueId>& gates, Feed& feed,
                               std::span<const int32_t> order);

}  // namespace reducenet::train
