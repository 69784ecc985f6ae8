#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// Channels that can only be cut together, because an op meets them channel by channel: sums, batch norms, depthwise
/// and grouped convolutions, channels behind flatten. Unit 0 is never cut: inputs, outputs, and what ops mix that are
/// not followed.
using Unit = int32_t;

/// A constant whose positions along `axis` belong to units: weights that make channels (rows), that read them
/// (columns), or that act on each by itself (statistics, slopes, factors).
struct ChannelUse {
  enum class Role { makes, reads, scales } role;
  NodeId node;
  ValueId constant;
  int64_t axis;
  std::vector<Unit> units;  ///< by position
};

/// What must follow when channels go, besides constants.
struct ChannelEdit {
  enum class Kind {
    groups,  ///< Conv and ConvTranspose: `units` has one a group
    pad,     ///< Pad: `units` of the channels in front, `behind` of those behind
    shape    ///< Reshape: the size along `axis` of its constant shape
  } kind;
  NodeId node;
  int64_t axis = 0;
  std::vector<Unit> units, behind;
};

/// Why the channels that a node reads are all kept.
struct KeptChannels {
  std::string node, op, why;
};

/// Which channels of a graph depend on which.
struct Channels {
  struct Layout {
    int64_t axis = 1;
    std::vector<Unit> units;  ///< by position along the axis
  };
  std::vector<std::optional<Layout>> layouts;  ///< by value index; nothing where channels are not followed
  std::vector<ChannelUse> uses;
  std::vector<ChannelEdit> edits;
  /// By unit: units that the same layers make, numbered from 0; −1 for unit 0 and units that no layer makes. One unit
  /// of each family always stays.
  std::vector<int32_t> family;
  /// By unit: the one unit that its only row reads, when that row reads no other (channels reserved for a residual); 0:
  /// none. When that unit goes, the channel is constantly zero and goes too.
  std::vector<Unit> carries;
  std::vector<KeptChannels> kept;

  int64_t unit_count() const { return static_cast<int64_t>(family.size()) - 1; }
  int64_t family_count() const;
};

/// Follows channels through the graph. Shapes must be inferred. Ops whose channels cannot be followed keep theirs.
Channels find_channels(const Graph& graph);

/// By unit: whether it goes.
using Cut = std::vector<bool>;

/// The same graph with zeros in every weight that reads a cut channel.
Graph mask(const Graph& graph, const Channels& channels, const Cut& cut);
/// mask(), smaller: the channels are gone, and those that only zeros reach. The same function as mask(): exact.
/// Throws Error(usage) when unit 0 is cut or a value would be left without channels.
Graph cut_channels(const Graph& graph, const Channels& channels, const Cut& cut);
/// The cut, and every unit that it leaves constantly zero.
Cut with_dead(const Graph& graph, const Channels& channels, Cut cut);

/// A residual block x → x + F(x): the sum at its end, whose value can be x instead.
struct Block {
  std::string name;          ///< of the node that adds
  ValueId skip, out;         ///< x, x + F(x): of one shape
  std::vector<NodeId> body;  ///< F, in order
};
/// In graph order. Blocks whose shortcut is a projection are none: the identity does not fit.
std::vector<Block> find_blocks(const Graph& graph);
/// Each block with dropped[i] replaced by the identity.
Graph drop_blocks(const Graph& graph, std::span<const Block> blocks, const std::vector<bool>& dropped);

/// Calls back with ∂loss/∂constant, by value index, once for each batch of training images.
using Gradients = std::function<void(const std::function<void(const std::map<int32_t, Tensor>&)>&)>;

/// What a criterion may look at.
struct ScoreInput {
  const Graph& graph;
  const Channels& channels;
  Gradients gradients;  ///< empty: none can be had
};

/// A way to rank channels: a score of each unit, larger ones stay. NaN: no score, the unit stays.
struct Criterion {
  std::string_view name, formula;
  bool across;  ///< scores of different layers are of one kind; otherwise they count relative to their family's mean
  bool needs_gradients;
  std::vector<double> (*score)(const ScoreInput&);
};
/// The one table.
std::span<const Criterion> criteria();
/// Row by name; Error(usage) lists the names.
const Criterion& find_criterion(std::string_view name);

struct CutOptions {
  double ratio = 0.5;              ///< share of the multiply-accumulates that goes, at least
  bool per_layer = false;          ///< every family loses the same share of its units; otherwise one ranking over all
  bool carried_too = false;        ///< units that only carry another may also be cut alone
  std::optional<uint64_t> draw{};  ///< seed: units stay at random, a unit with a chance in proportion to its score
};
/// The units that go: those of lowest score, as few as bring the multiply-accumulates down to (1 − ratio). With `draw`,
/// the ranking is that of score·e^G, G Gumbel distributed: drawing without replacement (Efraimidis and Spirakis 2006).
/// Throws Error(usage) when so much cannot be cut.
Cut choose_cut(const Graph& graph, const Channels& channels, const Criterion& criterion,
               const std::vector<double>& scores, const CutOptions& options);
/// Blocks that are dropped: drawn one by one, until at least `ratio` of the multiply-accumulates are gone. Throws
/// Error(usage) when so much cannot be dropped.
std::vector<bool> draw_blocks(const Graph& graph, std::span<const Block> blocks, double ratio, uint64_t seed);

}  // namespace reducenet
