#include <algorithm>
#include <map>

#include "graph/around_axis.h"
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

Tensor sliced(const Tensor& tensor, int64_t axis, const std::vector<int64_t>& kept) {
  const AroundAxis lanes(axis, tensor.shape());
  const size_t lane = static_cast<size_t>(lanes.inner) * size_of(tensor.dtype());
  Shape shape = tensor.shape();
  shape[lanes.axis] = static_cast<int64_t>(kept.size());
  std::vector<std::byte> bytes;
  bytes.reserve(static_cast<size_t>(lanes.outer) * kept.size() * lane);
  for (int64_t o = 0; o < lanes.outer; ++o) {
    for (const int64_t position : kept) {
      const auto from = tensor.bytes().subspan(static_cast<size_t>(o * lanes.size + position) * lane, lane);
      bytes.insert(bytes.end(), from.begin(), from.end());
    }
  }
  return {tensor.dtype(), shape, std::move(bytes)};
}

Tensor zeroed(const Tensor& tensor, int64_t axis, const std::vector<Unit>& units, const Cut& cut) {
  const AroundAxis lanes(axis, tensor.shape());
  const int64_t lane = lanes.inner * static_cast<int64_t>(size_of(tensor.dtype()));
  std::vector<std::byte> bytes(tensor.bytes().begin(), tensor.bytes().end());
  for (int64_t o = 0; o < lanes.outer; ++o) {
    for (int64_t i = 0; i < lanes.size; ++i) {
      if (goes(cut, units[static_cast<size_t>(i)])) {
        std::fill_n(bytes.begin() + (o * lanes.size + i) * lane, lane, std::byte{0});
      }
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
  node.inputs[1] =
      graph.add_constant(node.name + ".shape", Tensor::of({std::ssize(shape)}, std::span<const int64_t>(shape)));
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
