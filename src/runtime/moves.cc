#include "runtime/moves.h"

#include <numeric>

#include "runtime/refuse.h"

namespace reducenet {

// The oracle knows what each of these ops does: it moves 0, 1, 2, …
std::vector<int64_t> sources(const Graph& graph, const Node& node, size_t k) {
  Graph alone;
  Node moved{.name = node.name, .op = node.op};
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i]) {
      moved.inputs.emplace_back();
      continue;
    }
    const Value& value = graph[node.inputs[i]];
    if (i > 0 && !value.constant) refuse(node, "where elements come from must be constant");
    moved.inputs.push_back(alone.add_value({.name = value.name, .dtype = value.dtype, .shape = value.shape}));
    if (i > 0) alone[moved.inputs.back()].constant = value.constant;
  }
  for (const ValueId id : node.outputs) {
    if (!id) {
      moved.outputs.emplace_back();
      continue;
    }
    moved.outputs.push_back(alone.add_value({.name = graph[id].name, .dtype = DType::i64, .shape = graph[id].shape}));
  }
  const ValueId x = moved.inputs.at(0);
  alone[x].dtype = DType::i64;
  alone.inputs = {x};
  alone.outputs = {moved.outputs.at(k)};
  std::vector<int64_t> places(static_cast<size_t>(element_count(*alone[x].shape)));
  std::iota(places.begin(), places.end(), 0);
  const Tensor all = Tensor::of(*alone[x].shape, std::span<const int64_t>(places));
  alone.nodes.push_back(std::move(moved));
  return evaluate(alone, {&all, 1}).at(0).cast(DType::i64).to_ints();
}

}  // namespace reducenet
