#include "train/norm_sum.h"

#include <algorithm>

#include "train/ops.h"

namespace reducenet::train {
namespace {

class Matcher {
 public:
  explicit Matcher(const Graph& graph) : graph_(graph), uses_(graph), absorbed_(graph.nodes.size()) {}

  std::vector<Step> steps() {
    std::vector<Step> steps;
    for (int32_t i = static_cast<int32_t>(graph_.nodes.size()) - 1; i >= 0; --i) {
      if (!absorbed_[static_cast<size_t>(i)]) steps.push_back(match({i}));
    }
    std::ranges::reverse(steps);
    return steps;
  }

 private:
  /// The step that ends at this node.
  Step match(NodeId root) {
    Step sum{.node = root};
    inner_.clear();
    NodeId top = root;
    if (negative_slope(graph_[root].op)) {
      const ValueId v = graph_[root].inputs[0];
      top = uses_.producer_of(v);
      if (!top || !uses_.has_single_use(v)) return {.node = root};
      sum.activation = root;
      inner_.push_back(top);
    }
    if (!is_term(top)) return {.node = root};
    collect(top, sum);
    if (sum.branches.empty()) return {.node = root};
    for (const NodeId node : inner_) absorbed_[static_cast<size_t>(node.index)] = true;
    return sum;
  }

  bool is_term(NodeId id) const { return is_norm(id) || is_plain_add(id); }

  bool is_norm(NodeId id) const {
    const Node& node = graph_[id];
    if (!std::holds_alternative<BatchNorm>(node.op)) return false;
    const auto& shape = graph_[node.outputs[0]].shape;
    return shape && (shape->size() == 2 || shape->size() == 4) &&
           std::ranges::all_of(node.inputs.begin() + 1, node.inputs.end(),
                               [&](ValueId v) { return graph_.constant(v) != nullptr; });
  }

  bool is_plain_add(NodeId id) const {
    const Node& node = graph_[id];
    const auto* binary = std::get_if<Binary>(&node.op);
    const auto& shape = graph_[node.outputs[0]].shape;
    return binary && binary->kind == Binary::Kind::add && shape &&
           std::ranges::all_of(node.inputs, [&](ValueId v) { return graph_[v].shape == shape; });
  }

  void collect(NodeId id, Step& sum) {
    if (is_norm(id)) {
      sum.branches.push_back(id);
      return;
    }
    for (const ValueId v : graph_[id].inputs) {
      const NodeId producer = uses_.producer_of(v);
      if (producer && uses_.has_single_use(v) && is_term(producer)) {
        inner_.push_back(producer);
        collect(producer, sum);
      } else {
        sum.residuals.push_back(v);
      }
    }
  }

  const Graph& graph_;
  Uses uses_;
  std::vector<bool> absorbed_;
  std::vector<NodeId> inner_;  // of the sum being matched
};

}  // namespace

std::vector<Step> plain_steps(const Graph& graph) {
  std::vector<Step> steps;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.nodes.size()); ++i) steps.push_back({.node = {i}});
  return steps;
}

std::vector<Step> fused_steps(const Graph& graph) {
  return Matcher(graph).steps();
}

}  // namespace reducenet::train
