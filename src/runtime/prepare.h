#pragma once

#include "reducenet/graph.h"

namespace reducenet {

/// The graph as it runs: for `batch` images, without what does nothing at inference, and with what does not depend on
/// its inputs computed. Throws Error(usage) when an input has another fixed batch, Error(unsupported) naming a node
/// that is not settled.
void prepare(Graph& graph, int64_t batch);

}  // namespace reducenet
