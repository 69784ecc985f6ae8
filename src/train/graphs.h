#pragma once

#include <vector>

#include "reducenet/data.h"
#include "reducenet/train.h"

namespace reducenet::train {

/// The network that a run trains, with preprocessing, class names and recipe in its metadata: the recipe's architecture
/// for these images, or, for "import", the model in `from` (see import_network). With `select`, every
/// activation that may vanish has become a fade. `resumed`: the checkpoint of the run, which has an imported or
/// merged graph in it; empty at the start.
Graph build_network(const Recipe& recipe, const std::filesystem::path& from, const std::filesystem::path& resumed,
                    const ImageSet& images);

/// Whether the recipe trains the model of `--from` itself.
bool imports(const Recipe& recipe);

/// Indices among the graph's fades of those that stand for activations which may survive ("select"); the others are the
/// architecture's own and always go.
std::vector<size_t> candidate_fades(const Graph& graph);
/// Their nodes' names.
std::vector<std::string> candidate_names(const Graph& graph);
/// Makes candidates of what may survive: gated blocks for "usage", for the others activations. Error(usage) when there
/// are no gated blocks, or none that fade, or when more are to survive than there are candidates.
void open_survivors(Graph& graph, const Recipe::Select& select);
/// Makes a fade of every activation that may vanish, PRelu too: all but those that make weights or probabilities
/// (sigmoid, hard_sigmoid, tanh, softplus, softsign).
void open_candidates(Graph& graph);

/// The graph without fades: λ = 0 settles, λ = 1 is the activation, and for ReLU or LeakyReLU anything between is a
/// LeakyReLU. Error(unsupported) names a fade of another kind that has not come to an end.
Graph conclude(const Graph& graph);

bool has_batch_norm(const Graph& graph);

/// By node: everything that it reads is constant, or made by such nodes from constants.
std::vector<bool> reads_constants_alone(const Graph& graph);

}  // namespace reducenet::train
