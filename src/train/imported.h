#pragma once

#include <filesystem>

#include "reducenet/data.h"
#include "reducenet/train.h"

namespace reducenet::train {

/// The model of `from`, for these images: it keeps its own preprocessing; a head for another number of classes is
/// replaced by a new one. Error(usage) when the images do not fit, Error(unsupported) when the head is no Gemm and
/// no convolution, or what follows it treats channels differently.
Graph import_network(const Recipe& recipe, const std::filesystem::path& from, const ImageSet& images, int64_t classes);

/// Every bias and every vector of a BatchNorm becomes a constant of its own: exporters write equal ones once, for
/// several readers or behind an Identity, and they would be trained as one. Larger weights that nodes share stay
/// shared.
void separate_parameters(Graph& graph);

/// What is computed from weights alone and read as a kernel, a bias or a vector of a BatchNorm is a constant, which
/// learns: the standardised kernels of BiT and the NFNets, say.
void settle_kernels(Graph& graph);

}  // namespace reducenet::train
