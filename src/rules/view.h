#pragma once

#include <optional>
#include <string>
#include <vector>

#include "reducenet/collapse.h"
#include "rules/linear_map.h"

namespace reducenet {

/// A node read as one linear map of one tensor of rank 4 (images) or 2 (vectors). Its numbers are read only when asked
/// for, so that a search over many nodes touches no weights.
struct View {
  enum class Kind { conv, gemm, batch_norm, scale, average_pool, pad };
  Kind kind;
  NodeId node;  ///< that has the numbers
  ValueId source, result;
  Geometry geometry;

  bool is_conv() const { return kind == Kind::conv; }
  bool is_gemm() const { return kind == Kind::gemm; }
  bool is_batch_norm() const { return kind == Kind::batch_norm; }
  /// Mul, Add, Sub, Div by one constant per channel (or one in all); Neg.
  bool is_scale() const { return kind == Kind::scale; }
  /// Zero padding or a crop of height and width.
  bool is_pad() const { return kind == Kind::pad; }
};

/// Nothing when the node is no such map: other op, weights that are not constant, mean that leaves padding out…
std::optional<View> view(const Graph& graph, NodeId node);
/// What makes the value; a map and a frame that holds what the map makes of zeros count as that map, padded.
std::optional<View> view_of_producer(const Site& site, ValueId value);

std::vector<double> weight_of(const Graph& graph, const View& view);
std::vector<double> bias_of(const Graph& graph, const View& view);
LinearMap numbers_of(const Graph& graph, const View& view);

/// Rank of a value with known channels; 0 otherwise.
size_t rank_of(const Graph& graph, ValueId value);
ImageSize image_size(const Graph& graph, ValueId value);
/// Height × width (unknown: 1), the number of places at which a map onto `value` is evaluated.
int64_t positions(const Graph& graph, ValueId value);
/// Multiply-accumulates of the node for one sample.
int64_t work_of(const Graph& graph, const View& view);

/// Why `second` (at or behind node `reader`) ∘ `first` is not the composite convolution; nothing when it is.
std::optional<std::string> border_obstacle(const Graph& graph, const View& first, const Geometry& second,
                                           NodeId reader);

/// Half a unit in the last place of 1, in that type.
double rounding_of(DType dtype);

/// "'stage1.conv1' (Conv)"
std::string label(const Graph& graph, NodeId node);
/// Why nothing but `reader` may be computed from the value any more; nothing when it is read only once.
std::optional<std::string> other_readers(const Site& site, ValueId value);
/// The value's name must persist: an input or output of the graph, or captured by a subgraph.
bool is_pinned(const Site& site, ValueId value);
/// Whether existing value `after` can take the place of `before`.
bool can_replace(const Site& site, ValueId before, ValueId after);

/// Adds the map to the patch as a Conv or (rank 2) a Gemm; returns its output.
ValueId emit(Patch& patch, LinearMap map, size_t rank, ValueId source, const std::string& name);

}  // namespace reducenet
