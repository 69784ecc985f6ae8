#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "reducenet/graph.h"

namespace reducenet::train {

/// What the metadata of a merged graph say it under.
inline constexpr const char* kMerged = "merged";

/// The network that `graph` deploys as, in a form that trains on: concluded, collapsed to one convolution a module,
/// and, where the graph had BatchNorm, with one again behind every convolution. It computes what the graph computes:
/// these have the mean and variance that they meet over `batches` times pixels() [N,C,H,W], and a γ and β that undo
/// them. A convolution in front of one has its weights scaled to the spread that they are drawn with (Kaiming normal,
/// √(2/fan in)), so that a learning rate means what it means for a new network. With `identity`, every convolution
/// whose output has the shape of its input stands beside a shortcut again, which its weights give up. The metadata say
/// that it is merged. Throws Error(check_failed) when the collapse is not exact, Error(unsupported) naming a fade that
/// is still on its way.
Graph merge(const Graph& graph, const std::function<at::Tensor()>& pixels, int64_t batches, bool identity,
            at::Device device);

/// merge() made it.
bool is_merged(const Graph& graph);

}  // namespace reducenet::train
