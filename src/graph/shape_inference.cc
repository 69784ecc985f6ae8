#include "graph/shape_inference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fades/fades.h"
#include "graph/index_shapes.h"
#include "graph/lines.h"
#include "reducenet/error.h"
#include "reducenet/graph.h"

namespace reducenet {
namespace {

[[noreturn]] void mismatch(const std::string& what) {
  throw Error(ErrorKind::bad_input, what);
}

void require(bool holds, const std::string& what) {
  if (!holds) mismatch(what);
}

bool known(int64_t dim) {
  return dim >= 0;
}

void require_equal(int64_t a, int64_t b, const std::string& what) {
  require(!known(a) || !known(b) || a == b, what + ": " + std::to_string(a) + " against " + std::to_string(b));
}

/// ⌊(size + padding − dilation·(kernel−1) − 1)/stride⌋ + 1, or with ceiling as pools may ask.
int64_t windows(int64_t size, int64_t before, int64_t after, int64_t kernel, int64_t stride, int64_t dilation,
                bool ceiling = false) {
  require(kernel > 0 && stride > 0 && dilation > 0, "kernel, stride and dilation must be positive");
  if (!known(size)) return -1;
  const int64_t room = size + before + after - dilation * (kernel - 1) - 1;
  require(room >= 0, "a kernel of extent " + std::to_string(dilation * (kernel - 1) + 1) + " does not fit a size of " +
                         std::to_string(size + before + after));
  int64_t count = room / stride + 1;
  // A last, partial window must start inside the input or its leading padding.
  if (ceiling && room % stride != 0 && count * stride < size + before) ++count;
  return count;
}

const Shape& image(const MaybeShape& shape) {
  require(shape->size() == 4, "expected an image batch [N, C, H, W], found " + to_string(*shape));
  return *shape;
}

Shape conv_shape(const Conv2d& op, const Shape& x, const Shape& w, const MaybeShape& b) {
  require(w.size() == 4, "the weight must have 4 dimensions, found " + to_string(w));
  require(op.groups > 0 && w[0] % op.groups == 0, "output channels must divide into the groups");
  require_equal(x[1], w[1] * op.groups, "input channels do not match the weight " + to_string(w));
  if (b) require(*b == Shape{w[0]}, "the bias must have one element per output channel, found " + to_string(*b));
  return {x[0], w[0], windows(x[2], op.padding.top, op.padding.bottom, w[2], op.stride[0], op.dilation[0]),
          windows(x[3], op.padding.left, op.padding.right, w[3], op.stride[1], op.dilation[1])};
}

Shape conv_transpose_shape(const ConvTranspose2d& op, const Shape& x, const Shape& w, const MaybeShape& b) {
  require(w.size() == 4, "the weight must have 4 dimensions, found " + to_string(w));
  require(op.groups > 0 && w[0] % op.groups == 0, "input channels must divide into the groups");
  require_equal(x[1], w[0], "input channels do not match the weight " + to_string(w));
  if (b) require(*b == Shape{w[1] * op.groups}, "the bias must have one element per output channel");
  const auto grow = [](int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t extra, int64_t cut) {
    if (!known(size)) return int64_t{-1};
    const int64_t out = stride * (size - 1) + extra + dilation * (kernel - 1) + 1 - cut;
    require(out > 0, "the output would be empty");
    return out;
  };
  return {x[0], w[1] * op.groups,
          grow(x[2], w[2], op.stride[0], op.dilation[0], op.output_padding[0], op.padding.top + op.padding.bottom),
          grow(x[3], w[3], op.stride[1], op.dilation[1], op.output_padding[1], op.padding.left + op.padding.right)};
}

template <class Pool>
Shape pool_shape(const Pool& op, const Shape& x, Size2 dilation) {
  return {x[0], x[1],
          windows(x[2], op.padding.top, op.padding.bottom, op.kernel[0], op.stride[0], dilation[0], op.ceil_mode),
          windows(x[3], op.padding.left, op.padding.right, op.kernel[1], op.stride[1], dilation[1], op.ceil_mode)};
}

Shape gemm_shape(const Gemm& op, const Shape& a, const Shape& b, const MaybeShape& c) {
  require(a.size() == 2 && b.size() == 2, "expected two matrices, found " + to_string(a) + " and " + to_string(b));
  require_equal(a[op.trans_a ? 0 : 1], b[op.trans_b ? 1 : 0], "the inner dimensions differ");
  const Shape out{a[op.trans_a ? 1 : 0], b[op.trans_b ? 0 : 1]};
  if (c) require(broadcast(out, *c).size() == 2, "C " + to_string(*c) + " does not broadcast to " + to_string(out));
  return out;
}

Shape matmul_shape(Shape a, Shape b) {
  require(!a.empty() && !b.empty(), "a scalar cannot be multiplied as a matrix");
  const bool row = a.size() == 1, column = b.size() == 1;
  if (row) a.insert(a.begin(), 1);
  if (column) b.push_back(1);
  require_equal(a.back(), b[b.size() - 2], "the inner dimensions differ");
  Shape out = broadcast({a.begin(), a.end() - 2}, {b.begin(), b.end() - 2});
  if (!row) out.push_back(a[a.size() - 2]);
  if (!column) out.push_back(b.back());
  return out;
}

/// Product of dimensions, −1 when one is unknown.
int64_t product(Shape::const_iterator first, Shape::const_iterator last) {
  if (std::any_of(first, last, [](int64_t dim) { return dim < 0; })) return -1;
  return element_count({first, last});
}

MaybeShape reshape_shape(const Reshape& op, const OpInputs& in) {
  const auto target = in.integers(1);
  if (!target) return std::nullopt;
  const Shape& x = in.shape();
  Shape out = *target;
  std::optional<size_t> inferred;
  if (std::ranges::find(out, kUnknown) != out.end()) {  // only the rank and some dimensions are known
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = out[i] == 0 && !op.allow_zero && i < x.size() ? x[i] : std::max<int64_t>(out[i], -1);
    }
    return out;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == 0 && !op.allow_zero) {
      require(i < x.size(), "the shape copies a dimension that the input does not have");
      out[i] = x[i];
    } else if (out[i] == -1) {
      require(!inferred, "the shape has two dimensions to infer");
      inferred = i;
    } else {
      require(out[i] >= 0, "the shape has a negative dimension");
    }
  }
  // Unknown dimensions that are copied cancel; what remains decides the inferred one.
  int64_t have = 1, want = 1;
  std::vector<bool> copied(x.size());
  bool determined = true;
  for (size_t i = 0; i < out.size(); ++i) {
    if (inferred == i) continue;
    if (known(out[i])) {
      require(!__builtin_mul_overflow(want, out[i], &want), "the shape has too many elements");
    } else {
      copied[i] = true;
    }
  }
  for (size_t i = 0; i < x.size(); ++i) {
    if (known(x[i])) {
      require(!__builtin_mul_overflow(have, x[i], &have), "the input has too many elements");
    } else if (!copied[i]) {
      determined = false;
    }
  }
  if (!determined) return out;
  const std::string what = to_string(x) + " cannot be reshaped to " + to_string(out);
  if (inferred) {
    require(want > 0 ? have % want == 0 : have == 0, what);
    out[*inferred] = want > 0 ? have / want : 0;
  } else {
    require(have == want, what);
  }
  return out;
}

Shape pad_shape(const Pad& op, const Shape& x) {
  require(op.begin.size() == x.size() && op.end.size() == x.size(), "pads do not match the rank of " + to_string(x));
  Shape out = x;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!known(x[i])) continue;
    out[i] = x[i] + op.begin[i] + op.end[i];
    require(out[i] >= 0, "more is cut than there is");
    if (op.mode == Pad::Mode::reflect) {
      require(op.begin[i] < x[i] && op.end[i] < x[i], "reflection needs more elements than it adds");
    }
  }
  return out;
}

Shape concat_shape(const Concat& op, std::span<const MaybeShape> inputs) {
  Shape out = *inputs[0];
  const auto axis = static_cast<size_t>(normalised_axis(op.axis, out.size()));
  for (size_t k = 1; k < inputs.size(); ++k) {
    const Shape& x = *inputs[k];
    require(x.size() == out.size(), "inputs of different rank");
    for (size_t i = 0; i < x.size(); ++i) {
      if (i == axis) {
        out[i] = known(out[i]) && known(x[i]) ? out[i] + x[i] : -1;
      } else {
        require_equal(out[i], x[i], "inputs differ outside the joined axis");
        out[i] = std::max(out[i], x[i]);
      }
    }
  }
  return out;
}

Shape permuted(const Transpose& op, const Shape& x) {
  require(op.perm.size() == x.size(), "the permutation does not match the rank of " + to_string(x));
  Shape out(x.size(), -2);
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t from = op.perm[i];
    require(from >= 0 && from < static_cast<int64_t>(x.size()) && std::count(op.perm.begin(), op.perm.end(), from) == 1,
            "not a permutation");
    out[i] = x[static_cast<size_t>(from)];
  }
  return out;
}

Shape batch_norm_shape(std::span<const MaybeShape> inputs) {
  const Shape& x = *inputs[0];
  require(x.size() >= 2, "expected [N, C, …], found " + to_string(x));
  for (size_t i = 1; i < 5; ++i) {
    if (!inputs[i]) continue;
    require(inputs[i]->size() == 1, "a parameter has shape " + to_string(*inputs[i]));
    require_equal((*inputs[i])[0], x[1], "a parameter does not have one element per channel");
  }
  return x;
}

/// Inputs that must be there; every one of Concat's and Variadic's.
size_t fewest_inputs(const Op& op, size_t given) {
  return std::visit(
      Overloaded{
          [](const OneOf<Opaque> auto&) { return size_t{0}; },
          [&](const OneOf<Concat, Variadic> auto&) { return std::max<size_t>(given, 1); },
          [](const OneOf<Conv2d, ConvTranspose2d, Gemm, MatMul, Binary, PRelu, Reshape, Compare, Gather, Repeat,
                         TopK> auto&) { return size_t{2}; },
          [](const OneOf<Where, ScatterNd, Arange> auto&) { return size_t{3}; },
          [](const Normalize& o) { return size_t{o.kind == Normalize::Kind::layer ? 2u : 3u}; },
          [](const Fade& o) { return find_fade(o.kind).inputs; },
          [](const BatchNorm&) { return size_t{5}; },
          [](const OneOf<Unary, Activation, AveragePool, MaxPool, GlobalAveragePool, Flatten, Transpose, Pad, Softmax,
                         Identity, Dropout, GlobalMaxPool, Lrn, Reduce, ArgReduce, Hardmax, Slice, SplitAxis, Squeeze,
                         SpaceDepth, Resize, ShapeOf, ConstantOfShape, Cast> auto&) { return size_t{1}; },
      },
      op);
}

Shape one_per_channel(const Shape& x) {
  require(x.size() >= 2, "expected [N, C, …], found " + to_string(x));
  Shape shape(x.size(), 1);
  std::copy_n(x.begin(), 2, shape.begin());
  return shape;
}

/// Shape of the first output; `in` has every input that the op needs.
MaybeShape first_shape(const Op& op, const OpInputs& in) {
  const auto optional_input = [&](size_t i) { return i < in.shapes.size() ? in.shapes[i] : std::nullopt; };
  const auto along = [&](int64_t axis) {
    normalised_axis(axis, in.shape().size());
    return in.shape();
  };
  return std::visit(
      Overloaded{
          [&](const Conv2d& o) -> MaybeShape {
            return conv_shape(o, image(in.shapes[0]), in.shape(1), optional_input(2));
          },
          [&](const ConvTranspose2d& o) -> MaybeShape {
            return conv_transpose_shape(o, image(in.shapes[0]), in.shape(1), optional_input(2));
          },
          [&](const BatchNorm&) -> MaybeShape { return batch_norm_shape(in.shapes); },
          [&](const Gemm& o) -> MaybeShape { return gemm_shape(o, in.shape(0), in.shape(1), optional_input(2)); },
          [&](const MatMul&) -> MaybeShape { return matmul_shape(in.shape(0), in.shape(1)); },
          [&](const OneOf<Binary, Compare> auto&) -> MaybeShape { return broadcast(in.shape(0), in.shape(1)); },
          [&](const OneOf<Where, Variadic> auto&) -> MaybeShape {
            Shape out = in.shape();
            for (size_t i = 1; i < in.shapes.size(); ++i) out = broadcast(out, in.shape(i));
            return out;
          },
          [&](const PRelu&) -> MaybeShape {
            require(broadcast(in.shape(0), in.shape(1)).size() == in.shape().size(),
                    "the slope has too many dimensions");
            return in.shape();
          },
          [&](const AveragePool& o) -> MaybeShape {
            return pool_shape(o, image(in.shapes[0]), {1, 1});
          },
          [&](const MaxPool& o) -> MaybeShape { return pool_shape(o, image(in.shapes[0]), o.dilation); },
          [&](const OneOf<GlobalAveragePool, GlobalMaxPool> auto&) -> MaybeShape {
            return one_per_channel(in.shape());
          },
          [&](const Lrn& o) -> MaybeShape {
            require(o.size > 0, "the size must be positive");
            one_per_channel(in.shape());
            return in.shape();
          },
          [&](const Flatten& o) -> MaybeShape {
            const Shape& x = in.shape();
            const int64_t axis = normalised_axis(o.axis, x.size(), true);
            return Shape{product(x.begin(), x.begin() + axis), product(x.begin() + axis, x.end())};
          },
          [&](const Reshape& o) -> MaybeShape { return reshape_shape(o, in); },
          [&](const Transpose& o) -> MaybeShape { return permuted(o, in.shape()); },
          [&](const Pad& o) -> MaybeShape { return pad_shape(o, in.shape()); },
          [&](const Concat& o) -> MaybeShape { return concat_shape(o, in.shapes); },
          [&](const OneOf<Softmax, Hardmax> auto& o) -> MaybeShape { return along(o.axis); },
          [&](const Fade&) -> MaybeShape {
            return in.shapes.size() > 1 ? broadcast(in.shape(0), in.shape(1)) : in.shape();
          },
          [&](const OneOf<Unary, Activation, Identity, Dropout, Cast> auto&) -> MaybeShape { return in.shape(); },
          [&](const OneOf<Normalize, Reduce, ArgReduce, TopK, Slice, Gather, ScatterNd, Squeeze, Repeat, SpaceDepth,
                          Resize, ShapeOf, ConstantOfShape, Arange> auto& o) { return shape_of(o, in); },
          [](const OneOf<SplitAxis, Opaque> auto&) -> MaybeShape { return std::nullopt; },
      },
      op);
}

}  // namespace

std::vector<std::optional<Shape>> output_shapes(const Op& op, std::span<const std::optional<Shape>> inputs,
                                                std::span<const Tensor* const> constants, size_t outputs) {
  std::vector<std::optional<Shape>> out(outputs);
  if (std::holds_alternative<Opaque>(op) || outputs == 0) return out;
  const size_t needed = fewest_inputs(op, inputs.size());
  require(inputs.size() >= needed, "needs " + std::to_string(needed) + " inputs, has " + std::to_string(inputs.size()));
  const OpInputs in{inputs, constants};
  const bool of_numbers = std::holds_alternative<ConstantOfShape>(op) || std::holds_alternative<Arange>(op);
  for (size_t i = 0; i < (of_numbers ? 0 : needed); ++i) {
    if (!inputs[i]) return out;  // unknown so far
  }
  if (const auto* split = std::get_if<SplitAxis>(&op)) return part_shapes(*split, in, outputs);
  out[0] = first_shape(op, in);
  const bool second = std::holds_alternative<Dropout>(op) || std::holds_alternative<TopK>(op);
  if (second && outputs > 1) out[1] = out[0];  // the mask; the indices
  const auto* norm = std::get_if<Normalize>(&op);
  for (size_t i = 1; norm && i < outputs; ++i) {
    out[i] = *inputs[0];
    std::fill(out[i]->begin() + normalised_axis(norm->axis, out[i]->size()), out[i]->end(), 1);
  }
  return out;
}

DType output_dtype(const Op& op, std::span<const DType> inputs, size_t output) {
  const DType first = inputs.empty() ? DType::f32 : inputs[0];
  return std::visit(
      Overloaded{
          [](const OneOf<ArgReduce, ShapeOf> auto&) { return DType::i64; },
          [](const Compare&) { return DType::boolean; },
          [&](const Unary& o) { return o.kind == Unary::Kind::is_nan ? DType::boolean : first; },
          [&](const Where&) { return inputs.size() > 1 ? inputs[1] : first; },
          [](const ConstantOfShape& o) { return o.dtype; },
          [](const Cast& o) { return o.to; },
          [&](const TopK&) { return output == 0 ? first : DType::i64; },
          [&](const Dropout&) { return output == 0 ? first : DType::boolean; },
          [&](const OneOf<Conv2d, ConvTranspose2d, BatchNorm, Gemm, MatMul, Binary, Activation, PRelu, Fade,
                          AveragePool, MaxPool, GlobalAveragePool, Flatten, Reshape, Transpose, Pad, Concat, Softmax,
                          Identity, Opaque, Variadic, GlobalMaxPool, Lrn, Normalize, Reduce, Hardmax, Slice, SplitAxis,
                          Gather, ScatterNd, Squeeze, Repeat, SpaceDepth, Resize, Arange> auto&) { return first; },
      },
      op);
}

ShapeInference::ShapeInference(Graph& graph, bool lines) : graph_(graph), lines_(lines) {
  for (Value& value : graph.values) {
    if (!value.constant) continue;
    value.shape = value.constant->shape();
    value.dtype = value.constant->dtype();
  }
}

void ShapeInference::visit(const Node& node) {
  std::vector<std::optional<Shape>> shapes;
  std::vector<const Tensor*> values;
  std::vector<DType> dtypes;
  for (const ValueId id : node.inputs) {
    shapes.push_back(id ? graph_[id].shape : std::nullopt);
    values.push_back(value_of(id));
    dtypes.push_back(id ? graph_[id].dtype : DType::f32);
  }
  const bool line = lines_ && slides(node.op) && is_line(shapes[0]);
  for (std::optional<Shape>& shape : shapes) {
    if (line && shape) shape = with_row(*shape);
  }
  std::vector<std::optional<Shape>> made = output_shapes(node.op, shapes, values, node.outputs.size());
  if (line && made[0]) made[0] = without_row(*made[0]);
  for (size_t i = 0; i < made.size(); ++i) {
    const ValueId id = node.outputs[i];
    if (!id) continue;
    if (!std::holds_alternative<Opaque>(node.op)) graph_[id].dtype = output_dtype(node.op, dtypes, i);
    if (made[i]) graph_[id].shape = std::move(made[i]);
  }
  if (const auto* shape = std::get_if<ShapeOf>(&node.op)) {
    add_shape(*shape, node);
  } else {
    add_value(node, values);
  }
}

const Tensor* ShapeInference::value_of(ValueId id) const {
  if (const Tensor* constant = graph_.constant(id)) return constant;
  const auto found = known_.find(id.index);
  return found == known_.end() ? nullptr : &found->second;
}

void ShapeInference::add_shape(const ShapeOf& op, const Node& node) {
  const auto& x = graph_[node.inputs[0]].shape;
  if (!x) return;
  const Tensor sizes = numbers_of(op, *x);
  std::vector<double> numbers = sizes.to_doubles();
  for (double& n : numbers) n = n < 0 ? std::numeric_limits<double>::quiet_NaN() : n;
  known_[node.outputs[0].index] = Tensor::from_doubles(sizes.shape(), numbers);
}

/// Arithmetic in which a NaN, a number not known, leads to NaN.
bool carries_unknown(const Op& op) {
  const auto* binary = std::get_if<Binary>(&op);
  return (binary && binary->kind <= Binary::Kind::div) || std::holds_alternative<Gather>(op) ||
         std::holds_alternative<Concat>(op) || std::holds_alternative<Slice>(op) ||
         std::holds_alternative<Squeeze>(op) || std::holds_alternative<Cast>(op) ||
         std::holds_alternative<Identity>(op) || std::holds_alternative<Reshape>(op);
}

void ShapeInference::add_value(const Node& node, std::span<const Tensor* const> values) {
  constexpr int64_t kMost = 64;  // elements: more than any shape has
  if (node.inputs.empty() || node.outputs.size() != 1 || std::holds_alternative<Opaque>(node.op)) return;
  const auto& shape = graph_[node.outputs[0]].shape;
  const bool small = shape && std::ranges::all_of(*shape, known) &&
                     std::ranges::all_of(*shape, [](int64_t dim) { return dim <= kMost; }) &&
                     element_count(*shape) <= kMost;
  if (!small) return;
  Graph part;
  Node copy = node;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!node.inputs[i]) continue;
    if (!values[i] || values[i]->size() > kMost) return;
    const auto numbers = is_float(values[i]->dtype()) ? values[i]->to_doubles() : std::vector<double>();
    const bool complete = std::ranges::none_of(numbers, [](double v) { return std::isnan(v); });
    const bool index = i > 0 && (reads_value(node.op, i) || std::holds_alternative<Gather>(node.op));
    if (!complete && (index || !carries_unknown(node.op))) return;
    Value value{.name = std::to_string(i), .dtype = graph_[node.inputs[i]].dtype, .shape = values[i]->shape()};
    value.constant = *values[i];
    copy.inputs[i] = part.add_value(std::move(value));
  }
  copy.outputs = {part.add_value({.name = "y", .dtype = graph_[node.outputs[0]].dtype})};
  part.outputs = copy.outputs;
  part.nodes.push_back(std::move(copy));
  try {
    known_[node.outputs[0].index] = evaluate(part, {})[0];
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
  }
}

void infer_shapes(Graph& graph) {
  ShapeInference inference(graph);
  for (const Node& node : graph.nodes) {
    try {
      inference.visit(node);
    } catch (const Error& error) {
      throw Error(error.kind(), "node '" + node.name + "' (" + describe(node.op) + "): " + error.what());
    }
  }
}

}  // namespace reducenet
