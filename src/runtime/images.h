#pragma once

#include <cstdint>

#include "reducenet/graph.h"

namespace reducenet {

/// Whether a run of a batch gives what runs of its images, one by one, give: one input whose first dimension is open,
/// one output, and between them only nodes that keep image n of each tensor to itself.
bool images_stand_alone(const Graph& graph, int64_t batch);

}  // namespace reducenet
