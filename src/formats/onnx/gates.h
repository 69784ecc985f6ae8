#pragma once

#include <onnx/onnx_pb.h>

#include <string>
#include <unordered_set>
#include <vector>

#include "graph/gates.h"

// Blocks that gates let run, as ONNX's If, so that a runtime does not run what the gate closes:
//   shortcut + block·gate  ↔  If(bool(max gate))  then: Add(shortcut, Mul(block, gate))  else: Identity(shortcut)
// At batch 1 the condition is the gate's own decision. In a larger batch the block runs when one image asks for it, and
// the product keeps it from the others: the same function at every size.

namespace reducenet {

/// The metadata key, with the value "if", of a model whose gated blocks are written so.
inline constexpr const char* kGatesKey = "reducenet.gates";

/// What becomes one If.
struct GatedBranch {
  GatedBlock block;
  std::vector<NodeId> members;  ///< nodes_behind(block)
  onnx::GraphProto written;     ///< as ONNX: the members, in graph order, then the sum
};

/// Gated blocks with more to skip than the product, whose sum has the shape of their shortcut. None when the graph came
/// as an ONNX model whose gates were written otherwise: what a model said is written back.
std::vector<GatedBranch> gated_branches(const Graph& graph);

/// ReduceMax, Cast and If, where the branch is written. `names` are those in use.
std::vector<onnx::NodeProto> write_if(const Graph& graph, GatedBranch& branch, std::unordered_set<std::string>& names);

/// Puts the block of every such If back among the model's nodes, beside its gate. Nothing happens unless the metadata
/// says that gates are written so, and every If is of this form.
void inline_gates(onnx::ModelProto& model);

}  // namespace reducenet
