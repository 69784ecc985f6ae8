#pragma once

#include <string>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// Cotangents of one value: [rows, elements of one sample], or empty where the value has no influence.
using Cotangents = std::vector<double>;

/// Why the node cannot be transposed sample by sample (not linear, mixes samples); empty when it can.
std::string adjoint_obstacle(const Graph& graph, NodeId node);

/// Transpose of a linear node at batch 1: from the cotangents of its output to those of each of its inputs (empty for
/// constants). Shapes must be known. Terms that do not depend on the data (biases) play no part.
std::vector<Cotangents> adjoint(const Graph& graph, NodeId node, const Cotangents& dy, int64_t rows);

}  // namespace reducenet
