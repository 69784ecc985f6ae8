#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reducenet/graph.h"

// Networks of 8-bit integers: convolutions take activations x ≈ scale·(q − zero), q in [0, 255], one scale a tensor,
// and weights w[o] ≈ s[o]·q, q in [−127, 127], one scale an output channel. All else stays in float32.

namespace reducenet {

struct TensorScale {
  double scale = 1;
  int64_t zero = 0;
  friend bool operator==(const TensorScale&, const TensorScale&) = default;
};

/// By the name of the value; it travels in the graph's metadata, so every format carries it.
using Quantization = std::map<std::string, TensorScale>;
void set_quantization(Graph& graph, const Quantization& quantization);
/// Absent when the graph carries none; Error(bad_input) when it is malformed.
std::optional<Quantization> quantization(const Graph& graph);

/// A layer's weights [O, …] and bias [O] (or none) in integers, for activations of the scale x:
///   w[o] ≈ s[o]·q, q in [−127, 127];  b[o] ≈ x·s[o]·k, |k| ≤ 2³⁰;
///   s[o] = max(max |w[o]| / 127, |b[o]| / (x·2³⁰)), 1 where that is 0.
struct ByteLayer {
  std::vector<float> scales;
  std::vector<int8_t> weight;
  std::vector<int32_t> bias;  ///< zeros where there is none
};
ByteLayer in_bytes(std::span<const double> weight, std::span<const double> bias, int64_t outputs, double x);

/// Cross-layer equalisation: where a channel passes from one convolution to the next through ReLU, LeakyReLU or
/// nothing,
///   w₁[c] ← w₁[c]/s,  b₁[c] ← b₁[c]/s,  w₂[:, c] ← s·w₂[:, c],  s = √(max |w₁[c]| / max |w₂[:, c]|),
/// the same function with channels of equal ranges (Nagel et al., arXiv 1906.04721, equation 11). Repeated over all
/// pairs until nothing changes by more than 1 %, in double. A batch norm between stops it: collapse first.
Graph equalise(const Graph& graph);

/// The ranges of every activation that a convolution in 8 bits reads, over these batches (each in the order of the
/// graph's inputs; dense floats):  scale = (max − min)/255 with 0 inside the range. Part of the runtime library. Throws
/// as Plan does.
Quantization calibrate(const Graph& graph, std::span<const std::vector<float>> batches, int64_t batch);

}  // namespace reducenet
