#pragma once

#include <onnx/onnx_pb.h>

#include <string>
#include <unordered_map>
#include <vector>

namespace reducenet {

/// Names that the node's subgraphs (If, Loop, Scan) read from outside, each once, in the order in which they appear.
std::vector<std::string> captured_names(const onnx::NodeProto& node);

/// Gives captured names new ones. Throws Error(unsupported) when a subgraph itself defines the new name.
void rename_captured(onnx::NodeProto& node, const std::unordered_map<std::string, std::string>& renamed);

}  // namespace reducenet
