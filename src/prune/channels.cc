#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "prune/follow.h"

namespace reducenet {
namespace {

/// Numbers the roots of the atoms: 0 for what is kept, then 1, 2, … as they are met.
class Numbers {
 public:
  explicit Numbers(Atoms& atoms) : atoms_(atoms) {}
  Unit operator()(int32_t atom) {
    const int32_t root = atoms_.root(atom);
    return root == 0 ? 0 : units_.try_emplace(root, static_cast<Unit>(units_.size()) + 1).first->second;
  }
  void apply(std::vector<Unit>& atoms) {
    for (Unit& atom : atoms) atom = (*this)(atom);
  }
  size_t count() const { return units_.size(); }

 private:
  Atoms& atoms_;
  std::map<int32_t, Unit> units_;
};

/// Units that the same nodes make are of one family.
std::vector<int32_t> families(const Channels& channels, size_t units) {
  std::vector<std::set<int32_t>> makers(units + 1);
  for (const ChannelUse& use : channels.uses) {
    if (use.role != ChannelUse::Role::makes) continue;
    for (const Unit unit : use.units) makers[static_cast<size_t>(unit)].insert(use.node.index);
  }
  std::map<std::set<int32_t>, int32_t> known;
  std::vector<int32_t> family(units + 1, -1);
  for (size_t unit = 1; unit <= units; ++unit) {
    if (makers[unit].empty()) continue;
    family[unit] = known.try_emplace(makers[unit], static_cast<int32_t>(known.size())).first->second;
  }
  return family;
}

/// The one unit that a row w[I,…] of weights reads; nothing when it reads several, or none.
std::optional<Unit> only_source(std::span<const double> row, const std::vector<Unit>& columns) {
  const size_t taps = row.size() / columns.size();
  std::optional<Unit> source;
  for (size_t i = 0; i < columns.size(); ++i) {
    const auto column = row.subspan(i * taps, taps);
    if (std::ranges::all_of(column, [](double v) { return v == 0; })) continue;
    if (source && *source != columns[i]) return std::nullopt;
    source = columns[i];
  }
  return source;
}

}  // namespace

int64_t Channels::family_count() const {
  return family.empty() ? 0 : 1 + *std::ranges::max_element(family);
}

std::vector<Unit> find_carriers(const Graph& graph, const Channels& channels) {
  const size_t units = channels.family.size();
  std::vector<Unit> carries(units, 0);
  std::vector<int64_t> rows(units, 0);
  for (const ChannelUse& use : channels.uses) {
    const auto* conv = std::get_if<Conv2d>(&graph[use.node].op);
    const bool weight =
        use.role == ChannelUse::Role::makes && use.constant == graph[use.node].inputs[1] && !(conv && conv->groups > 1);
    for (const Unit unit : use.units) rows[static_cast<size_t>(unit)] += weight;
  }
  for (const ChannelUse& makes : channels.uses) {
    const auto* conv = std::get_if<Conv2d>(&graph[makes.node].op);
    if (conv == nullptr || conv->groups != 1 || makes.role != ChannelUse::Role::makes || makes.axis != 0) continue;
    if (makes.constant != graph[makes.node].inputs[1]) continue;
    const auto reads = std::ranges::find_if(channels.uses, [&](const ChannelUse& use) {
      return use.role == ChannelUse::Role::reads && use.node == makes.node && use.constant == makes.constant;
    });
    if (reads == channels.uses.end() || reads->units.size() < 2) continue;
    const std::vector<double> w = graph.constant(makes.constant)->to_doubles();
    const size_t size = w.size() / makes.units.size();
    for (size_t row = 0; row < makes.units.size(); ++row) {
      const Unit unit = makes.units[row];
      if (unit == 0 || rows[static_cast<size_t>(unit)] != 1) continue;
      const auto source = only_source(std::span(w).subspan(row * size, size), reads->units);
      if (source && *source != unit) carries[static_cast<size_t>(unit)] = *source;
    }
  }
  return carries;
}

Channels find_channels(const Graph& graph) {
  Follower follower(graph);
  for (const Node& node : graph.nodes) follower.visit(node);
  follower.finish();
  Channels channels{.layouts = std::move(follower.layouts),
                    .uses = std::move(follower.uses),
                    .edits = std::move(follower.edits),
                    .kept = std::move(follower.kept)};
  Numbers number(follower.atoms);
  for (auto& layout : channels.layouts) {
    if (layout) number.apply(layout->units);
  }
  for (ChannelUse& use : channels.uses) number.apply(use.units);
  for (ChannelEdit& edit : channels.edits) {
    number.apply(edit.units);
    number.apply(edit.behind);
  }
  channels.family = families(channels, number.count());
  channels.carries = find_carriers(graph, channels);
  return channels;
}

}  // namespace reducenet
