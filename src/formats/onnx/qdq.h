#pragma once

#include "reducenet/quantize.h"

namespace reducenet {

/// The network in ONNX's QDQ form: every tensor with a scale passes through QuantizeLinear and DequantizeLinear (u8),
/// and the convolutions and products that read one take their weights (i8, a scale an output channel) and bias (i32)
/// through DequantizeLinear. The new nodes are Opaque: only the ONNX writer knows them. Operator set 13 at least.
Graph to_qdq(const Graph& graph, const Quantization& scales);

}  // namespace reducenet
