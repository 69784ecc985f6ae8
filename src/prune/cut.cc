#include <algorithm>
#include <map>

#include "reducenet/error.h"
#include "reducenet/prune.h"

namespace reducenet {
namespace {

using Role = ChannelUse::Role;

bool goes(const Cut& cut, Unit unit) {
  return cut[static_cast<size_t>(unit)];
}

/// Positions whose unit stays.
std::vector<int64_t> staying(const std::vector<Unit>& units, const Cut& cut) {
  std::vector<int64_t> kept;
  for (size_t i = 0; i < units.size(); ++i) {
    if (!goes(cut, units[i])) kept.push_back(static_cast<int64_t>(i));
  }
  return kept;
}

int64_t count_staying(const std::vector<Unit>& units, const Cut& cut) {
  return std::ranges::count_if(units, [&](Unit u) { return !goes(cut, u); });
}

/// A tensor seen as [outer][size of the axis][inner bytes].
struct Lanes {
  int64_t outer = 1, size;
  size_t inner;
  Lanes(const Tensor& tensor, int64_t axis) : size(tensor.shape()[static_cast<size_t>(axis)]) {
    for (int64_t i = 0; i < axis; ++i) outer *= tensor.shape()[static_cast<size_t>(i)];
    inner = outer * size > 0 ? tensor.bytes().size() / static_cast<size_t>(outer * size) : 0;
  }
  size_t at(int64_t o, int64_t position) const { return static_cast<size_t>(o * size + position) * inner; }
};

Tensor sliced(const Tensor& tensor, int64_t axis, const std::vector<int64_t>& kept) {
  const Lanes lanes(tensor, axis);
  Shape shape = tensor.shape();
  shape[static_cast<size_t>(axis)] = static_cast<int64_t>(kept.size());
  std::vector<std::byte> bytes;
  bytes.reserve(static_cast<size_t>(lanes.outer) * kept.size() * lanes.inner);
  for (int64_t o = 0; o < lanes.outer; ++o) {
    for (const int64_t position : kept) {
      const auto lane = tensor.bytes().subspan(lanes.at(o, position), lanes.inner);
      bytes.insert(bytes.end(), lane.begin(), lane.end());
    }
  }
  return {tensor.dtype(), shape, std::move(bytes)};
}

Tensor zeroed(const Tensor& tensor, int64_t axis, const std::vector<Unit>& units, const Cut& cut) {
  const Lanes lanes(tensor, axis);
  std::vector<std::byte> bytes(tensor.bytes().begin(), tensor.bytes().end());
  for (int64_t o = 0; o < lanes.outer; ++o) {
    for (size_t i = 0; i < units.size(); ++i) {
      if (!goes(cut, units[i])) continue;
      std::fill_n(bytes.begin() + static_cast<int64_t>(lanes.at(o, static_cast<int64_t>(i))), lanes.inner,
                  std::byte{0});
    }
  }
  return {tensor.dtype(), tensor.shape(), std::move(bytes)};
}

void require_valid(const Graph& graph, const Channels& channels, const Cut& cut) {
  if (cut.size() != channels.family.size() || goes(cut, 0)) {
    throw Error(ErrorKind::usage, "graph '" + graph.name + "': a cut names each unit once, and unit 0 stays");
  }
  for (size_t i = 0; i < channels.layouts.size(); ++i) {
    const auto& layout = channels.layouts[i];
    if (layout && !layout->units.empty() && count_staying(layout->units, cut) == 0) {
      throw Error(ErrorKind::usage, "no channel of '" + graph.values[i].name + "' would be left");
    }
  }
}

/// A value's own copy: others may read the same constant.
void set_shape_input(Graph& graph, Node& node, int64_t axis, int64_t size) {
  std::vector<int64_t> shape = graph.constant(node.inputs[1])->to_ints();
  if (shape[static_cast<size_t>(axis)] <= 0) return;  // copied or inferred
  shape[static_cast<size_t>(axis)] = size;
  Value value{.name = graph.unique_name(node.name + ".shape"), .dtype = DType::i64, .shape = Shape{}, .constant = {}};
  value.constant = Tensor::of({static_cast<int64_t>(shape.size())}, std::span<const int64_t>(shape));
  value.shape = value.constant->shape();
  node.inputs[1] = graph.add_value(std::move(value));
}

void apply(const ChannelEdit& edit, const Cut& cut, Graph& graph) {
  Node& node = graph[edit.node];
  const int64_t staying_units = count_staying(edit.units, cut);
  switch (edit.kind) {
    case ChannelEdit::Kind::groups:
      if (auto* conv = std::get_if<Conv2d>(&node.op)) conv->groups = staying_units;
      if (auto* conv = std::get_if<ConvTranspose2d>(&node.op)) conv->groups = staying_units;
      break;
    case ChannelEdit::Kind::pad: {
      auto& pad = std::get<Pad>(node.op);
      pad.begin[static_cast<size_t>(edit.axis)] = staying_units;
      pad.end[static_cast<size_t>(edit.axis)] = count_staying(edit.behind, cut);
      break;
    }
    case ChannelEdit::Kind::shape:
      set_shape_input(graph, node, edit.axis, staying_units);
      break;
  }
}

}  // namespace

Graph mask(const Graph& graph, const Channels& channels, const Cut& cut) {
  require_valid(graph, channels, cut);
  Graph masked = graph;
  for (const ChannelUse& use : channels.uses) {
    if (use.role != Role::reads) continue;
    Value& value = masked[use.constant];
    value.constant = zeroed(*value.constant, use.axis, use.units, cut);
  }
  return masked;
}

Graph cut_channels(const Graph& graph, const Channels& channels, const Cut& chosen) {
  require_valid(graph, channels, chosen);
  const Cut cut = with_dead(graph, channels, chosen);
  Graph made = graph;
  std::map<std::pair<int32_t, int64_t>, const ChannelUse*> axes;  // a constant with several readers is cut once
  for (const ChannelUse& use : channels.uses) axes.try_emplace({use.constant.index, use.axis}, &use);
  for (const auto& [key, use] : axes) {
    const std::vector<int64_t> kept = staying(use->units, cut);
    if (kept.size() == use->units.size()) continue;
    Value& value = made[use->constant];
    value.constant = sliced(*value.constant, use->axis, kept);
    value.shape = value.constant->shape();
  }
  for (const ChannelEdit& edit : channels.edits) apply(edit, cut, made);
  remove_dead(made);
  reinfer_shapes(made);
  check(made);
  return made;
}

}  // namespace reducenet
