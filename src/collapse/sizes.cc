#include "collapse/sizes.h"

#include "reducenet/error.h"

namespace reducenet {

std::span<const OpenSizes> common_sizes() {
  static constexpr OpenSizes kSizes[] = {{1, 32, 32}, {1, 224, 224}, {1, 48, 320},  {1, 32, 100},  {1, 64, 64},
                                         {1, 96, 96}, {1, 128, 128}, {1, 256, 256}, {1, 299, 299}, {1, 320, 320}};
  return kSizes;
}

bool has_open_sizes(const Graph& graph) {
  return std::ranges::any_of(graph.inputs, [&](ValueId id) {
    const auto& shape = graph[id].shape;
    return shape && std::ranges::any_of(*shape, [](int64_t size) { return size < 0; });
  });
}

Shape with_sizes(const Value& input, const OpenSizes& sizes) {
  if (!input.shape) throw Error(ErrorKind::unsupported, "input '" + input.name + "' has no known rank");
  Shape shape = *input.shape;
  const auto name_of = [&](size_t i) { return i < input.dim_names.size() ? input.dim_names[i] : std::string(); };
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 0) continue;
    shape[i] = i == 0 ? sizes.batch : i + 1 == shape.size() ? sizes.width : sizes.height;
    for (size_t k = 0; k < i; ++k) {
      if (!name_of(i).empty() && name_of(i) == name_of(k)) shape[i] = shape[k];
    }
  }
  return shape;
}

Graph with_sizes(Graph graph, const OpenSizes& sizes) {
  for (const ValueId id : graph.inputs) {
    if (graph[id].shape) graph[id].shape = with_sizes(graph[id], sizes);
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

Graph with_fitting_sizes(const Graph& graph, const OpenSizes& first) {
  std::string why;
  const auto fitted = [&](const OpenSizes& sizes) -> std::optional<Graph> {
    try {
      return with_sizes(graph, sizes);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::bad_input || !has_open_sizes(graph)) throw;
      why = error.what();
      return std::nullopt;
    }
  };
  if (auto made = fitted(first)) return *std::move(made);
  for (const OpenSizes& sizes : common_sizes()) {
    if (auto made = fitted(sizes)) return *std::move(made);
  }
  refuse_sizes(why);
}

void refuse_sizes(const std::string& why) {
  throw Error(ErrorKind::unsupported,
              "the sizes of the input are open, and none of those tried fits (export --size HxW fixes them): " + why);
}

}  // namespace reducenet
