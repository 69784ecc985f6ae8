#pragma once

#include <span>

#include "reducenet/graph.h"

namespace reducenet {

/// What the open sizes of inputs are taken to be: the first dimension, the last, and all others.
struct OpenSizes {
  int64_t batch, height, width;
};

/// Tried in turn on a network that does not say what it takes: squares that image networks are made for, lines of text.
std::span<const OpenSizes> common_sizes();

bool has_open_sizes(const Graph& graph);
/// The input's shape at these sizes; open dimensions of one name get one size. Error(unsupported): its rank is unknown.
Shape with_sizes(const Value& input, const OpenSizes& sizes);
/// The graph at these sizes. Shapes are inferred anew. Error(bad_input) when it does not fit.
Graph with_sizes(Graph graph, const OpenSizes& sizes);
/// The same at the first that fits: `first`, then the common ones. Error(unsupported) when none does.
Graph with_fitting_sizes(const Graph& graph, const OpenSizes& first);

/// What to throw when none of the sizes fits, `why` being the last one's reason.
[[noreturn]] void refuse_sizes(const std::string& why);

}  // namespace reducenet
