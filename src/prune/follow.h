#pragma once

#include <map>
#include <string>

#include "prune/units.h"

namespace reducenet {

/// Follows channels node by node; the units that it hands out are atoms, to be numbered when all is tied.
class Follower {
 public:
  explicit Follower(const Graph& graph);
  void visit(const Node& node);
  /// Outputs are kept; so are constants that some other reader needs whole.
  void finish();

  Atoms atoms;
  std::vector<std::optional<Channels::Layout>> layouts;
  std::vector<ChannelUse> uses;
  std::vector<ChannelEdit> edits;
  std::vector<KeptChannels> kept;

 private:
  using Layout = Channels::Layout;
  using Role = ChannelUse::Role;

  // Each returns why the channels cannot be followed; empty when they are.
  std::string conv(const Node& node, int64_t groups, bool transposed);
  std::string matrix(const Node& node, bool transposed, bool alpha_of_rows);
  std::string elementwise(const Node& node);
  std::string pass(const Node& node, int64_t axis);
  std::string channelwise(const Node& node, size_t parameters);
  std::string spatial(const Node& node);
  std::string flatten(const Node& node);
  std::string reshape(const Node& node);
  std::string concat(const Node& node, int64_t axis);
  std::string pad(const Node& node, const Pad& op);
  std::string reduce(const Node& node, const Reduce& op);
  std::string squeeze(const Node& node, const Squeeze& op);
  std::string shape_of(const Node& node, const ShapeOf& op);
  std::string follow(const Node& node);

  const Layout* layout(const Node& node, size_t input) const;
  const Shape* shape(ValueId id) const;
  void set(ValueId id, int64_t axis, std::vector<Unit> units);
  /// Registers positions of a constant; ties them to those of its other readers along that axis.
  void use(const Node& node, size_t input, int64_t axis, Role role, const std::vector<Unit>& units);
  NodeId id_of(const Node& node) const;

  const Graph& graph_;
  Uses readers_;
  std::map<std::pair<int32_t, int64_t>, std::vector<Unit>> axes_;                        // by constant and axis
  std::map<int32_t, std::map<std::pair<int32_t, size_t>, std::vector<int64_t>>> slots_;  // axes by constant and reader
};

/// The unit that each unit's only row reads alone (Channels::carries).
std::vector<Unit> find_carriers(const Graph& graph, const Channels& channels);

}  // namespace reducenet
