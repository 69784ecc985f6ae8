#include <fmt/format.h>

#include "reducenet/formats.h"
#include "table.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

int64_t parameters_of(const Graph& graph, const Node& node) {
  int64_t count = 0;
  for (const ValueId input : node.inputs) {
    const Tensor* constant = input ? graph.constant(input) : nullptr;
    if (constant != nullptr && is_float(constant->dtype())) count += constant->size();
  }
  return count;
}

std::string shape_of(const Graph& graph, const Node& node) {
  const auto& shape = graph[node.outputs.at(0)].shape;
  return shape ? to_string(*shape) : "?";
}

Result inspect(const std::string& path) {
  const Graph graph = load(path);
  const std::vector<int64_t> regions = linear_regions(graph);
  const int64_t region_count = regions.empty() ? 0 : 1 + *std::ranges::max_element(regions);
  Result result;
  Json nodes = Json::array();
  Table table({"node", "op", "output", "MACs", "parameters", "linear"});
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const int64_t macs = count_macs(graph, node), parameters = parameters_of(graph, node), region = regions[i];
    nodes.push_back({{"name", node.name},
                     {"op", describe(node.op)},
                     {"shape", shape_of(graph, node)},
                     {"macs", macs},
                     {"parameters", parameters},
                     {"linear", region >= 0},
                     {"region", region >= 0 ? Json(region) : Json()}});
    table.add({node.name, describe(node.op), shape_of(graph, node), human(static_cast<double>(macs)),
               human(static_cast<double>(parameters)), region >= 0 ? fmt::format("region {}", region) : "no"});
  }
  const int64_t macs = count_macs(graph), parameters = count_parameters(graph), nonlinear = count_nonlinear(graph);
  result.json = {{"name", graph.name},        {"nodes", std::move(nodes)}, {"macs", macs},
                 {"parameters", parameters},  {"nonlinear", nonlinear},    {"linear_regions", region_count},
                 {"metadata", graph.metadata}};
  result.text = table.str() + fmt::format("{} nodes, {} MACs, {} parameters; {} non-linear nodes, {} linear regions\n",
                                          graph.nodes.size(), human(static_cast<double>(macs)),
                                          human(static_cast<double>(parameters)), nonlinear, region_count);
  return result;
}

}  // namespace

Action declare_inspect(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  app.add_option("model", *path, "Model file (.onnx, .safetensors)")->required();
  return [path] { return inspect(*path); };
}

}  // namespace reducenet::cli
