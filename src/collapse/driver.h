#pragma once

#include <deque>
#include <map>
#include <unordered_set>

#include "reducenet/collapse.h"

namespace reducenet {

/// Applies rules to a graph until none fires. Edits are local: a patch costs the size of its neighbourhood, not of the
/// graph. Between run() and finish() the nodes are in no order and the replaced ones still lie among them.
class Driver {
 public:
  Driver(Graph graph, std::span<const Rule> rules, const CollapseOptions& options);

  /// Throws Error(check_failed) naming rule and node when a patch changes a shape or does not lower the measure.
  /// `last`: nothing merges what this run leaves, so that constants are rounded as soon as their region is done.
  void run(Freedom freedom, bool last = false);
  /// Applies what `propose` makes of the node, as `rule` in the log, whether or not the measure falls: whoever asks has
  /// weighed it. False when it proposes nothing, a merged constant would not be finite, or stop_after is reached.
  bool offer(std::string_view rule, NodeId node, const std::function<Outcome(const Site&)>& propose);
  /// Notes why the plan leaves a node as it is.
  void refuse(std::string_view rule, NodeId node, std::string why);
  /// Which rules run() tries from now on.
  void use(std::span<const Rule> rules) { rules_ = rules; }

  /// Nodes in no order, replaced ones among them.
  const Graph& graph() const { return graph_; }
  const Uses& uses() const { return uses_; }
  bool is_alive(NodeId node) const { return alive_[static_cast<size_t>(node.index)]; }
  /// The graph in order; steps and refusals. Regions stay empty. Its constants are rounded to the dtypes of the model,
  /// or, with `in_double`, left as they were merged.
  Collapsed finish(bool in_double = false) &&;

 private:
  bool visit(NodeId node);
  /// Tries rules until none fires at the nodes, nor at what came of them. True when one fired.
  bool exhaust(const std::vector<NodeId>& nodes);
  /// Rounds the constants of nodes from `first` on to the dtypes of the model, all or those that no neighbour can
  /// merge.
  void round_from(size_t first, bool all);
  bool may_step() const { return options_.stop_after < 0 || static_cast<int64_t>(steps_.size()) < options_.stop_after; }
  /// Applies the patch, if that is what `outcome` is and nothing speaks against it.
  bool take(std::string_view rule, NodeId node, Outcome outcome, bool weighed);
  /// Nodes that nothing needs once the patch is applied.
  std::vector<NodeId> dying(const Patch& patch) const;
  /// Fills in names, shapes and dtypes of what the patch adds; throws when it does not fit what it replaces.
  void complete(Patch& patch, const std::string& where) const;
  /// Why the patch, though right, is not applied.
  std::optional<std::string> not_finite(const Patch& patch) const;
  std::optional<std::string> too_costly(const Patch& patch, const std::vector<NodeId>& dead) const;
  /// Returns what became of the measure.
  Measure apply(Patch patch, const std::vector<NodeId>& dead);
  void redirect(ValueId before, ValueId after, bool is_new);
  void remove(NodeId node);
  void revisit(NodeId node);
  void revisit_around(ValueId value);
  std::string unique(const std::string& stem, std::unordered_set<std::string>& taken) const;

  Graph graph_;
  std::span<const Rule> rules_;
  CollapseOptions options_;
  Uses uses_;
  Freedom freedom_;
  std::vector<bool> alive_, queued_;  // by node index
  std::deque<NodeId> queue_;
  std::unordered_set<std::string> value_names_, node_names_;
  std::vector<Step> steps_;
  std::map<int32_t, std::vector<Refusal>> refused_;  // by node index
};

}  // namespace reducenet
