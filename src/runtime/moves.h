#pragma once

#include <optional>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// Of an op that only moves the elements of its first input, the others being constant (Slice, SplitAxis, Gather,
/// Repeat, SpaceDepth): output k is y[i] = x[sources[i]], counted in row-major order. Shapes are known. Throws
/// Error(unsupported) naming the node when another input is computed.
std::vector<int64_t> sources(const Graph& graph, const Node& node, size_t k);

/// In such a table: an element that comes from nowhere in x.
constexpr int64_t kOutside = -1;

/// The same of a Pad from shape x to shape y.
std::vector<int64_t> sources(const Pad& pad, const Shape& x, const Shape& y);

/// Of a Where whose constant condition picks elements of one input, x, or a number: y[i] = x[sources[i]], or `outside`.
struct Choice {
  size_t input;  ///< that is x: 1 or 2
  std::vector<int64_t> sources;
  double outside;
};
/// Nothing for another Where. Shapes are known.
std::optional<Choice> choice(const Graph& graph, const Node& node);

/// Leaves an entry for each run of elements that stay together, or all come from nowhere; runs are of one length, as
/// long as can be, which is returned.
int64_t shorten(std::vector<int64_t>& table);

}  // namespace reducenet
