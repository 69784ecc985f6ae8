#include "collapse/sizes.h"

namespace reducenet {

Graph with_sizes(Graph graph, int64_t side) {
  for (const ValueId id : graph.inputs) {
    auto& shape = graph[id].shape;
    for (size_t i = 0; shape && i < shape->size(); ++i) {
      if ((*shape)[i] < 0) (*shape)[i] = i == 0 ? 1 : side;
    }
  }
  std::vector<std::pair<ValueId, std::optional<Shape>>> open;
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.outputs) {
      if (std::holds_alternative<Opaque>(node.op) || !id) continue;
      open.emplace_back(id, graph[id].shape);
      graph[id].shape.reset();
    }
  }
  infer_shapes(graph);
  for (auto& [id, was] : open) {  // sizes that depend on data
    if (!graph[id].shape) graph[id].shape = std::move(was);
  }
  return graph;
}

}  // namespace reducenet
