#pragma once

#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "reducenet/graph.h"

// Shapes of the ops that move, select, repeat and count elements; shared by shape inference and the oracle.

namespace reducenet {

using MaybeShape = std::optional<Shape>;

/// An integer that is not known before the graph runs.
inline constexpr int64_t kUnknown = std::numeric_limits<int64_t>::min();

/// What an op sees of its inputs before, or while, the graph runs.
struct OpInputs {
  std::span<const MaybeShape> shapes;
  std::span<const Tensor* const> values;  ///< of those that are known

  const Shape& shape(size_t i = 0) const { return *shapes[i]; }
  /// The input exists (its shape or value may not be known yet).
  bool has(size_t i) const { return i < shapes.size() && (shapes[i] || values[i] || i + 1 == shapes.size()); }
  /// The integers of input i, or `otherwise` when it does not exist; nullopt when they are not known. The least integer
  /// stands for one that is not known; where it is meant, the next one takes its place.
  std::optional<std::vector<int64_t>> integers(size_t i, const std::vector<int64_t>& otherwise = {}) const;
};

/// Throws Error(bad_input) when the axis is outside [−rank, rank).
int64_t normalised_axis(int64_t axis, size_t rank, bool end_allowed = false);

/// Along each axis of x: first index, step, number of elements (−1: not known).
struct SliceAxis {
  int64_t start = 0, step = 1, count = -1;
};
std::optional<std::vector<SliceAxis>> slices(const Slice& op, const OpInputs& in);

/// Axes that are reduced, by axis.
std::optional<std::vector<bool>> reduced_axes(const Reduce& op, const OpInputs& in);

MaybeShape shape_of(const Reduce& op, const OpInputs& in);
MaybeShape shape_of(const ArgReduce& op, const OpInputs& in);
MaybeShape shape_of(const Slice& op, const OpInputs& in);
MaybeShape shape_of(const Gather& op, const OpInputs& in);
MaybeShape shape_of(const ScatterNd& op, const OpInputs& in);
MaybeShape shape_of(const Squeeze& op, const OpInputs& in);
MaybeShape shape_of(const Repeat& op, const OpInputs& in);
MaybeShape shape_of(const SpaceDepth& op, const OpInputs& in);
MaybeShape shape_of(const Resize& op, const OpInputs& in);
MaybeShape shape_of(const ShapeOf& op, const OpInputs& in);
MaybeShape shape_of(const ConstantOfShape& op, const OpInputs& in);
MaybeShape shape_of(const Arange& op, const OpInputs& in);
MaybeShape shape_of(const TopK& op, const OpInputs& in);
MaybeShape shape_of(const Normalize& op, const OpInputs& in);
/// Throws Error(bad_input) when the parts do not add up.
std::vector<MaybeShape> part_shapes(const SplitAxis& op, const OpInputs& in, size_t parts);

/// NumPy broadcasting; throws Error(bad_input) when two shapes do not fit.
Shape broadcast(const Shape& a, const Shape& b);

/// Whether the op's meaning depends on the elements of input i (i.e. a shape, axes, bounds) rather than on its shape.
bool reads_value(const Op& op, size_t i);

/// What a ShapeOf gives for a tensor of this shape: dimensions, or one number for all its elements; −1: not known.
Tensor numbers_of(const ShapeOf& op, const Shape& shape);

}  // namespace reducenet
