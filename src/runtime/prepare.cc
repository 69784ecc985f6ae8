#include "runtime/prepare.h"

#include "graph/numbers.h"
#include "runtime/compose.h"
#include "runtime/refuse.h"

namespace reducenet {
namespace {

/// What a node does at inference: settled fades, LeakyReLUs in disguise and casts to the same type become what they
/// are.
Op at_inference(const Graph& graph, const Node& node) {
  if (const auto* fade = std::get_if<Fade>(&node.op)) {
    if (node.inputs.size() > 1) refuse(node, "it has not been settled");
    if (fade->lambda == 0) return Identity{};
    if (fade->kind == "activation" && fade->activation.kind == Activation::Kind::relu) {
      return Activation{Activation::Kind::leaky_relu, 1 - fade->lambda};  // λ·relu(x) + (1−λ)·x
    }
  }
  if (const auto* dropout = std::get_if<Dropout>(&node.op)) {
    if (dropout->training) refuse(node, "drops at random: export the model in evaluation mode");
    return Identity{};
  }
  if (const auto* activation = std::get_if<Activation>(&node.op)) {
    if (activation->kind == Activation::Kind::identity) return Identity{};
  }
  if (const auto* cast = std::get_if<Cast>(&node.op)) {
    if (graph[node.inputs[0]].dtype == cast->to) return Identity{};
  }
  return node.op;
}

/// Removes nodes that hand their input on.
void remove_identities(Graph& graph) {
  std::vector<ValueId> source(graph.values.size());
  for (size_t i = 0; i < source.size(); ++i) source[i] = ValueId{static_cast<int32_t>(i)};
  const auto resolve = [&](ValueId& id) {
    if (id) id = source[static_cast<size_t>(id.index)];
  };
  std::vector<Node> kept;
  for (Node& node : graph.nodes) {
    node.op = at_inference(graph, node);
    for (ValueId& id : node.inputs) resolve(id);
    if (std::holds_alternative<Identity>(node.op)) {
      source[static_cast<size_t>(node.outputs[0].index)] = node.inputs[0];
    } else {
      kept.push_back(std::move(node));
    }
  }
  for (ValueId& id : graph.outputs) resolve(id);
  graph.nodes = std::move(kept);
}

}  // namespace

void prepare(Graph& graph, int64_t batch) {
  check(graph);
  for (const ValueId id : graph.inputs) {
    Value& input = graph[id];
    if (!input.shape || input.shape->empty()) continue;
    if (input.shape->front() < 0) input.shape->front() = batch;
    if (input.shape->front() != batch && batch != 1) {
      throw Error(ErrorKind::usage, "input '" + input.name + "' has a fixed batch of " +
                                        std::to_string(input.shape->front()) + ", asked for was " +
                                        std::to_string(batch));
    }
  }
  reinfer_shapes(graph);
  fold_constants(graph);
  compose(graph);
  infer_shapes(graph);
  remove_identities(graph);
  remove_dead(graph);
}

}  // namespace reducenet
