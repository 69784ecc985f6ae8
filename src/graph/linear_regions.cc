#include <map>
#include <numeric>

#include "reducenet/graph.h"

namespace reducenet {

std::vector<int64_t> linear_regions(const Graph& graph) {
  const Uses uses(graph);
  std::vector<size_t> parent(graph.nodes.size());
  std::iota(parent.begin(), parent.end(), size_t{0});
  const auto root = [&](size_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
  };
  std::vector<bool> linear(graph.nodes.size());
  for (size_t i = 0; i < graph.nodes.size(); ++i) linear[i] = is_linear(graph, graph.nodes[i]);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId input : graph.nodes[i].inputs) {
      const NodeId producer = input ? uses.producer_of(input) : NodeId{};
      if (!producer || !linear[i] || !linear[static_cast<size_t>(producer.index)]) continue;
      parent[root(i)] = root(static_cast<size_t>(producer.index));
    }
  }
  std::map<size_t, int64_t> number;
  std::vector<int64_t> regions(graph.nodes.size(), -1);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (linear[i]) regions[i] = number.try_emplace(root(i), static_cast<int64_t>(number.size())).first->second;
  }
  return regions;
}

}  // namespace reducenet
