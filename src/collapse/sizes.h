#pragma once

#include "reducenet/graph.h"

namespace reducenet {

/// The graph with open sizes of its inputs fixed: 1 sample, `side` rows or columns. Shapes are inferred anew.
Graph with_sizes(Graph graph, int64_t side);

}  // namespace reducenet
