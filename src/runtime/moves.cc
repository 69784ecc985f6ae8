#include "runtime/moves.h"

#include <algorithm>
#include <numeric>

#include "graph/strides.h"
#include "runtime/refuse.h"

namespace reducenet {
namespace {

/// Position in x of position `at` − begin on an axis of y.
int64_t source(Pad::Mode mode, int64_t at, int64_t size) {
  if (at >= 0 && at < size) return at;
  switch (mode) {
    case Pad::Mode::constant:
      return kOutside;
    case Pad::Mode::edge:
      return std::clamp<int64_t>(at, 0, size - 1);
    case Pad::Mode::reflect:
      return at < 0 ? -at : 2 * (size - 1) - at;
  }
  return kOutside;
}

/// The table of output k for input `moved`; input `nowhere`, if any, is a number that stands for kOutside. The oracle
/// knows what each of these ops does: it moves 0, 1, 2, …
std::vector<int64_t> table_of(const Graph& graph, const Node& node, size_t k, size_t moved,
                              std::optional<size_t> nowhere = std::nullopt) {
  Graph alone;
  Node copy{.name = node.name, .op = node.op};
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i]) {
      copy.inputs.emplace_back();
      continue;
    }
    const Value& value = graph[node.inputs[i]];
    if (i != moved && !value.constant) refuse(node, "where elements come from must be constant");
    const bool counts = i == moved || i == nowhere;
    copy.inputs.push_back(
        alone.add_value({.name = value.name, .dtype = counts ? DType::i64 : value.dtype, .shape = value.shape}));
    if (i == moved) continue;
    alone[copy.inputs.back()].constant =
        counts ? Tensor::filled(value.constant->shape(), kOutside, DType::i64) : *value.constant;
  }
  for (const ValueId id : node.outputs) {
    if (!id) {
      copy.outputs.emplace_back();
      continue;
    }
    copy.outputs.push_back(alone.add_value({.name = graph[id].name, .dtype = DType::i64, .shape = graph[id].shape}));
  }
  const ValueId x = copy.inputs.at(moved);
  alone.inputs = {x};
  alone.outputs = {copy.outputs.at(k)};
  std::vector<int64_t> places(static_cast<size_t>(element_count(*alone[x].shape)));
  std::iota(places.begin(), places.end(), 0);
  const Tensor all = Tensor::of(*alone[x].shape, std::span<const int64_t>(places));
  alone.nodes.push_back(std::move(copy));
  return evaluate(alone, {&all, 1}).at(0).cast(DType::i64).to_ints();
}

}  // namespace

std::vector<int64_t> sources(const Graph& graph, const Node& node, size_t k) {
  return table_of(graph, node, k, 0);
}

std::optional<Choice> choice(const Graph& graph, const Node& node) {
  if (!graph.constant(node.inputs[0])) return std::nullopt;
  for (const size_t number : {size_t{1}, size_t{2}}) {
    const Tensor* const constant = graph.constant(node.inputs[number]);
    if (!constant || constant->size() != 1) continue;
    const size_t moved = 3 - number;
    return Choice{moved, table_of(graph, node, 0, moved, number), constant->to_doubles()[0]};
  }
  return std::nullopt;
}

std::vector<int64_t> sources(const Pad& pad, const Shape& x, const Shape& y) {
  const std::vector<int64_t> dense = dense_strides(x);
  std::vector<int64_t> table;
  for (int64_t at = 0, count = element_count(y); at < count; ++at) {
    int64_t rest = at, from = 0;
    for (size_t axis = y.size(); axis-- > 0 && from != kOutside;) {
      const int64_t position = source(pad.mode, rest % y[axis] - pad.begin[axis], x[axis]);
      from = position == kOutside ? kOutside : from + position * dense[axis];
      rest /= y[axis];
    }
    table.push_back(from);
  }
  return table;
}

int64_t shorten(std::vector<int64_t>& table) {
  const auto count = std::ssize(table);
  int64_t length = count;
  for (int64_t i = 1; i < count && length > 1; ++i) {
    const int64_t before = table[static_cast<size_t>(i - 1)];
    if (table[static_cast<size_t>(i)] != (before == kOutside ? kOutside : before + 1)) length = std::gcd(length, i);
  }
  for (int64_t run = 0; length > 1 && run * length < count; ++run) {
    table[static_cast<size_t>(run)] = table[static_cast<size_t>(run * length)];
  }
  if (length > 1) table.resize(static_cast<size_t>(count / length));
  return length;
}

}  // namespace reducenet
