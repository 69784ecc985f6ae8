#pragma once

#include "reducenet/graph.h"

namespace reducenet::train {

/// The one input of a network becomes [-1, image[0], …], and the batch of the exporter, written into targets of Reshape
/// or computed from shapes, becomes open where it can be found.
void open_batch(Graph& graph, const Shape& image);

/// Throws Error(unsupported) when two images together do not answer as each of them alone, naming the node that fails,
/// or whose op cannot be trained.
void check_images_apart(const Graph& graph, const Shape& image);

}  // namespace reducenet::train
