#include "prune/follow.h"

#include <algorithm>

namespace reducenet {
namespace {

constexpr const char* kUnknownSize = "its shape is not known";
constexpr const char* kMixes = "it mixes channels in a way that is not followed";

}  // namespace

Follower::Follower(const Graph& graph) : layouts(graph.values.size()), graph_(graph), readers_(graph) {
  for (const ValueId id : graph.inputs) {
    const Shape* s = shape(id);
    if (s && s->size() > 1 && (*s)[1] > 0) set(id, 1, std::vector<Unit>(static_cast<size_t>((*s)[1]), 0));
  }
}

void Follower::visit(const Node& node) {
  const bool followed = std::ranges::any_of(
      node.inputs, [&](ValueId id) { return id && layouts[static_cast<size_t>(id.index)].has_value(); });
  const std::string why = follow(node);
  if (why.empty() || !followed) return;
  bool lost = false;
  for (const ValueId id : node.inputs) {
    if (!id || !layouts[static_cast<size_t>(id.index)]) continue;
    const std::vector<Unit>& units = layouts[static_cast<size_t>(id.index)]->units;
    lost = lost || std::ranges::any_of(units, [&](Unit u) { return atoms.root(u) != 0; });
    atoms.keep(units);
  }
  if (lost) kept.push_back({node.name, name_of(node.op), why});
}

std::string Follower::follow(const Node& node) {
  return std::visit(
      Overloaded{
          [&](const Conv2d& op) { return conv(node, op.groups, false); },
          [&](const ConvTranspose2d& op) { return conv(node, op.groups, true); },
          [&](const Gemm& op) { return op.trans_a ? std::string(kMixes) : matrix(node, op.trans_b, true); },
          [&](const MatMul&) { return matrix(node, false, false); },
          [&](const BatchNorm&) { return channelwise(node, 4); },
          [&](const Normalize& op) {
            return op.kind == Normalize::Kind::instance ? channelwise(node, 2)
                                                        : std::string("its statistics are over several channels");
          },
          [&](const OneOf<Binary, Compare, Where, Variadic, PRelu> auto&) { return elementwise(node); },
          [&](const OneOf<Unary, Activation, Identity, Dropout, Cast> auto&) { return pass(node, -1); },
          [&](const Fade& op) {
            return node.inputs.size() == 1 && op.kind == "activation" ? pass(node, -1)
                                                                      : std::string("it has not come to an end");
          },
          [&](const OneOf<AveragePool, MaxPool, GlobalAveragePool, GlobalMaxPool> auto&) { return spatial(node); },
          [&](const Flatten& op) { return op.axis == 1 ? flatten(node) : std::string(kMixes); },
          [&](const Reshape&) { return reshape(node); },
          [&](const Transpose& op) {
            const Layout* in = layout(node, 0);
            if (in == nullptr) return std::string();
            return pass(node, std::ranges::find(op.perm, in->axis) - op.perm.begin());
          },
          [&](const Pad& op) { return pad(node, op); },
          [&](const Concat& op) { return concat(node, op.axis); },
          [&](const Softmax& op) {
            const Layout* in = layout(node, 0);
            const Shape* s = shape(node.inputs[0]);
            if (in == nullptr || s == nullptr) return std::string(kUnknownSize);
            const int64_t axis = op.axis < 0 ? op.axis + static_cast<int64_t>(s->size()) : op.axis;
            return axis == in->axis ? std::string("its sum is over all channels") : pass(node, -1);
          },
          [&](const Reduce& op) { return reduce(node, op); },
          [&](const Squeeze& op) { return squeeze(node, op); },
          [&](const ShapeOf& op) { return shape_of(node, op); },
          [&](const OneOf<ConstantOfShape, Arange> auto&) { return std::string(); },
          [&](const Opaque&) { return std::string("the op is not known"); },
          [&](const OneOf<Lrn, ArgReduce, Hardmax, TopK, Slice, SplitAxis, Gather, ScatterNd, Repeat, SpaceDepth,
                          Resize> auto&) { return std::string(kMixes); },
      },
      node.op);
}

const Channels::Layout* Follower::layout(const Node& node, size_t input) const {
  if (input >= node.inputs.size() || !node.inputs[input]) return nullptr;
  const auto& found = layouts[static_cast<size_t>(node.inputs[input].index)];
  return found ? &*found : nullptr;
}

const Shape* Follower::shape(ValueId id) const {
  if (!id) return nullptr;
  if (const Tensor* constant = graph_.constant(id)) return &constant->shape();
  return graph_[id].shape ? &*graph_[id].shape : nullptr;
}

void Follower::set(ValueId id, int64_t axis, std::vector<Unit> units) {
  layouts[static_cast<size_t>(id.index)] = Layout{axis, std::move(units)};
}

NodeId Follower::id_of(const Node& node) const {
  return {static_cast<int32_t>(&node - graph_.nodes.data())};
}

void Follower::use(const Node& node, size_t input, int64_t axis, Role role, const std::vector<Unit>& units) {
  const int32_t constant = node.inputs[input].index;
  const auto [known, fresh] = axes_.try_emplace({constant, axis}, units);
  if (!fresh) atoms.tie(known->second, units);
  slots_[constant][{id_of(node).index, input}].push_back(axis);
  uses.push_back({role, id_of(node), node.inputs[input], axis, units});
}

void Follower::finish() {
  for (const ValueId id : graph_.outputs) {
    if (const auto& found = layouts[static_cast<size_t>(id.index)]) atoms.keep(found->units);
  }
  for (const auto& [constant, readers] : slots_) {
    const ValueId id{constant};
    const bool same = std::ranges::all_of(readers, [&](const auto& r) { return r.second == readers.begin()->second; });
    if (same && readers.size() == readers_.consumers_of(id).size() &&
        !readers_.is_output[static_cast<size_t>(constant)])
      continue;
    for (const auto& [key, units] : axes_) {
      if (key.first == constant) atoms.keep(units);
    }
  }
}

// Grouped: a group goes as a whole, with all that it reads and makes.
std::string Follower::conv(const Node& node, int64_t groups, bool transposed) {
  const Tensor* w = graph_.constant(node.inputs.at(1));
  const Layout* in = layout(node, 0);
  const Shape* out = shape(node.outputs[0]);
  if (w == nullptr) return "its weights are computed";
  if (out == nullptr || (in && in->axis != 1)) return kUnknownSize;
  const bool bias = node.inputs.size() > 2 && node.inputs[2];
  if (bias && !graph_.constant(node.inputs[2])) return "its bias is computed";
  std::vector<Unit> made = atoms.fresh((*out)[1]);
  if (groups == 1) {
    if (in) use(node, 1, transposed ? 0 : 1, Role::reads, in->units);
    use(node, 1, transposed ? 1 : 0, Role::makes, made);
  } else {
    if (in == nullptr) return kUnknownSize;
    const size_t reads = in->units.size() / static_cast<size_t>(groups),
                 makes = made.size() / static_cast<size_t>(groups);
    std::vector<Unit> group;
    for (size_t g = 0; g < static_cast<size_t>(groups); ++g) {
      group.push_back(made[g * makes]);
      for (size_t i = 0; i < makes; ++i) atoms.tie(group[g], made[g * makes + i]);
      for (size_t i = 0; i < reads; ++i) atoms.tie(group[g], in->units[g * reads + i]);
    }
    use(node, 1, 0, Role::makes, transposed ? in->units : made);
    edits.push_back({ChannelEdit::Kind::groups, id_of(node), 0, group, {}});
  }
  if (bias) use(node, 2, 0, Role::makes, made);
  set(node.outputs[0], 1, std::move(made));
  return "";
}

// x[…,I]·w + c: x's last axis is read, the result's is made. Other axes of x pass.
std::string Follower::matrix(const Node& node, bool transposed, bool gemm) {
  const Tensor* w = graph_.constant(node.inputs.at(1));
  const Layout* in = layout(node, 0);
  const Shape *x = shape(node.inputs[0]), *out = shape(node.outputs[0]);
  if (w == nullptr || w->shape().size() != 2) return "its weights are computed";
  if (x == nullptr || out == nullptr || x->size() < 2 || out->size() != x->size()) return kUnknownSize;
  const auto last = static_cast<int64_t>(x->size()) - 1;
  if (in && in->axis != last) return gemm ? std::string(kMixes) : pass(node, -1);
  const Tensor* c = nullptr;
  if (gemm && node.inputs.size() > 2 && node.inputs[2]) {
    c = graph_.constant(node.inputs[2]);
    if (c == nullptr) return "its bias is computed";
  }
  std::vector<Unit> made = atoms.fresh(w->shape()[transposed ? 0 : 1]);
  if (in) use(node, 1, transposed ? 1 : 0, Role::reads, in->units);
  use(node, 1, transposed ? 0 : 1, Role::makes, made);
  if (c && !c->shape().empty() && c->shape().back() == static_cast<int64_t>(made.size()) && made.size() > 1) {
    use(node, 2, static_cast<int64_t>(c->shape().size()) - 1, Role::makes, made);
  }
  set(node.outputs[0], last, std::move(made));
  return "";
}

std::string Follower::pass(const Node& node, int64_t axis) {
  if (const Layout* in = layout(node, 0)) set(node.outputs[0], axis < 0 ? in->axis : axis, std::vector(in->units));
  return "";
}

std::string Follower::spatial(const Node& node) {
  const Layout* in = layout(node, 0);
  return in && in->axis > 1 ? std::string(kMixes) : pass(node, -1);
}

std::string Follower::channelwise(const Node& node, size_t parameters) {
  const Layout* in = layout(node, 0);
  if (in == nullptr) return "";
  if (in->axis != 1) return kMixes;
  for (size_t i = 1; i <= parameters; ++i) {
    if (!graph_.constant(node.inputs.at(i))) return "its parameters are computed";
  }
  for (size_t i = 1; i <= parameters; ++i) use(node, i, 0, Role::scales, in->units);
  return pass(node, -1);
}

// NumPy's broadcasting: dimensions are aligned from the right.
std::string Follower::elementwise(const Node& node) {
  const Shape* out = shape(node.outputs[0]);
  if (out == nullptr) return kUnknownSize;
  const auto rank = static_cast<int64_t>(out->size());
  int64_t axis = -1;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Layout* in = layout(node, i);
    if (in == nullptr) continue;
    const int64_t aligned = in->axis + rank - static_cast<int64_t>(shape(node.inputs[i])->size());
    if (axis >= 0 && aligned != axis) return kMixes;
    axis = aligned;
  }
  if (axis < 0) return "";
  const int64_t size = (*out)[static_cast<size_t>(axis)];
  std::vector<Unit> units;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Layout* in = layout(node, i);
    if (in == nullptr || static_cast<int64_t>(in->units.size()) != size) continue;
    if (units.empty()) units = in->units;
    atoms.tie(units, in->units);
  }
  if (units.empty()) return "its one channel stands for all";
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i]) continue;
    const Shape* s = shape(node.inputs[i]);
    if (s == nullptr) return kUnknownSize;
    const int64_t own = axis - (rank - static_cast<int64_t>(s->size()));
    if (const Layout* in = layout(node, i)) {
      if (static_cast<int64_t>(in->units.size()) != size) atoms.keep(in->units);
    } else if (own >= 0 && (*s)[static_cast<size_t>(own)] != 1) {
      if (!graph_.constant(node.inputs[i])) return "what it joins channels with is not followed";
      use(node, i, own, Role::scales, units);
    }
  }
  set(node.outputs[0], axis, std::move(units));
  return "";
}

}  // namespace reducenet
