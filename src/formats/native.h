#pragma once

#include <string>

#include "formats/safetensors.h"
#include "reducenet/graph.h"

namespace reducenet {

/// A graph as named tensors: every constant under its value's name; metadata holds the graph's own entries and
///   "reducenet.schema"  version of this layout
///   "reducenet.graph"   JSON: nodes, ops, values, inputs, outputs, opset
///   "format"            "pt", unless the graph's metadata says otherwise
/// More tensors and metadata may be added (a training checkpoint's optimiser state); from_native ignores other tensors.
NamedTensors to_native(const Graph& graph);
/// The inverse. Throws Error(bad_input) naming `file`, Error(unsupported) when a newer version wrote it.
Graph from_native(const NamedTensors& content, const std::string& file);

}  // namespace reducenet
