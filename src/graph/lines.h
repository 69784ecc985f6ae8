#pragma once

#include "reducenet/graph.h"

namespace reducenet {

// ONNX has its convolutions and pools for lines [N, C, L] as well. In a Graph these are images [N, C, 1, L] of one row:
// kernels and constants that go with a line of two dimensions or more get a 1 before their last one.

/// [N, C, L], as far as the shape is known.
inline bool is_line(const std::optional<Shape>& shape) {
  return shape && shape->size() == 3;
}

/// Convolutions and pools: what ONNX also has for lines.
bool slides(const Op& op);

/// [N, C, L] → [N, C, 1, L]; a list of fewer than two dimensions stays.
Shape with_row(Shape line);
/// The inverse.
Shape without_row(Shape image);

/// Puts images in the place of lines wherever a convolution or pool reads a line, and on through what works element by
/// element or channel by channel; an Unsqueeze leads in, a Squeeze out. What comes out keeps the line's name.
/// Shapes of lines have to be known.
void lines_to_images(Graph& graph);

/// Takes back what lines_to_images() did, as far as every node between an Unsqueeze of its making and the Squeezes
/// behind still works row by row.
void images_to_lines(Graph& graph);

}  // namespace reducenet
