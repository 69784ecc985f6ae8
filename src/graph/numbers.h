#pragma once

#include <cstdint>
#include <unordered_map>

#include "reducenet/graph.h"

namespace reducenet {

/// What a graph computes from constants and from shapes that are known, by index of the value: integers, and with
/// `floats` all of it.
std::unordered_map<int32_t, Tensor> known_numbers(const Graph& graph, bool floats = false);

/// All of it becomes constant, and shapes that depend on it known.
void fold_constants(Graph& graph);

}  // namespace reducenet
