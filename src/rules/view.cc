#include "rules/view.h"

#include <algorithm>
#include <cmath>

#include "rules/frame.h"
#include "rules/reason.h"

namespace reducenet {
namespace {

using Kind = View::Kind;
using MaybeView = std::optional<View>;

std::optional<int64_t> known(int64_t dim) {
  return dim < 0 ? std::nullopt : std::optional(dim);
}

/// What reading a node needs, and the parts that several ops share.
struct Reader {
  const Graph& graph;
  NodeId id;
  const Node& node = graph[id];

  const Tensor* constant(size_t i) const { return i < node.inputs.size() ? graph.constant(node.inputs[i]) : nullptr; }
  bool absent(size_t i) const { return i >= node.inputs.size() || !node.inputs[i]; }
  const Shape& shape(ValueId value) const { return *graph[value].shape; }

  /// The node as a map of input `i`, which has to be data with known channels.
  MaybeView make(Kind kind, size_t i, size_t lowest_rank, size_t highest_rank) const {
    const ValueId source = node.inputs[i], result = node.outputs[0];
    const size_t rank = rank_of(graph, source);
    if (rank < lowest_rank || rank > highest_rank || rank % 2 || !is_float(graph[source].dtype)) return {};
    if (graph.constant(source) || rank_of(graph, result) != rank) return {};
    return View{kind, id, source, result, identity_geometry(shape(source)[1])};
  }

  /// A constant that broadcasts to one element per channel of `value` (or one in all).
  bool per_channel(const Tensor* c, ValueId value) const {
    if (!c) return false;
    const Shape &x = shape(value), &s = c->shape();
    if (s.size() > x.size()) return false;
    for (size_t i = 0; i < s.size(); ++i) {
      const size_t axis = x.size() - s.size() + i;
      if (s[i] != 1 && (axis != 1 || s[i] != x[1])) return false;
    }
    return true;
  }
};

std::array<Axis, 2> axes_of(Size2 kernel, Size2 stride, Size2 dilation, const Padding& p) {
  const auto apart = [&](size_t i) { return kernel[i] > 1 ? dilation[i] : 1; };
  return {Axis{kernel[0], stride[0], apart(0), p.top, p.bottom}, Axis{kernel[1], stride[1], apart(1), p.left, p.right}};
}

MaybeView read(const Reader& r, const Conv2d& op) {
  const Tensor* w = r.constant(1);
  if (!w || w->shape().size() != 4 || (!r.absent(2) && !r.constant(2))) return {};
  MaybeView view = r.make(Kind::conv, 0, 4, 4);
  if (!view) return {};
  view->geometry.out = w->shape()[0];
  view->geometry.groups = op.groups;
  view->geometry.axes = axes_of({w->shape()[2], w->shape()[3]}, op.stride, op.dilation, op.padding);
  return view;
}

MaybeView read(const Reader& r, const Gemm& op) {
  const Tensor* w = r.constant(1);
  if (op.trans_a || !w || w->shape().size() != 2) return {};
  MaybeView view = r.make(Kind::gemm, 0, 2, 2);
  if (!view || (!r.absent(2) && !r.per_channel(r.constant(2), view->result))) return {};
  view->geometry.out = w->shape()[op.trans_b ? 0 : 1];
  view->geometry.groups = 1;
  return view;
}

MaybeView read(const Reader& r, const MatMul&) {
  const Tensor* w = r.constant(1);
  if (!w || w->shape().size() != 2) return {};
  MaybeView view = r.make(Kind::gemm, 0, 2, 2);
  if (!view) return {};
  view->geometry.out = w->shape()[1];
  view->geometry.groups = 1;
  return view;
}

MaybeView read(const Reader& r, const BatchNorm&) {
  for (size_t i = 1; i < 5; ++i) {
    if (!r.constant(i)) return {};
  }
  return r.make(Kind::batch_norm, 0, 2, 4);
}

MaybeView read(const Reader& r, const Binary& op) {
  using enum Binary::Kind;
  const bool left = r.constant(0);  // constant ∘ x
  const bool linear = op.kind == add || op.kind == sub || op.kind == mul || (op.kind == div && !left);
  if (!linear || left == static_cast<bool>(r.constant(1))) return {};
  MaybeView view = r.make(Kind::scale, left ? 1 : 0, 2, 4);
  if (!view || !r.per_channel(r.constant(left ? 0 : 1), view->source)) return {};
  return view;
}

MaybeView read(const Reader& r, const Unary& op) {
  return op.kind == Unary::Kind::neg ? r.make(Kind::scale, 0, 2, 4) : std::nullopt;
}

// The mean over a window is a depthwise convolution by 1/(kh·kw), unless padding is left out of the mean or the last
// windows hang over the edge (ceil_mode).
MaybeView read(const Reader& r, const AveragePool& op) {
  if (!is_zero(op.padding) && !op.count_include_pad) return {};
  MaybeView view = r.make(Kind::average_pool, 0, 4, 4);
  if (!view) return {};
  view->geometry.axes = axes_of(op.kernel, op.stride, {1, 1}, op.padding);
  for (size_t i = 0; op.ceil_mode && i < 2; ++i) {
    const int64_t in = r.shape(view->source)[i + 2], out = r.shape(view->result)[i + 2];
    if (in < 0 || view->geometry.axes[i].output_size(in) != out) return {};
  }
  return view;
}

MaybeView read(const Reader& r, const Pad& op) {
  if (op.mode != Pad::Mode::constant || op.value != 0 || op.begin.size() != 4) return {};
  if (op.begin[0] || op.begin[1] || op.end[0] || op.end[1]) return {};
  MaybeView view = r.make(Kind::pad, 0, 4, 4);
  if (!view) return {};
  for (size_t i = 0; i < 2; ++i) view->geometry.axes[i] = {.begin = op.begin[i + 2], .end = op.end[i + 2]};
  return view;
}

MaybeView read(
    const Reader&,
    const OneOf<ConvTranspose2d, Activation, PRelu, Fade, MaxPool, GlobalAveragePool, Flatten, Reshape, Transpose,
                Concat, Softmax, Identity, Dropout, Opaque, Compare, Where, Variadic, GlobalMaxPool, Lrn, Normalize,
                Reduce, ArgReduce, Hardmax, TopK, Slice, SplitAxis, Gather, ScatterNd, Squeeze, Repeat, SpaceDepth,
                Resize, ShapeOf, ConstantOfShape, Arange, Cast> auto&) {
  return {};
}

/// A constant's elements, repeated to one per channel.
std::vector<double> per_channel(const Tensor& constant, int64_t channels) {
  std::vector<double> values = constant.to_doubles();
  if (values.size() == 1) values.assign(static_cast<size_t>(channels), values[0]);
  return values;
}

/// gamma/√(var + ε)
std::vector<double> batch_norm_scale(const Graph& graph, const Node& node) {
  std::vector<double> scale = graph.constant(node.inputs[1])->to_doubles();
  const std::vector<double> var = graph.constant(node.inputs[4])->to_doubles();
  const double epsilon = std::get<BatchNorm>(node.op).epsilon;
  for (size_t c = 0; c < scale.size(); ++c) scale[c] /= std::sqrt(var[c] + epsilon);
  return scale;
}

/// The constant beside the data of a Binary.
struct Operand {
  bool left;
  std::vector<double> values;
};
Operand operand_of(const Graph& graph, const Node& node, int64_t channels) {
  const Tensor* left = graph.constant(node.inputs[0]);
  return {left != nullptr, per_channel(left ? *left : *graph.constant(node.inputs[1]), channels)};
}

std::vector<double> transposed(const std::vector<double>& m, int64_t rows, int64_t columns) {
  std::vector<double> t(m.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j)
      t[static_cast<size_t>(j * rows + i)] = m[static_cast<size_t>(i * columns + j)];
  }
  return t;
}

std::vector<double> gemm_weight(const Graph& graph, const Node& node, const Geometry& geometry) {
  std::vector<double> w = graph.constant(node.inputs[1])->to_doubles();
  const auto* gemm = std::get_if<Gemm>(&node.op);
  if (!gemm || !gemm->trans_b) w = transposed(w, geometry.in, geometry.out);
  if (gemm && gemm->alpha != 1) {
    for (double& v : w) v *= gemm->alpha;
  }
  return w;
}

std::vector<double> scale_weight(const Graph& graph, const Node& node, int64_t channels) {
  std::vector<double> ones(static_cast<size_t>(channels), 1);
  const auto* binary = std::get_if<Binary>(&node.op);
  if (!binary) return std::vector<double>(ones.size(), -1);  // Neg
  Operand operand = operand_of(graph, node, channels);
  switch (binary->kind) {
    case Binary::Kind::mul:
      return operand.values;
    case Binary::Kind::div:
      for (size_t c = 0; c < ones.size(); ++c) ones[c] /= operand.values[c];
      return ones;
    case Binary::Kind::sub:
      return operand.left ? std::vector<double>(ones.size(), -1) : ones;
    default:
      return ones;
  }
}

std::vector<double> scale_bias(const Graph& graph, const Node& node, int64_t channels) {
  std::vector<double> zeros(static_cast<size_t>(channels), 0);
  const auto* binary = std::get_if<Binary>(&node.op);
  if (!binary || (binary->kind != Binary::Kind::add && binary->kind != Binary::Kind::sub)) return zeros;
  Operand operand = operand_of(graph, node, channels);
  if (binary->kind == Binary::Kind::sub && !operand.left) {
    for (double& v : operand.values) v = -v;
  }
  return operand.values;
}

}  // namespace

std::optional<View> view(const Graph& graph, NodeId node) {
  if (!node) return std::nullopt;
  const Reader reader{graph, node};
  if (reader.node.inputs.empty() || !reader.node.inputs[0] || reader.node.outputs.size() != 1) return std::nullopt;
  return std::visit([&](const auto& op) { return read(reader, op); }, reader.node.op);
}

std::optional<View> view_of_producer(const Site& site, ValueId value) {
  if (const auto found = view(site.graph, site.uses.producer_of(value))) return found;
  const auto frame = read_frame(site, value);
  if (!frame || frame_obstacle(site, *frame)) return std::nullopt;
  return frame->map;
}

std::vector<double> weight_of(const Graph& graph, const View& view) {
  const Node& node = graph[view.node];
  const int64_t channels = view.geometry.in;
  switch (view.kind) {
    case Kind::conv:
      return graph.constant(node.inputs[1])->to_doubles();
    case Kind::gemm:
      return gemm_weight(graph, node, view.geometry);
    case Kind::batch_norm:
      return batch_norm_scale(graph, node);
    case Kind::scale:
      return scale_weight(graph, node, channels);
    case Kind::average_pool:
      return std::vector<double>(static_cast<size_t>(view.geometry.weights()),
                                 1.0 / static_cast<double>(view.geometry.taps()));
    case Kind::pad:
      return identity_map(channels).weight;
  }
  return {};
}

std::vector<double> bias_of(const Graph& graph, const View& view) {
  const Node& node = graph[view.node];
  switch (view.kind) {
    case Kind::conv:
    case Kind::gemm: {
      if (node.inputs.size() < 3 || !node.inputs[2]) break;
      std::vector<double> bias = per_channel(*graph.constant(node.inputs[2]), view.geometry.out);
      if (const auto* gemm = std::get_if<Gemm>(&node.op)) {
        for (double& b : bias) b *= gemm->beta;
      }
      return bias;
    }
    case Kind::batch_norm: {
      const std::vector<double> scale = batch_norm_scale(graph, node);
      std::vector<double> bias = graph.constant(node.inputs[2])->to_doubles();
      const std::vector<double> mean = graph.constant(node.inputs[3])->to_doubles();
      for (size_t c = 0; c < bias.size(); ++c) bias[c] -= mean[c] * scale[c];
      return bias;
    }
    case Kind::scale:
      return scale_bias(graph, node, view.geometry.out);
    case Kind::average_pool:
    case Kind::pad:
      break;
  }
  return std::vector<double>(static_cast<size_t>(view.geometry.out), 0);
}

LinearMap numbers_of(const Graph& graph, const View& view) {
  return {view.geometry, weight_of(graph, view), bias_of(graph, view)};
}

size_t rank_of(const Graph& graph, ValueId value) {
  const auto& shape = graph[value].shape;
  return shape && shape->size() >= 2 && (*shape)[1] > 0 ? shape->size() : 0;
}

ImageSize image_size(const Graph& graph, ValueId value) {
  const auto& shape = graph[value].shape;
  if (!shape || shape->size() != 4) return {1, 1};
  return {known((*shape)[2]), known((*shape)[3])};
}

int64_t positions(const Graph& graph, ValueId value) {
  const ImageSize size = image_size(graph, value);
  return size[0].value_or(1) * size[1].value_or(1);
}

int64_t work_of(const Graph& graph, const View& view) {
  return view.kind == Kind::pad ? 0 : view.geometry.weights() * positions(graph, graph[view.node].outputs[0]);
}

std::optional<std::string> border_obstacle(const Graph& graph, const View& first, const Geometry& second,
                                           NodeId reader) {
  const ImageSize size = image_size(graph, first.source);
  bool reads_padding = false;
  for (size_t i = 0; i < 2; ++i) {
    const Border border = border_between(first.geometry.axes[i], second.axes[i], size[i]);
    reads_padding |= border.reads_padding;
    if (border.zeros_agree) continue;
    return "zero padding inside the chain at node " + label(graph, reader) + ": what " + label(graph, first.node) +
           " " + std::string(reason::kBorder);
  }
  if (!reads_padding) return std::nullopt;
  const std::vector<double> bias = bias_of(graph, first);
  if (std::all_of(bias.begin(), bias.end(), [](double b) { return b == 0; })) return std::nullopt;
  return "zero padding inside the chain at node " + label(graph, reader) + ": " + label(graph, first.node) + " " +
         std::string(reason::kBias);
}

double rounding_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 0x1p-53;
    case DType::f16:
      return 0x1p-11;
    case DType::bf16:
      return 0x1p-8;
    default:
      return 0x1p-24;
  }
}

std::string label(const Graph& graph, NodeId node) {
  return "'" + graph[node].name + "' (" + name_of(graph[node].op) + ")";
}

std::optional<std::string> other_readers(const Site& site, ValueId value) {
  const std::string& name = site.graph[value].name;
  if (site.uses.is_output[static_cast<size_t>(value.index)]) return "'" + name + "' " + std::string(reason::kIsOutput);
  const size_t readers = site.uses.consumers_of(value).size();
  if (readers <= 1) return std::nullopt;
  return "'" + name + "' is read " + std::to_string(readers) + " times: " + std::string(reason::kReadAgain);
}

bool is_pinned(const Site& site, ValueId value) {
  const auto& inputs = site.graph.inputs;
  if (site.uses.is_output[static_cast<size_t>(value.index)]) return true;
  if (std::find(inputs.begin(), inputs.end(), value) != inputs.end()) return true;
  const auto& readers = site.uses.consumers_of(value);
  return std::any_of(readers.begin(), readers.end(), [&](NodeId reader) {
    const Node& node = site.graph[reader];
    const auto* opaque = std::get_if<Opaque>(&node.op);
    return opaque && std::find(node.inputs.end() - opaque->reads, node.inputs.end(), value) != node.inputs.end();
  });
}

// What an Opaque makes keeps its name: by that, the two networks are compared.
bool can_replace(const Site& site, ValueId before, ValueId after) {
  const NodeId producer = site.uses.producer_of(after);
  const bool opaque = producer && std::holds_alternative<Opaque>(site.graph[producer].op);
  return !is_pinned(site, before) || !(is_pinned(site, after) || site.graph.constant(after) || opaque);
}

ValueId emit(Patch& patch, LinearMap map, size_t rank, ValueId source, const std::string& name) {
  const Geometry geometry = without_crops(map.geometry);
  LinearMap whole = embed(std::move(map), geometry);
  const Geometry g = whole.geometry;
  const Axis &y = g.axes[0], &x = g.axes[1];
  const bool image = rank == 4;
  const Shape weight = image ? Shape{g.out, g.in / g.groups, y.kernel, x.kernel} : Shape{g.out, g.in};
  std::vector<ValueId> inputs{source, patch.constant(name + ".weight", Tensor::adopt(weight, std::move(whole.weight)))};
  if (std::any_of(whole.bias.begin(), whole.bias.end(), [](double b) { return b != 0; })) {
    inputs.push_back(patch.constant(name + ".bias", Tensor::from_doubles({g.out}, whole.bias)));
  }
  if (!image) return patch.node(name, Gemm{.trans_b = true}, std::move(inputs));
  return patch.node(name,
                    Conv2d{.stride = {y.stride, x.stride},
                           .padding = {y.begin, x.begin, y.end, x.end},
                           .dilation = {y.dilation, x.dilation},
                           .groups = g.groups},
                    std::move(inputs));
}

}  // namespace reducenet
