#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet::train {

/// Every convolution of several pixels that no BatchNorm reads has one behind it from here on, and the network computes
/// what it computed: these have the mean and variance that they meet over `batches` times pixels() [N,C,H,W], and a γ
/// and β that undo them. A convolution in front of one has its weights scaled to the spread that they are drawn with
/// (Kaiming normal, √(2/fan in)), so that a learning rate means what it means for a new network. Convolutions whose
/// weights others read, or which are computed, stay as they are, and so do those of constants (a position embedding).
void normalise_convolutions(Graph& graph, const std::function<at::Tensor()>& pixels, int64_t batches,
                            at::Device device);

/// Convolutions of something that depends on the image, of constant weights, read by no other node, and of a constant
/// bias or none.
std::vector<NodeId> own_convolutions(const Graph& graph);

/// What the convolution gives from now on: a value of its own, in front of the one it gave, which is returned.
ValueId give_way(Graph& graph, Node& conv, const std::string& suffix);

/// make(node) of each of these, in graph order, may change it; what it returns, where it returns something, stands
/// behind it.
void insert_behind(Graph& graph, const std::vector<NodeId>& ids, const std::function<std::optional<Node>(Node&)>& make);

}  // namespace reducenet::train
