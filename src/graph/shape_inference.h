#pragma once

#include <map>
#include <span>

#include "reducenet/graph.h"

namespace reducenet {

/// Shapes and dtypes of a graph's values, node by node in order. Follows the integers that shapes are computed with:
/// Shape → Gather → Concat → Reshape.
class ShapeInference {
 public:
  /// `lines`: convolutions and pools of [N, C, L] (lines.h) have a shape as well.
  explicit ShapeInference(Graph& graph, bool lines = false);
  /// Throws Error(bad_input) when the op cannot apply; the message names no node.
  void visit(const Node& node);
  /// The value's elements when they are known, computed ones in double; NaN stands for one that is not. Else nullptr.
  const Tensor* value_of(ValueId id) const;

 private:
  void add_shape(const ShapeOf& op, const Node& node);
  void add_value(const Node& node, std::span<const Tensor* const> values);

  Graph& graph_;
  bool lines_;
  std::map<int32_t, Tensor> known_;
};

}  // namespace reducenet
