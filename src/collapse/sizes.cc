#include "collapse/sizes.h"

namespace reducenet {

Graph with_sizes(Graph graph, int64_t side) {
  for (const ValueId id : graph.inputs) {
    auto& shape = graph[id].shape;
    for (size_t i = 0; shape && i < shape->size(); ++i) {
      if ((*shape)[i] < 0) (*shape)[i] = i == 0 ? 1 : side;
    }
  }
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<Opaque>(node.op)) graph[node.outputs[0]].shape.reset();
  }
  infer_shapes(graph);
  return graph;
}

}  // namespace reducenet
