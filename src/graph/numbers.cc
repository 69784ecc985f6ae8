#include "graph/numbers.h"

#include <algorithm>
#include <unordered_set>

#include "graph/index_shapes.h"

namespace reducenet {

std::unordered_map<int32_t, Tensor> known_numbers(const Graph& graph, bool floats) {
  std::unordered_map<int32_t, Tensor> numbers;
  Graph part;
  part.values = graph.values;
  std::unordered_set<int32_t> computed;
  const auto is_known = [&](ValueId id) { return !id || part.constant(id) || computed.contains(id.index); };
  const auto open = [](int64_t size) { return size < 0; };
  for (const Node& node : graph.nodes) {
    const ValueId made = node.outputs[0];
    const auto* const shape_of = std::get_if<ShapeOf>(&node.op);
    if (shape_of != nullptr) {
      const std::optional<Shape>& shape = graph[node.inputs.at(0)].shape;
      if (!shape) continue;
      const Tensor sizes = numbers_of(*shape_of, *shape);
      if (std::ranges::any_of(sizes.to_ints(), open)) continue;
      numbers.emplace(made.index, sizes);
      part[made].constant = sizes;
    } else if (node.outputs.size() == 1 && !std::holds_alternative<Opaque>(node.op) &&
               (floats || !is_float(graph[made].dtype)) && std::ranges::all_of(node.inputs, is_known)) {
      part.nodes.push_back(node);
      part.outputs.push_back(made);
      computed.insert(made.index);
    }
  }
  const std::vector<Tensor> values = evaluate(part, {});
  for (size_t i = 0; i < values.size(); ++i) {
    numbers[part.outputs[i].index] = values[i].cast(graph[part.outputs[i]].dtype);
  }
  return numbers;
}

void fold_constants(Graph& graph) {
  const std::unordered_map<int32_t, Tensor> numbers = known_numbers(graph, true);
  if (numbers.empty()) return;
  std::erase_if(graph.nodes, [&](const Node& node) { return numbers.contains(node.outputs[0].index); });
  for (const auto& [index, value] : numbers) {
    Value& of = graph.values[static_cast<size_t>(index)];
    of.dtype = value.dtype();
    of.shape = value.shape();
    of.constant = value;
  }
  reinfer_shapes(graph);
}

}  // namespace reducenet
