#include "runtime/lower.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "graph/index_shapes.h"
#include "graph/resize.h"
#include "graph/strides.h"
#include "reducenet/error.h"
#include "runtime/moves.h"
#include "runtime/prepare.h"
#include "runtime/refuse.h"
#include "runtime/scale_shift.h"

namespace reducenet {
namespace {

/// [N,C,…] as [N,C,L,1].
Shape as_planes(const Shape& shape) {
  if (shape.size() == 4) return shape;
  return {shape[0], shape[1], std::accumulate(shape.begin() + 2, shape.end(), int64_t{1}, std::multiplies<>()), 1};
}

class Lowering {
 public:
  explicit Lowering(const Graph& graph) : graph_(graph), uses_(graph), buffer_of_(graph.values.size(), -1) {}

  Program operator()() {
    for (const ValueId id : graph_.inputs) {
      const int buffer = make_buffer(id);
      program_.buffers[static_cast<size_t>(buffer)].place = Buffer::Place::input;
      program_.inputs.push_back(buffer);
    }
    for (const Node& node : graph_.nodes) lower(node);
    for (const ValueId id : graph_.outputs) program_.outputs.push_back(read(id).buffer);
    return std::move(program_);
  }

 private:
  const Shape& shape_of(ValueId id) const {
    const Value& value = graph_[id];
    const auto open = [](int64_t d) { return d < 0; };
    if (!value.shape || std::any_of(value.shape->begin(), value.shape->end(), open)) {
      throw Error(ErrorKind::unsupported,
                  "value '" + value.name + "' has a shape known only at run time (export --size fixes the images')");
    }
    return *value.shape;
  }

  int make_buffer(ValueId id) {
    const Value& value = graph_[id];
    if (!is_float(value.dtype)) {
      throw Error(ErrorKind::unsupported,
                  "value '" + value.name + "' is " + std::string(to_string(value.dtype)) + ", not a float");
    }
    Buffer buffer{.name = value.name, .shape = shape_of(id)};
    if (value.constant) {
      const std::vector<float> floats = value.constant->to_floats();
      buffer.constant.assign(floats.begin(), floats.end());
      buffer.place = Buffer::Place::constant;
    }
    program_.buffers.push_back(std::move(buffer));
    return buffer_of_[static_cast<size_t>(id.index)] = static_cast<int>(program_.buffers.size()) - 1;
  }

  Port read(ValueId id) {
    const int made = buffer_of_[static_cast<size_t>(id.index)];
    return {made < 0 ? make_buffer(id) : made, shape_of(id)};
  }

  /// The step that made a value which nothing else reads: its store can take on more.
  Step* fusable(ValueId id) {
    if (!uses_.has_single_use(id)) return nullptr;
    const int buffer = buffer_of_[static_cast<size_t>(id.index)];
    const auto made = std::find_if(program_.steps.begin(), program_.steps.end(),
                                   [&](const Step& step) { return step.output.buffer == buffer; });
    return made == program_.steps.end() ? nullptr : &*made;
  }
  /// A convolution or a matrix product: their kernels have an epilogue.
  static bool has_weights(const Step* step) {
    return step && !step->weight.empty() && !std::holds_alternative<Normalize>(step->op);
  }

  /// The step's output becomes the node's.
  void retarget(Step& step, const Node& node) {
    step.node += "+" + node.name;
    step.output = {make_buffer(node.outputs[0]), step.output.shape};
  }

  Step& append(const Node& node) {
    Step step{.node = node.name, .op = node.op, .output = {make_buffer(node.outputs[0]), shape_of(node.outputs[0])}};
    step.macs = count_macs(graph_, node);
    program_.steps.push_back(std::move(step));
    return program_.steps.back();
  }

  void lower(const Node& node) {
    for (size_t i = 1; i < node.outputs.size() && !std::holds_alternative<SplitAxis>(node.op); ++i) {
      const ValueId extra = node.outputs[i];
      if (extra && (!uses_.consumers_of(extra).empty() || uses_.is_output[static_cast<size_t>(extra.index)])) {
        refuse(node, "only its first output can be computed");
      }
    }
    try {
      std::visit([&](const auto& op) { lower(op, node); }, node.op);
    } catch (const Error& error) {
      if (std::string_view(error.what()).starts_with("node '")) throw;
      throw Error(error.kind(), "node '" + node.name + "' (" + describe(node.op) + "): " + error.what());
    }
  }

  void lower(const Opaque& op, const Node& node) {
    refuse(node, "this op is not one that ReduceNet can execute: " + op.why);
  }
  void lower(const OneOf<Compare, Variadic, Lrn, ArgReduce, Hardmax, TopK, ScatterNd, ShapeOf, ConstantOfShape, Arange,
                         Cast> auto&,
             const Node& node) {
    refuse(node, "the runtime has no kernel for this op");
  }
  void lower(const Identity&, const Node&) {}  // removed before
  void lower(const Dropout&, const Node&) {}   // removed before

  const Tensor& weights(const Node& node, size_t i) const {
    const Tensor* tensor = graph_.constant(node.inputs[i]);
    if (!tensor) refuse(node, "input " + std::to_string(i) + " must be a constant");
    return *tensor;
  }

  template <class Convolution>
  void lower_convolution(const Node& node) {
    const Port x = read(node.inputs[0]);
    if (x.shape.size() != 4) refuse(node, "its input must have 4 dimensions");
    Step& step = append(node);
    step.inputs = {x};
    step.weight = weights(node, 1).to_doubles();
    step.weight_shape = weights(node, 1).shape();
    if (node.inputs.size() > 2 && node.inputs[2]) step.bias = weights(node, 2).to_doubles();
  }
  void lower(const Conv2d&, const Node& node) { lower_convolution<Conv2d>(node); }
  void lower(const ConvTranspose2d&, const Node& node) { lower_convolution<ConvTranspose2d>(node); }

  void lower(const BatchNorm& op, const Node& node) {
    const auto gamma = weights(node, 1).to_doubles(), beta = weights(node, 2).to_doubles();
    const auto mean = weights(node, 3).to_doubles(), variance = weights(node, 4).to_doubles();
    ScaleShift map{gamma, beta};
    for (size_t c = 0; c < gamma.size(); ++c) {
      map.scale[c] /= std::sqrt(variance[c] + op.epsilon);
      map.shift[c] -= mean[c] * map.scale[c];
    }
    scale_shift(map, node, node.inputs[0]);
  }

  /// The layer that made x, if its weights can take on a scale and a shift of its outputs.
  Step* scalable(ValueId x) {
    Step* before = fusable(x);
    if (!has_weights(before) || !before->epilogue.empty()) return nullptr;
    return std::holds_alternative<Conv2d>(before->op) || std::holds_alternative<Gemm>(before->op) ? before : nullptr;
  }
  /// The axis of x along which they lie.
  size_t axis_of_outputs(const Step& layer, ValueId x) const {
    return std::holds_alternative<Gemm>(layer.op) ? shape_of(x).size() - 1 : 1;
  }
  /// s·(w∗x + b) + t = (s·w)∗x + (s·b + t)
  void into_weights(Step& layer, const ScaleShift& map, const Node& node) {
    const size_t channels = map.scale.size(), row = layer.weight.size() / std::max<size_t>(channels, 1);
    for (size_t i = 0; i < layer.weight.size(); ++i) layer.weight[i] *= map.scale[i / row];
    layer.bias.resize(channels);
    for (size_t c = 0; c < channels; ++c) layer.bias[c] = map.scale[c] * layer.bias[c] + map.shift[c];
    retarget(layer, node);
  }

  /// Of the channels: into the weights of the layer before, otherwise as a depthwise 1×1.
  void scale_shift(const ScaleShift& map, const Node& node, ValueId x) {
    Step* before = scalable(x);
    if (before && axis_of_outputs(*before, x) == 1) return into_weights(*before, map, node);
    const size_t channels = map.scale.size();
    const Port from = read(x);
    Step& step = append(node);
    step.op = Conv2d{.groups = static_cast<int64_t>(channels)};
    step.inputs = {{from.buffer, as_planes(from.shape)}};
    step.output.shape = as_planes(step.output.shape);
    step.weight = map.scale;
    step.weight_shape = {static_cast<int64_t>(channels), 1, 1, 1};
    step.bias = map.shift;
  }

  void lower(const Binary& op, const Node& node) {
    const ValueId x = node.inputs[graph_.constant(node.inputs[0]) ? 1 : 0];
    if (Step* before = scalable(x)) {
      const auto map = as_scale_shift(graph_, node, axis_of_outputs(*before, x));
      if (map) return into_weights(*before, *map, node);
    }
    if (const auto map = as_scale_shift(graph_, node)) return scale_shift(*map, node, x);
    const Port a = read(node.inputs[0]), b = read(node.inputs[1]);
    if (op.kind == Binary::Kind::add && a.shape == b.shape && fuse_residual(node)) return;
    append(node).inputs = {a, b};
  }

  /// conv(x) + r: the later of two candidates takes the other as its residual, and runs where the sum stood.
  bool fuse_residual(const Node& node) {
    Step* candidates[] = {fusable(node.inputs[0]), fusable(node.inputs[1])};
    for (Step*& step : candidates) {
      if (!has_weights(step) || !step->epilogue.empty()) step = nullptr;
    }
    const size_t chosen = candidates[1] > candidates[0] ? 1 : 0;
    if (!candidates[chosen]) return false;
    const Port other = read(node.inputs[1 - chosen]);
    const auto at = program_.steps.begin() + (candidates[chosen] - program_.steps.data());
    std::rotate(at, at + 1, program_.steps.end());
    Step& step = program_.steps.back();
    step.inputs.push_back({other.buffer, step.output.shape});
    step.epilogue.residual = static_cast<int>(step.inputs.size()) - 1;
    retarget(step, node);
    return true;
  }

  void lower(const Activation& op, const Node& node) {
    using Kind = Activation::Kind;
    const float infinity = std::numeric_limits<float>::infinity();
    Epilogue epilogue;
    if (op.kind == Kind::relu || op.kind == Kind::relu6) {
      epilogue.low = 0;
      epilogue.high = op.kind == Kind::relu ? infinity : 6;
    } else if (op.kind == Kind::clip) {
      epilogue.low = static_cast<float>(op.alpha);
      epilogue.high = static_cast<float>(op.beta);
    } else {
      epilogue.curve = op;
    }
    activate(epilogue, node);
  }
  void lower(const Fade& op, const Node& node) { activate({.curve = op}, node); }

  void activate(Epilogue epilogue, const Node& node) {
    Step* before = fusable(node.inputs[0]);
    const bool takes = has_weights(before) || (before && std::holds_alternative<Binary>(before->op));
    if (takes && !before->epilogue.bends()) {
      Epilogue& first = before->epilogue;  // a clamp, if anything: then both clamps are one
      for (float* bound : {&first.low, &first.high}) *bound = std::min(std::max(*bound, epilogue.low), epilogue.high);
      first.curve = epilogue.curve;
      return retarget(*before, node);
    }
    if (!epilogue.curve && clamp_before_pool(epilogue, node)) return;
    const Port x = read(node.inputs[0]);
    Step& step = append(node);
    step.inputs = {x};
    step.epilogue = epilogue;
  }

  /// clamp(max x) = max clamp(x), so the layer before the pool clamps its outputs. Not where a window may lie wholly in
  /// the padding, whose maximum is −∞.
  bool clamp_before_pool(const Epilogue& clamp, const Node& node) {
    Step* pool = fusable(node.inputs[0]);
    const auto* op = pool ? std::get_if<MaxPool>(&pool->op) : nullptr;
    if (!op || op->ceil_mode || op->dilation != Size2{1, 1}) return false;
    const Padding& pad = op->padding;
    if (std::max(pad.top, pad.bottom) >= op->kernel[0] || std::max(pad.left, pad.right) >= op->kernel[1]) return false;
    const auto maker = std::find_if(graph_.nodes.begin(), graph_.nodes.end(),
                                    [&](const Node& made) { return made.outputs[0] == node.inputs[0]; });
    Step* layer = fusable(maker->inputs[0]);
    if (!has_weights(layer) || layer->epilogue.has_activation()) return false;
    layer->node += "+" + node.name;
    layer->epilogue.low = clamp.low;
    layer->epilogue.high = clamp.high;
    pool->output = {make_buffer(node.outputs[0]), pool->output.shape};
    return true;
  }

  /// Weights [out][in] against the rows of x, if b is a constant matrix; c must be one value per column.
  bool lower_affine(const Node& node, const Gemm& op) {
    const Tensor* b = graph_.constant(node.inputs[1]);
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2];
    const Tensor* c = has_bias ? graph_.constant(node.inputs[2]) : nullptr;
    const Shape y = shape_of(node.outputs[0]);
    if (!b || b->shape().size() != 2 || op.trans_a || y.empty() || shape_of(node.inputs[0]).size() < 2) return false;
    if (has_bias && (!c || (c->size() != 1 && (c->size() != y.back() || c->shape().back() != y.back())))) return false;
    const int64_t in = b->shape()[op.trans_b ? 1 : 0], out = b->shape()[op.trans_b ? 0 : 1];
    const std::vector<double> stored = b->to_doubles();
    std::vector<double> weight(stored.size());
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        weight[static_cast<size_t>(o * in + i)] =
            op.alpha * stored[static_cast<size_t>(op.trans_b ? o * in + i : i * out + o)];
      }
    }
    const Port x = flattened_source(node.inputs[0]);
    Step& step = append(node);
    step.op = Gemm{.trans_b = true};
    step.inputs = {x};
    step.output.shape = {element_count(y) / std::max<int64_t>(out, 1), out};
    step.weight = std::move(weight);
    step.weight_shape = {out, in};
    if (c) {
      step.bias.assign(static_cast<size_t>(out), 0);
      const std::vector<double> bias = c->to_doubles();
      for (size_t o = 0; o < step.bias.size(); ++o) step.bias[o] = op.beta * bias[bias.size() == 1 ? 0 : o];
    }
    return true;
  }

  /// What a Flatten of [N,C,H,W] to [N,C·H·W] reads, so that no flattened copy is made; x itself otherwise, as rows.
  Port flattened_source(ValueId x) {
    Step* before = fusable(x);
    if (before && (std::holds_alternative<Flatten>(before->op) || std::holds_alternative<Reshape>(before->op))) {
      const Port source = before->inputs[0];
      if (source.shape.size() == 4 && shape_of(x).size() == 2 && source.shape[0] == shape_of(x)[0]) {
        program_.steps.erase(program_.steps.begin() + (before - program_.steps.data()));
        return source;
      }
    }
    Port port = read(x);
    const int64_t columns = port.shape.back();
    port.shape = {element_count(port.shape) / std::max<int64_t>(columns, 1), columns};
    return port;
  }

  void lower(const Gemm& op, const Node& node) {
    if (!lower_affine(node, op)) lower_plainly(node);
  }
  void lower(const MatMul&, const Node& node) {
    if (!lower_affine(node, Gemm{})) lower_plainly(node);
  }

  void lower(const GlobalAveragePool&, const Node& node) { lower_global_pool(node, false); }
  void lower(const GlobalMaxPool&, const Node& node) { lower_global_pool(node, true); }
  void lower_global_pool(const Node& node, bool maximum) {
    Port x = read(node.inputs[0]);
    if (x.shape.size() < 3) refuse(node, "its input must have at least 3 dimensions");
    x.shape = as_planes(x.shape);
    Step& step = append(node);
    step.op = plane_pool(x, maximum);
    step.inputs = {x};
    step.output.shape = {x.shape[0], x.shape[1], 1, 1};
  }
  static Op plane_pool(const Port& x, bool maximum) {
    const Size2 plane{x.shape[2], x.shape[3]};
    return maximum ? Op{MaxPool{.kernel = plane}} : Op{AveragePool{.kernel = plane}};
  }

  /// Means, sums and maxima over the last axes are pools over whole planes; other axes are moved there first.
  void lower(const Reduce& op, const Node& node) {
    using Kind = Reduce::Kind;
    const bool maximum = op.kind == Kind::max;
    if (!maximum && op.kind != Kind::mean && op.kind != Kind::sum) {
      refuse(node, "the runtime has kernels for means, sums and maxima only");
    }
    Port x = read(node.inputs[0]);
    const bool listed = node.inputs.size() > 1 && node.inputs[1];
    const MaybeShape shapes[] = {x.shape, std::nullopt};
    const Tensor* const values[] = {nullptr, listed ? &weights(node, 1) : nullptr};
    const size_t inputs = listed ? 2 : 1;
    const auto reduced = reduced_axes(op, {std::span(shapes).first(inputs), std::span(values).first(inputs)}).value();
    Transpose to_the_end;
    for (const bool last : {false, true}) {
      for (size_t axis = 0; axis < reduced.size(); ++axis) {
        if (reduced[axis] == last) to_the_end.perm.push_back(static_cast<int64_t>(axis));
      }
    }
    if (!std::is_sorted(to_the_end.perm.begin(), to_the_end.perm.end())) {
      Shape moved;
      for (const int64_t axis : to_the_end.perm) moved.push_back(x.shape[static_cast<size_t>(axis)]);
      x = between(node, "moved", to_the_end, {x}, moved);
    }
    const Shape& out = shape_of(node.outputs[0]);
    const int64_t rows = element_count(out), length = element_count(x.shape) / std::max<int64_t>(rows, 1);
    if (length == 0 && rows > 0) refuse(node, "its input has no elements");
    const bool planes = x.shape.size() == 4 && std::count(reduced.begin(), reduced.end(), true) == 2;
    if (!planes) x.shape = {1, rows, length, 1};
    const Shape pooled{x.shape[0], x.shape[1], 1, 1};
    const bool sum = op.kind == Kind::sum, view = out != pooled;
    const auto stage = [&](const char* what, Op does, std::vector<Port> from, bool last) {
      if (!last) return between(node, what, std::move(does), std::move(from), pooled);
      Step& step = append(node);
      step.op = std::move(does);
      step.inputs = std::move(from);
      return step.output;
    };
    Port y = stage("pooled", plane_pool(x, maximum), {x}, !sum && !view);
    if (sum) {
      Buffer count{.name = node.name + ".count", .shape = {1}, .place = Buffer::Place::constant};
      count.constant = {static_cast<float>(length)};
      program_.buffers.push_back(std::move(count));
      const Port times{static_cast<int>(program_.buffers.size()) - 1, {1}};
      y = stage("sum", Binary{Binary::Kind::mul}, {y, times}, !view);
    }
    // The reader may want the planes as they are (see flattened_source).
    if (view) stage("view", Reshape{}, {y}, true);
  }

  /// A step on the way to what the node makes, with a buffer of its own.
  Port between(const Node& node, const std::string& what, Op op, std::vector<Port> inputs, const Shape& shape) {
    program_.buffers.push_back({.name = node.name + "." + what, .shape = shape});
    const Port made{static_cast<int>(program_.buffers.size()) - 1, shape};
    program_.steps.push_back({.node = node.name, .op = std::move(op), .inputs = std::move(inputs), .output = made});
    return made;
  }

  void lower(const AveragePool&, const Node& node) { lower_pool(node); }
  void lower(const MaxPool&, const Node& node) { lower_pool(node); }
  void lower_pool(const Node& node) {
    if (shape_of(node.inputs[0]).size() != 4) refuse(node, "its input must have 4 dimensions");
    lower_plainly(node);
  }

  void lower(const Reshape&, const Node& node) { lower_view(node); }
  void lower(const Flatten&, const Node& node) { lower_view(node); }
  void lower(const Squeeze&, const Node& node) { lower_view(node); }
  void lower_view(const Node& node) {
    const Port x = read(node.inputs[0]);
    Step& step = append(node);
    step.op = Reshape{};
    step.inputs = {x};
  }

  void lower(const OneOf<Slice, SplitAxis, Gather, Repeat, SpaceDepth> auto&, const Node& node) {
    const Port x = read(node.inputs[0]);
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      const ValueId made = node.outputs[k];
      if (!made || (uses_.consumers_of(made).empty() && !uses_.is_output[static_cast<size_t>(made.index)])) continue;
      Step step{.node = node.name, .op = node.op, .inputs = {x}, .output = {make_buffer(made), shape_of(made)}};
      step.table = sources(graph_, node, k);
      program_.steps.push_back(std::move(step));
    }
  }

  void lower(const Where&, const Node& node) {
    std::optional<Choice> chosen = choice(graph_, node);
    if (!chosen) refuse(node, "the runtime chooses by a constant condition between an input and a number only");
    const Port x = read(node.inputs[chosen->input]);
    Step& step = append(node);
    step.inputs = {x};
    step.table = std::move(chosen->sources);
    step.outside = static_cast<float>(chosen->outside);
  }

  /// A scale and a bias for every element of a row (layer) or of a sample, where a channel or a group has one.
  void lower(const Normalize& op, const Node& node) {
    const Port x = read(node.inputs[0]);
    Step& step = append(node);
    step.inputs = {x};
    const bool layer = op.kind == Normalize::Kind::layer, group = op.kind == Normalize::Kind::group;
    const auto from = x.shape.begin() + (layer ? normalised_axis(op.axis, x.shape.size()) : 2);
    const int64_t length = element_count(Shape(from, x.shape.end())) * (group ? x.shape[1] / op.groups : 1);
    const Shape own(layer ? from : x.shape.begin() + 1, x.shape.end());
    step.weight_shape = {element_count(own) / std::max<int64_t>(length, 1), length};
    const auto parameter = [&](size_t i) {
      const Tensor& given = weights(node, i);
      const std::vector<double> values = given.to_doubles();
      const auto each = given.size();
      const Shape to = layer ? own : Shape{each, element_count(own) / std::max<int64_t>(each, 1)};
      std::vector<double> all;
      for_each_index<1>(to, {broadcast_strides(layer ? given.shape() : Shape{each, 1}, to)},
                        [&](int64_t, const auto& at) { all.push_back(values[static_cast<size_t>(at[0])]); });
      return all;
    };
    step.weight = parameter(1);
    if (node.inputs.size() > 2 && node.inputs[2]) step.bias = parameter(2);
  }

  void lower(const Resize&, const Node& node) {
    const Port x = read(node.inputs[0]);
    const Shape& y = shape_of(node.outputs[0]);
    const auto scale = [&](size_t axis) {
      return resize_scale(graph_.constant(node.inputs[2]), axis, x.shape[axis], y[axis]);
    };
    if (x.shape.size() != 4 || scale(0) != 1 || scale(1) != 1) refuse(node, "only height and width can be resized");
    Step& step = append(node);
    step.inputs = {x};
    step.scales = {scale(2), scale(3)};
  }

  void lower(const Unary&, const Node& node) { lower_plainly(node); }

  /// Slopes that differ by channel only go into the store of the layer before.
  void lower(const PRelu&, const Node& node) {
    const Tensor* slope = graph_.constant(node.inputs[1]);
    const Shape& x = shape_of(node.inputs[0]);
    Step* before = fusable(node.inputs[0]);
    const auto values = slope && has_weights(before) && before->output.shape == x && !before->epilogue.has_activation()
                            ? by_channel(*slope, x)
                            : std::nullopt;
    if (!values) return lower_plainly(node);
    before->epilogue.slopes.assign(values->begin(), values->end());
    before->epilogue.slopes.resize(static_cast<size_t>(round_up(x[1], kBlock)));
    retarget(*before, node);
  }
  void lower(const Transpose&, const Node& node) { lower_plainly(node); }
  void lower(const Pad&, const Node& node) { lower_plainly(node); }
  void lower(const Concat&, const Node& node) { lower_plainly(node); }
  void lower(const Softmax&, const Node& node) { lower_plainly(node); }

  void lower_plainly(const Node& node) {
    std::vector<Port> inputs;
    for (const ValueId id : node.inputs) {
      if (id) inputs.push_back(read(id));
    }
    append(node).inputs = std::move(inputs);
  }

  const Graph& graph_;
  Uses uses_;
  std::vector<int> buffer_of_;  // by value index; −1: not made yet
  Program program_;
};

}  // namespace

Program lower(Graph graph, int64_t batch) {
  prepare(graph, batch);
  return Lowering(graph)();
}

}  // namespace reducenet
