#include <algorithm>

#include "prune/follow.h"

// Ops that change a value's shape.

namespace reducenet {
namespace {

constexpr const char* kUnknownSize = "its shape is not known";
constexpr const char* kComputedShape = "its shape is computed";
constexpr const char* kRearranges = "it rearranges channels";

/// Elements behind axis 1; −1 when open.
int64_t positions(const Shape& shape) {
  int64_t count = 1;
  for (size_t i = 2; i < shape.size(); ++i) count = shape[i] < 0 || count < 0 ? -1 : count * shape[i];
  return count;
}

/// Each unit `times` times.
std::vector<Unit> repeated(const std::vector<Unit>& units, int64_t times) {
  std::vector<Unit> all;
  for (const Unit unit : units) all.insert(all.end(), static_cast<size_t>(times), unit);
  return all;
}

/// Axes of an op with a list or an input in its place, not negative; nothing when the input is no constant.
std::optional<std::vector<int64_t>> axes_of(const Graph& graph, const Node& node, std::vector<int64_t> axes,
                                            size_t rank) {
  if (node.inputs.size() > 1 && node.inputs[1]) {
    const Tensor* given = graph.constant(node.inputs[1]);
    if (given == nullptr) return std::nullopt;
    axes = given->to_ints();
  }
  for (int64_t& axis : axes) axis += axis < 0 ? static_cast<int64_t>(rank) : 0;
  return axes;
}

}  // namespace

// [N,C,H,W] → [N, C·H·W]
std::string Follower::flatten(const Node& node) {
  const Layout* in = layout(node, 0);
  const Shape* s = shape(node.inputs[0]);
  if (in == nullptr) return "";
  if (s == nullptr || positions(*s) < 0) return kUnknownSize;
  if (in->axis != 1) return kRearranges;
  set(node.outputs[0], 1, repeated(in->units, positions(*s)));
  return "";
}

std::string Follower::reshape(const Node& node) {
  const Layout* in = layout(node, 0);
  const Shape *from = shape(node.inputs[0]), *to = shape(node.outputs[0]);
  if (in == nullptr) return "";
  if (graph_.constant(node.inputs.at(1)) == nullptr) return kComputedShape;
  if (from == nullptr || to == nullptr) return kUnknownSize;
  const auto size = static_cast<int64_t>(in->units.size());
  std::vector<Unit> units;
  int64_t axis = 1;
  if (from->size() == to->size() && *from == *to) {
    axis = in->axis;
    units = in->units;
  } else if (in->axis == 1 && to->size() >= 2 && positions(*from) >= 0 && (*to)[0] == (*from)[0]) {
    const int64_t behind = positions(*from);
    if (to->size() == 2 && (*to)[1] == size * behind) {
      units = repeated(in->units, behind);
    } else if ((*to)[1] == size && positions(*to) == behind) {
      units = in->units;
    }
  }
  if (units.empty()) return kRearranges;
  edits.push_back({ChannelEdit::Kind::shape, id_of(node), axis, units, {}});
  set(node.outputs[0], axis, std::move(units));
  return "";
}

std::string Follower::concat(const Node& node, int64_t axis) {
  const Shape* out = shape(node.outputs[0]);
  if (out == nullptr) return kUnknownSize;
  if (axis < 0) axis += static_cast<int64_t>(out->size());
  int64_t own = -1;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Layout* in = layout(node, i);
    if (in == nullptr && !graph_.constant(node.inputs[i])) return "not all that it joins is followed";
    if (in && own >= 0 && in->axis != own) return kRearranges;
    if (in) own = in->axis;
  }
  if (own < 0) return "";
  std::vector<Unit> units;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Layout* in = layout(node, i);
    std::vector<Unit> part;
    if (in) {
      part = in->units;
    } else if (axis == own) {
      part = atoms.fresh(graph_.constant(node.inputs[i])->shape()[static_cast<size_t>(own)]);
    } else {
      part = units.empty() ? atoms.fresh((*out)[static_cast<size_t>(own)]) : units;
    }
    if (in == nullptr) use(node, i, own, Role::scales, part);
    if (axis == own) {
      units.insert(units.end(), part.begin(), part.end());
    } else {
      if (units.empty()) units = part;
      atoms.tie(units, part);
    }
  }
  set(node.outputs[0], own, std::move(units));
  return "";
}

std::string Follower::pad(const Node& node, const Pad& op) {
  const Layout* in = layout(node, 0);
  if (in == nullptr) return "";
  const auto axis = static_cast<size_t>(in->axis);
  if (axis >= op.begin.size() || axis >= op.end.size()) return kComputedShape;
  const int64_t front = op.begin[axis], back = op.end[axis];
  if (front == 0 && back == 0) return pass(node, -1);
  if (front < 0 || back < 0 || op.mode != Pad::Mode::constant) return kRearranges;
  const std::vector<Unit> before = atoms.fresh(front), behind = atoms.fresh(back);
  edits.push_back({ChannelEdit::Kind::pad, id_of(node), in->axis, before, behind});
  std::vector<Unit> units = before;
  units.insert(units.end(), in->units.begin(), in->units.end());
  units.insert(units.end(), behind.begin(), behind.end());
  set(node.outputs[0], static_cast<int64_t>(axis), std::move(units));
  return "";
}

std::string Follower::reduce(const Node& node, const Reduce& op) {
  const Layout* in = layout(node, 0);
  const Shape* s = shape(node.inputs[0]);
  if (in == nullptr) return "";
  if (s == nullptr) return kUnknownSize;
  const auto axes = axes_of(graph_, node, op.axes, s->size());
  if (!axes) return kComputedShape;
  if (axes->empty()) return op.none_is_identity ? pass(node, -1) : std::string("it is over all channels");
  if (std::ranges::find(*axes, in->axis) != axes->end()) return "it is over all channels";
  const auto before = std::ranges::count_if(*axes, [&](int64_t a) { return a < in->axis; });
  return pass(node, op.keep_dims ? in->axis : in->axis - before);
}

std::string Follower::squeeze(const Node& node, const Squeeze& op) {
  const Layout* in = layout(node, 0);
  const Shape *from = shape(node.inputs[0]), *to = shape(node.outputs[0]);
  if (in == nullptr) return "";
  if (from == nullptr || to == nullptr) return kUnknownSize;
  const auto axes = axes_of(graph_, node, op.axes, op.insert ? to->size() : from->size());
  if (!axes || axes->empty()) return kComputedShape;
  if (op.insert) {
    int64_t axis = in->axis;
    std::vector<int64_t> sorted = *axes;
    std::ranges::sort(sorted);
    for (const int64_t inserted : sorted) axis += inserted <= axis;
    return pass(node, axis);
  }
  if (std::ranges::find(*axes, in->axis) != axes->end()) return kRearranges;
  return pass(node, in->axis - std::ranges::count_if(*axes, [&](int64_t a) { return a < in->axis; }));
}

// The number of channels may be read only where it is not looked at.
std::string Follower::shape_of(const Node& node, const ShapeOf& op) {
  const Layout* in = layout(node, 0);
  const Shape* s = shape(node.inputs[0]);
  if (in == nullptr) return "";
  if (op.size || s == nullptr) return "the number of channels is read";
  const auto rank = static_cast<int64_t>(s->size());
  const int64_t start = op.start < 0 ? op.start + rank : op.start, end = op.end < 0 ? op.end + rank : op.end;
  if (in->axis < start || in->axis >= end) return "";
  const auto& readers = readers_.consumers_of(node.outputs[0]);
  const bool elsewhere = std::ranges::all_of(readers, [&](NodeId id) {
    const Node& reader = graph_[id];
    if (!std::holds_alternative<Gather>(reader.op) || reader.inputs[0] != node.outputs[0]) return false;
    const Tensor* indices = graph_.constant(reader.inputs[1]);
    return indices && std::ranges::none_of(indices->to_ints(), [&](int64_t i) {
             return start + (i < 0 ? i + std::min(end, rank) - start : i) == in->axis;
           });
  });
  return elsewhere ? "" : "the number of channels is read";
}

}  // namespace reducenet
