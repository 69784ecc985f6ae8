#pragma once

#include <functional>

#include "formats/onnx/onnx.h"

namespace onnx {
class NodeProto;
}

namespace reducenet {

/// QuantizeLinear or DequantizeLinear.
bool is_quantised(const onnx::NodeProto& proto);

/// ONNX's QDQ form as ops that can be executed: DequantizeLinear of constants becomes the numbers that it makes, and
/// QuantizeLinear → DequantizeLinear, with one scale a tensor, the activation that rounds to bytes; signed bytes are
/// unsigned ones with a zero point 128 higher. Other nodes of these types stay as they are. `proto_of`: where each
/// node, not read yet, comes from; null for what was no node. False: there was nothing to change.
bool read_quantised(Graph& graph, const std::function<const onnx::NodeProto*(const Node&)>& proto_of);

/// The scales of all tensors that are rounded to bytes, into the metadata, for plans in 8 bits.
void note_scales(Graph& graph);

}  // namespace reducenet
