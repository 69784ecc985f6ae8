#include <algorithm>

#include "reducenet/prune.h"

// Which channels are zero everywhere once others are cut: a row that reads nothing that is left, without a bias, and
// what maps 0 to 0 behind it.

namespace reducenet {
namespace {

using Role = ChannelUse::Role;

class Zeros {
 public:
  Zeros(const Graph& graph, const Channels& channels, const Cut& cut)
      : graph_(graph), channels_(channels), cut_(cut), zero_(graph.values.size()) {
    for (const Node& node : graph.nodes) {
      for (const ValueId id : node.outputs) {
        if (id && layout(id)) zero_[index(id)] = zeros_of(node, layout(id)->units.size());
      }
    }
  }

  /// Units that are not cut and zero in every value.
  std::vector<Unit> dead() const {
    std::vector<bool> met(cut_.size()), alive(cut_.size());
    for (size_t i = 0; i < zero_.size(); ++i) {
      const auto& layout = channels_.layouts[i];
      if (!layout) continue;
      for (size_t k = 0; k < layout->units.size(); ++k) {
        const auto unit = static_cast<size_t>(layout->units[k]);
        met[unit] = true;
        if (zero_[i].empty() || !zero_[i][k]) alive[unit] = true;
      }
    }
    std::vector<Unit> found;
    for (size_t unit = 1; unit < cut_.size(); ++unit) {
      if (met[unit] && !alive[unit] && !cut_[unit] && channels_.family[unit] >= 0) {
        found.push_back(static_cast<Unit>(unit));
      }
    }
    return found;
  }

 private:
  using Flags = std::vector<bool>;

  static size_t index(ValueId id) { return static_cast<size_t>(id.index); }
  const std::optional<Channels::Layout>& layout(ValueId id) const { return channels_.layouts[index(id)]; }

  /// What the node's channels are, all false where that is not known.
  Flags zeros_of(const Node& node, size_t count) const {
    Flags none(count, false);
    const auto input = [&](size_t i) -> const Flags* {
      if (i >= node.inputs.size() || !node.inputs[i] || zero_[index(node.inputs[i])].size() != count) return nullptr;
      return &zero_[index(node.inputs[i])];
    };
    const Flags* x = input(0);
    if (std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<Gemm>(node.op)) return rows(node, count);
    if (const auto* activation = std::get_if<Activation>(&node.op)) {
      return x && reducenet::apply(*activation, 0) == 0 ? *x : none;
    }
    if (const auto* fade = std::get_if<Fade>(&node.op)) {
      return x && fade->kind == "activation" && reducenet::apply(fade->activation, 0) == 0 ? *x : none;
    }
    if (std::holds_alternative<AveragePool>(node.op) || std::holds_alternative<MaxPool>(node.op) ||
        std::holds_alternative<GlobalAveragePool>(node.op) || std::holds_alternative<GlobalMaxPool>(node.op) ||
        std::holds_alternative<Identity>(node.op) || std::holds_alternative<Dropout>(node.op)) {
      return x ? *x : none;
    }
    if (std::holds_alternative<Flatten>(node.op)) return repeated(node, count);
    const auto* binary = std::get_if<Binary>(&node.op);
    const Flags* y = input(1);
    if (binary && binary->kind == Binary::Kind::add && x && y) {
      for (size_t i = 0; i < count; ++i) none[i] = (*x)[i] && (*y)[i];
    }
    return none;
  }

  Flags repeated(const Node& node, size_t count) const {
    const Flags& x = zero_[index(node.inputs[0])];
    Flags all(count, false);
    for (size_t i = 0; i < count && !x.empty(); ++i) all[i] = x[i * x.size() / count];
    return all;
  }

  /// Rows of a convolution or matrix that read nothing which is left.
  Flags rows(const Node& node, size_t count) const {
    Flags zero(count, false);
    const ChannelUse *reads = nullptr, *makes = nullptr;
    for (const ChannelUse& use : channels_.uses) {
      if (&graph_[use.node] != &node || use.constant != node.inputs[1]) continue;
      (use.role == Role::reads ? reads : makes) = &use;
    }
    const bool bias = node.inputs.size() > 2 && node.inputs[2];
    if (makes == nullptr || (bias && !graph_.constant(node.inputs[2]))) return zero;
    const Tensor& weight = *graph_.constant(node.inputs[1]);
    if (weight.dtype() != DType::f32 && weight.dtype() != DType::f64) return zero;
    const std::vector<double> shift = bias ? graph_.constant(node.inputs[2])->to_doubles() : std::vector<double>(count);
    if (shift.size() != count) return zero;
    const Flags& x = zero_[index(node.inputs[0])];
    const auto* conv = std::get_if<Conv2d>(&node.op);
    const bool depthwise = conv && reads == nullptr && conv->groups == static_cast<int64_t>(count) && x.size() == count;
    const size_t columns = reads ? reads->units.size() : 1;
    const size_t taps = static_cast<size_t>(weight.size()) / count / columns;
    const bool rows_first = makes->axis == 0;
    const auto is_zero = [&](size_t row, size_t column) {
      const size_t first = rows_first ? (row * columns + column) * taps : column * count + row;
      const auto nothing = [](auto values) { return std::ranges::all_of(values, [](auto v) { return v == 0; }); };
      return weight.dtype() == DType::f32 ? nothing(weight.as<float>().subspan(first, taps))
                                          : nothing(weight.as<double>().subspan(first, taps));
    };
    for (size_t row = 0; row < count; ++row) {
      zero[row] = shift[row] == 0;
      for (size_t column = 0; column < columns && zero[row]; ++column) {
        const bool gone = reads && (cut_[static_cast<size_t>(reads->units[column])] || (!x.empty() && x[column]));
        zero[row] = gone || (depthwise && x[row]) || is_zero(row, column);
      }
    }
    return zero;
  }

  const Graph& graph_;
  const Channels& channels_;
  const Cut& cut_;
  std::vector<Flags> zero_;  // by value index; empty where not known
};

}  // namespace

Cut with_dead(const Graph& graph, const Channels& channels, Cut cut) {
  std::vector<int64_t> left(static_cast<size_t>(channels.family_count()));
  for (size_t unit = 1; unit < cut.size(); ++unit) {
    if (channels.family[unit] >= 0) left[static_cast<size_t>(channels.family[unit])] += !cut[unit];
  }
  for (const Unit unit : Zeros(graph, channels, cut).dead()) {
    int64_t& of_family = left[static_cast<size_t>(channels.family[static_cast<size_t>(unit)])];
    if (of_family <= 1) continue;
    --of_family;
    cut[static_cast<size_t>(unit)] = true;
  }
  return cut;
}

}  // namespace reducenet
