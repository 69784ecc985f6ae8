#include "formats/onnx/table.h"

#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include "graph/lines.h"
#include "reducenet/error.h"

// Each operator: how it is read, how it is written. References are to
// https://github.com/onnx/onnx/blob/main/docs/Operators.md and Changelog.md.

namespace reducenet {
namespace {

constexpr size_t kAny = std::numeric_limits<size_t>::max();

Op read_conv(NodeReader& r) {
  Conv2d op;
  op.stride = r.pair("strides", 1);
  op.dilation = r.pair("dilations", 1);
  op.groups = r.integer("group", 1);
  op.padding = r.padding(r.kernel(1), op.stride, op.dilation);
  return op;
}

void write(const Conv2d& op, NodeWriter& w) {
  auto& node = w.emit("Conv");
  set(node, "strides", w.along(op.stride));
  set(node, "pads", w.along(op.padding));
  set(node, "dilations", w.along(op.dilation));
  set(node, "group", op.groups);
}

/// Pads a transposed convolution so that its output has the attribute output_shape, or, without, as many times its
/// input's size as its stride; the odd element at the end (`upper`) or at the beginning.
void pad_to_size(NodeReader& r, ConvTranspose2d& op, const Size2& kernel, bool upper) {
  const bool to_size = r.integers("output_shape").has_value();
  const Size2 wanted = to_size ? r.pair("output_shape", 1) : Size2{};
  const std::optional<Shape> x = r.shape(0);
  r.integers("pads");  // of no account then
  Size2 less{}, more{};
  for (size_t axis = 0; axis < 2; ++axis) {
    const bool known = x && x->size() >= 3 && (is_line(x) || x->size() == 4);
    const int64_t size = is_line(x) && axis == 0 ? 1 : known ? (*x)[x->size() - 2 + axis] : -1;
    if (to_size && size < 1) return r.refuse("output_shape, and height or width not known");
    const int64_t extent = op.dilation[axis] * (kernel[axis] - 1) + 1, stride = op.stride[axis];
    const int64_t total = (to_size ? stride * (size - 1) - wanted[axis] : -stride) + extent + op.output_padding[axis];
    if (total < 0 && (!to_size || -total >= stride)) return r.refuse("an output beyond what its kernel reaches");
    if (total < 0) op.output_padding[axis] -= total;
    if (r.opset() < 11 && total % 2 != 0) r.refuse("an odd element to leave out, before operator set 11 says where");
    less[axis] = std::max<int64_t>(total, 0) / 2;
    more[axis] = std::max<int64_t>(total, 0) - less[axis];
  }
  op.padding = upper ? Padding{less[0], less[1], more[0], more[1]} : Padding{more[0], more[1], less[0], less[1]};
}

Op read_conv_transpose(NodeReader& r) {
  ConvTranspose2d op;
  op.stride = r.pair("strides", 1);
  op.dilation = r.pair("dilations", 1);
  op.output_padding = r.pair("output_padding", 0);
  op.groups = r.integer("group", 1);
  const Size2 kernel = r.kernel(1);
  const std::string automatic = r.text("auto_pad", "NOTSET");
  if (automatic.starts_with("SAME") || r.integers("output_shape")) {
    pad_to_size(r, op, kernel, automatic == "SAME_UPPER");
  } else {
    op.padding = r.padding(kernel, {1, 1}, op.dilation);
  }
  return op;
}

void write(const ConvTranspose2d& op, NodeWriter& w) {
  auto& node = w.emit("ConvTranspose");
  set(node, "strides", w.along(op.stride));
  set(node, "pads", w.along(op.padding));
  set(node, "dilations", w.along(op.dilation));
  set(node, "output_padding", w.along(op.output_padding));
  set(node, "group", op.groups);
}

/// By the statistics of a batch of one, the instance normalisation of the first three inputs. Exporters write the
/// standardised kernels of BiT and the NFNets so; of an image it would mean a network that was not ready for export.
Op read_norm_of_kernel(NodeReader& r) {
  const std::optional<Shape> shape = r.shape(0);
  if (!r.constant(0) || shape->size() < 3 || shape->front() != 1 || r.uses_more_outputs()) {
    r.refuse("it uses the statistics of the batch (training mode): " + std::string(kExportForInference));
  }
  r.keep(3);
  return Normalize{.kind = Normalize::Kind::instance, .epsilon = r.real("epsilon", 1e-5f)};
}

// ONNX: running ← momentum·running + (1−momentum)·batch.
Op read_batch_norm(NodeReader& r) {
  BatchNorm op;
  op.epsilon = r.real("epsilon", 1e-5f);
  op.momentum = 1 - r.real("momentum", 0.9f);
  if (r.opset() < 9 && r.integer("spatial", 1) == 0) r.refuse("statistics for each position (spatial = 0)");
  const bool training = r.opset() < 14 ? r.names_more_outputs() : r.integer("training_mode", 0) != 0;
  return training ? read_norm_of_kernel(r) : op;
}

void write(const BatchNorm& op, NodeWriter& w) {
  auto& node = w.emit("BatchNormalization");
  set(node, "epsilon", op.epsilon);
  set(node, "momentum", 1 - op.momentum);
}

Op read_gemm(NodeReader& r) {
  return Gemm{r.real("alpha", 1), r.real("beta", 1), r.integer("transA", 0) != 0, r.integer("transB", 0) != 0};
}

void write(const Gemm& op, NodeWriter& w) {
  const bool no_c = w.input(2).empty();
  if (no_c && w.opset() < 11) w.refuse("Gemm needs its third input before operator set 11");
  auto& node = w.emit("Gemm");
  set(node, "alpha", op.alpha);
  set(node, "beta", op.beta);
  set(node, "transA", int64_t{op.trans_a});
  set(node, "transB", int64_t{op.trans_b});
}

/// The kind whose name is the node's type.
template <class O>
Op read_kind(NodeReader& r) {
  O op;
  op.kind = {};
  while (name_of(Op(op)) != r.type()) op.kind = static_cast<O::Kind>(static_cast<int>(op.kind) + 1);
  return op;
}

/// Two inputs make a Binary, other numbers a Variadic.
Op read_extremum(NodeReader& r) {
  return r.inputs().size() == 2 ? read_kind<Binary>(r) : read_kind<Variadic>(r);
}

Op read_mod(NodeReader& r) {
  const bool fmod = r.integer("fmod", 0) != 0;
  if (!fmod && is_float(r.dtype(0))) r.refuse("the sign of a remainder of floats is not defined");
  return Binary{fmod ? Binary::Kind::fmod : Binary::Kind::mod};
}

void write_binary(const Op& op, NodeWriter& w) {
  auto& node = w.emit(name_of(op));
  if (const auto* binary = std::get_if<Binary>(&op); binary && binary->kind == Binary::Kind::fmod) {
    set(node, "fmod", int64_t{1});
  }
}

Op read_average_pool(NodeReader& r) {
  AveragePool op;
  op.kernel = r.kernel();
  op.stride = r.pair("strides", 1);
  op.ceil_mode = r.integer("ceil_mode", 0) != 0;
  op.count_include_pad = r.integer("count_include_pad", 0) != 0;
  if (r.pair("dilations", 1) != Size2{1, 1}) r.refuse("dilated averaging");
  op.padding = r.padding(op.kernel, op.stride, {1, 1});
  return op;
}

void write(const AveragePool& op, NodeWriter& w) {
  if (op.ceil_mode && w.opset() < 10) w.refuse("ceil_mode needs operator set 10");
  auto& node = w.emit("AveragePool");
  set(node, "kernel_shape", w.along(op.kernel));
  set(node, "strides", w.along(op.stride));
  set(node, "pads", w.along(op.padding));
  if (op.ceil_mode) set(node, "ceil_mode", int64_t{1});
  if (op.count_include_pad) set(node, "count_include_pad", int64_t{1});
}

Op read_max_pool(NodeReader& r) {
  MaxPool op;
  op.kernel = r.kernel();
  op.stride = r.pair("strides", 1);
  op.dilation = r.pair("dilations", 1);
  op.ceil_mode = r.integer("ceil_mode", 0) != 0;
  r.integer("storage_order", 0);  // concerns the second output only
  op.padding = r.padding(op.kernel, op.stride, op.dilation);
  return op;
}

void write(const MaxPool& op, NodeWriter& w) {
  if ((op.ceil_mode || op.dilation != Size2{1, 1}) && w.opset() < 10) {
    w.refuse("ceil_mode and dilations need operator set 10");
  }
  auto& node = w.emit("MaxPool");
  set(node, "kernel_shape", w.along(op.kernel));
  set(node, "strides", w.along(op.stride));
  set(node, "pads", w.along(op.padding));
  if (op.dilation != Size2{1, 1}) set(node, "dilations", w.along(op.dilation));
  if (op.ceil_mode) set(node, "ceil_mode", int64_t{1});
}

Op read_flatten(NodeReader& r) {
  return Flatten{r.integer("axis", 1)};
}

void write(const Flatten& op, NodeWriter& w) {
  set(w.emit("Flatten"), "axis", op.axis);
}

Op read_reshape(NodeReader& r) {
  return Reshape{r.integer("allowzero", 0) != 0};
}

void write(const Reshape& op, NodeWriter& w) {
  if (op.allow_zero && w.opset() < 14) w.refuse("allowzero needs operator set 14");
  auto& node = w.emit("Reshape");
  if (op.allow_zero) set(node, "allowzero", int64_t{1});
}

Op read_transpose(NodeReader& r) {
  if (const auto perm = r.integers("perm")) return Transpose{*perm};
  const std::optional<Shape> shape = r.shape(0);
  if (!shape) r.refuse("the rank is not known");
  std::vector<int64_t> perm(shape ? shape->size() : 0);
  std::iota(perm.rbegin(), perm.rend(), 0);
  return Transpose{perm};
}

void write(const Transpose& op, NodeWriter& w) {
  set(w.emit("Transpose"), "perm", op.perm);
}

Op read_concat(NodeReader& r) {
  return Concat{r.integer("axis", 1)};
}

void write(const Concat& op, NodeWriter& w) {
  set(w.emit("Concat"), "axis", op.axis);
}

/// Before operator set 13 everything from `axis` on is normalised together; the same when that is one dimension.
bool is_last_axis(int64_t axis, const std::optional<Shape>& shape) {
  if (!shape) return false;
  const auto rank = static_cast<int64_t>(shape->size());
  for (int64_t i = axis < 0 ? axis + rank + 1 : axis + 1; i < rank; ++i) {
    if (i < 0 || (*shape)[static_cast<size_t>(i)] != 1) return false;
  }
  return true;
}

Op read_softmax(NodeReader& r) {
  const bool joint = r.opset() < 13;
  int64_t axis = r.integer("axis", joint ? 1 : -1);
  if (joint && !is_last_axis(axis, r.shape(0))) {
    r.refuse("it normalises several axes together");
  } else if (joint && axis < 0) {
    axis += static_cast<int64_t>(r.shape(0)->size());
  }
  return Softmax{axis, r.type() == "LogSoftmax"};
}

Op read_hardmax(NodeReader& r) {
  return Hardmax{std::get<Softmax>(read_softmax(r)).axis};
}

template <class O>
void write_along_axis(const O& op, NodeWriter& w) {
  if (w.opset() < 13 && !is_last_axis(op.axis, w.shape(0))) w.refuse("an inner axis needs operator set 13");
  const bool from_end = w.opset() < 13 && op.axis < 0;
  const int64_t rank = from_end ? static_cast<int64_t>(w.shape(0)->size()) : 0;
  set(w.emit(name_of(op)), "axis", op.axis + rank);
}
void write(const Softmax& op, NodeWriter& w) {
  write_along_axis(op, w);
}
void write(const Hardmax& op, NodeWriter& w) {
  write_along_axis(op, w);
}

Op read_dropout(NodeReader& r) {
  Dropout op;
  if (r.opset() < 12) {
    op.ratio = r.real("ratio", 0.5);
  } else {
    op.ratio = r.fold_scalar(1, 0.5);
    op.training = r.fold_scalar(2, 0) != 0;
    r.integer("seed", 0);
  }
  r.keep(1);
  r.allow_outputs(2);
  return op;
}

void write(const Dropout& op, NodeWriter& w) {
  if (w.opset() < 12) {
    if (op.training) w.refuse("Dropout in training mode needs operator set 12");
    set(w.emit("Dropout"), "ratio", op.ratio);
    return;
  }
  std::vector<std::string> inputs = w.inputs();
  inputs.push_back(w.constant("ratio", Tensor::filled({}, op.ratio)));
  if (op.training) inputs.push_back(w.constant("training_mode", Tensor::filled({}, 1, DType::boolean)));
  w.emit("Dropout", inputs);
}

Op read_scatter_nd(NodeReader& r) {
  if (const std::string how = r.text("reduction", "none"); how != "none") r.refuse("reduction is " + how);
  return ScatterNd{};
}

/// An operator without attributes.
template <class O>
Op read_plain(NodeReader&) {
  return O{};
}
void write_plain(const Op& op, NodeWriter& w) {
  w.emit(name_of(op));
}

template <class O>
void write_as(const Op& op, NodeWriter& w) {
  write(std::get<O>(op), w);
}

constexpr OnnxOp kTable[] = {
    {"Conv", 1, 2, 3, true, read_conv, write_as<Conv2d>},
    {"ConvTranspose", 1, 2, 3, true, read_conv_transpose, write_as<ConvTranspose2d>},
    {"BatchNormalization", 7, 5, 5, true, read_batch_norm, write_as<BatchNorm>},
    {"Gemm", 7, 2, 3, true, read_gemm, write_as<Gemm>},
    {"MatMul", 1, 2, 2, true, read_plain<MatMul>, write_plain},
    {"Add", 7, 2, 2, false, read_kind<Binary>, write_plain},
    {"Sub", 7, 2, 2, false, read_kind<Binary>, write_plain},
    {"Mul", 7, 2, 2, false, read_kind<Binary>, write_plain},
    {"Div", 7, 2, 2, false, read_kind<Binary>, write_plain},
    {"Pow", 7, 2, 2, false, read_kind<Binary>, write_plain},
    {"Mod", 10, 2, 2, false, read_mod, write_binary},
    {"Min", 8, 1, kAny, false, read_extremum, write_plain},
    {"Max", 8, 1, kAny, false, read_extremum, write_plain},
    {"Sum", 8, 1, kAny, true, read_kind<Variadic>, write_plain},
    {"Mean", 8, 1, kAny, true, read_kind<Variadic>, write_plain},
    {"Equal", 7, 2, 2, false, read_kind<Compare>, write_plain},
    {"Less", 7, 2, 2, false, read_kind<Compare>, write_plain},
    {"LessOrEqual", 12, 2, 2, false, read_kind<Compare>, write_plain},
    {"Greater", 7, 2, 2, false, read_kind<Compare>, write_plain},
    {"GreaterOrEqual", 12, 2, 2, false, read_kind<Compare>, write_plain},
    {"And", 7, 2, 2, false, read_kind<Compare>, write_plain},
    {"Or", 7, 2, 2, false, read_kind<Compare>, write_plain},
    {"Xor", 7, 2, 2, false, read_kind<Compare>, write_plain},
    {"Where", 9, 3, 3, false, read_plain<Where>, write_plain},
    {"Neg", 6, 1, 1, false, read_kind<Unary>, write_plain},
    {"Abs", 6, 1, 1, false, read_kind<Unary>, write_plain},
    {"Exp", 6, 1, 1, true, read_kind<Unary>, write_plain},
    {"Log", 6, 1, 1, true, read_kind<Unary>, write_plain},
    {"Sqrt", 6, 1, 1, true, read_kind<Unary>, write_plain},
    {"Reciprocal", 6, 1, 1, true, read_kind<Unary>, write_plain},
    {"Erf", 9, 1, 1, true, read_kind<Unary>, write_plain},
    {"Floor", 6, 1, 1, true, read_kind<Unary>, write_plain},
    {"Ceil", 6, 1, 1, true, read_kind<Unary>, write_plain},
    {"Round", 11, 1, 1, true, read_kind<Unary>, write_plain},
    {"Sign", 9, 1, 1, false, read_kind<Unary>, write_plain},
    {"Sin", 7, 1, 1, true, read_kind<Unary>, write_plain},
    {"Cos", 7, 1, 1, true, read_kind<Unary>, write_plain},
    {"Tan", 7, 1, 1, true, read_kind<Unary>, write_plain},
    {"Asin", 7, 1, 1, true, read_kind<Unary>, write_plain},
    {"Acos", 7, 1, 1, true, read_kind<Unary>, write_plain},
    {"Atan", 7, 1, 1, true, read_kind<Unary>, write_plain},
    {"Sinh", 9, 1, 1, true, read_kind<Unary>, write_plain},
    {"Cosh", 9, 1, 1, true, read_kind<Unary>, write_plain},
    {"Asinh", 9, 1, 1, true, read_kind<Unary>, write_plain},
    {"Acosh", 9, 1, 1, true, read_kind<Unary>, write_plain},
    {"Atanh", 9, 1, 1, true, read_kind<Unary>, write_plain},
    {"Not", 1, 1, 1, false, read_kind<Unary>, write_plain},
    {"IsNaN", 9, 1, 1, true, read_kind<Unary>, write_plain},
    {"Relu", 6, 1, 1, true, read_activation, write_activation},
    {"LeakyRelu", 6, 1, 1, true, read_activation, write_activation},
    {"Elu", 6, 1, 1, true, read_activation, write_activation},
    {"Selu", 6, 1, 1, true, read_activation, write_activation},
    {"Sigmoid", 6, 1, 1, true, read_activation, write_activation},
    {"Tanh", 6, 1, 1, true, read_activation, write_activation},
    {"Softplus", 1, 1, 1, true, read_activation, write_activation},
    {"Softsign", 1, 1, 1, true, read_activation, write_activation},
    {"HardSigmoid", 6, 1, 1, true, read_activation, write_activation},
    {"Clip", 6, 1, 3, false, read_activation, write_activation},
    {"HardSwish", 14, 1, 1, true, read_activation, write_activation},
    {"Mish", 18, 1, 1, true, read_activation, write_activation},
    {"Gelu", 20, 1, 1, true, read_activation, write_activation},
    {"Swish", 24, 1, 1, true, read_activation, write_activation},
    {"GeluTanh", 1, 1, 1, true, nullptr, write_activation},
    {"Relu6", 1, 1, 1, true, nullptr, write_activation},
    {"Bytes", 1, 1, 1, true, nullptr, write_activation},
    {"Silu", 1, 1, 1, true, nullptr, write_activation},
    {"Fade", 1, 1, 1, true, nullptr, write_fade},
    {"PRelu", 7, 2, 2, true, read_plain<PRelu>, write_plain},
    {"AveragePool", 1, 1, 1, true, read_average_pool, write_as<AveragePool>},
    {"MaxPool", 1, 1, 1, true, read_max_pool, write_as<MaxPool>},
    {"GlobalAveragePool", 1, 1, 1, true, read_plain<GlobalAveragePool>, write_plain},
    {"Flatten", 1, 1, 1, false, read_flatten, write_as<Flatten>},
    {"Reshape", 5, 2, 2, false, read_reshape, write_as<Reshape>},
    {"Transpose", 1, 1, 1, false, read_transpose, write_as<Transpose>},
    {"Pad", 2, 1, 4, false, read_pad, write_as<Pad>},
    {"Concat", 4, 1, kAny, false, read_concat, write_as<Concat>},
    {"Softmax", 1, 1, 1, true, read_softmax, write_as<Softmax>},
    {"LogSoftmax", 1, 1, 1, true, read_softmax, write_as<Softmax>},
    {"Hardmax", 1, 1, 1, true, read_hardmax, write_as<Hardmax>},
    {"GlobalMaxPool", 1, 1, 1, true, read_plain<GlobalMaxPool>, write_plain},
    {"LRN", 1, 1, 1, true, read_lrn, write_as<Lrn>},
    {"LayerNormalization", 17, 2, 3, true, read_normalize, write_as<Normalize>},
    {"InstanceNormalization", 6, 3, 3, true, read_normalize, write_as<Normalize>},
    {"GroupNormalization", 18, 3, 3, true, read_normalize, write_as<Normalize>},
    {"RMSNormalization", 23, 2, 2, true, read_rms_norm, nullptr},
    {"Einsum", 12, 1, kAny, true, read_einsum, nullptr},
    {"Attention", 23, 3, 7, true, read_attention, nullptr},
    {"ReduceSum", 1, 1, 2, false, read_reduce, write_as<Reduce>},
    {"ReduceMean", 1, 1, 2, true, read_reduce, write_as<Reduce>},
    {"ReduceMin", 1, 1, 2, false, read_reduce, write_as<Reduce>},
    {"ReduceMax", 1, 1, 2, false, read_reduce, write_as<Reduce>},
    {"ReduceProd", 1, 1, 2, false, read_reduce, write_as<Reduce>},
    {"ReduceL1", 1, 1, 2, false, read_reduce, write_as<Reduce>},
    {"ReduceL2", 1, 1, 2, true, read_reduce, write_as<Reduce>},
    {"ReduceSumSquare", 1, 1, 2, false, read_reduce, write_as<Reduce>},
    {"ReduceLogSum", 1, 1, 2, true, read_reduce, write_as<Reduce>},
    {"ReduceLogSumExp", 1, 1, 2, true, read_reduce, write_as<Reduce>},
    {"ArgMax", 1, 1, 1, false, read_arg_reduce, write_as<ArgReduce>},
    {"ArgMin", 1, 1, 1, false, read_arg_reduce, write_as<ArgReduce>},
    {"TopK", 10, 2, 2, false, read_top_k, write_as<TopK>},
    {"Slice", 1, 1, 5, false, read_slice, write_as<Slice>},
    {"Split", 2, 1, 2, false, read_split, write_as<SplitAxis>},
    {"Gather", 1, 2, 2, false, read_gather, write_as<Gather>},
    {"GatherND", 11, 2, 2, false, read_gather_nd, nullptr},
    {"CumSum", 11, 2, 2, true, read_cum_sum, nullptr},
    {"ScatterND", 11, 3, 3, false, read_scatter_nd, write_plain},
    {"Squeeze", 1, 1, 2, false, read_squeeze, write_as<Squeeze>},
    {"Unsqueeze", 1, 1, 2, false, read_squeeze, write_as<Squeeze>},
    {"Expand", 8, 2, 2, false, read_repeat, write_plain},
    {"Tile", 6, 2, 2, false, read_repeat, write_plain},
    {"DepthToSpace", 1, 1, 1, false, read_space_depth, write_as<SpaceDepth>},
    {"SpaceToDepth", 1, 1, 1, false, read_space_depth, write_as<SpaceDepth>},
    {"Upsample", 9, 2, 2, true, read_resize, nullptr},
    {"Resize", 10, 1, 4, true, read_resize, write_as<Resize>},
    {"Shape", 1, 1, 1, false, read_shape, write_as<ShapeOf>},
    {"Size", 1, 1, 1, false, read_shape, write_as<ShapeOf>},
    {"ConstantOfShape", 9, 1, 1, false, read_constant_of_shape, write_as<ConstantOfShape>},
    {"Range", 11, 3, 3, false, read_plain<Arange>, write_plain},
    {"Cast", 6, 1, 1, false, read_cast, write_as<Cast>},
    {"CastLike", 15, 2, 2, false, read_cast, nullptr},
    {"Identity", 1, 1, 1, false, read_plain<Identity>, write_plain},
    {"Dropout", 7, 1, 3, true, read_dropout, write_as<Dropout>},
};

}  // namespace

const OnnxOp* find_onnx_op(std::string_view type) {
  for (const OnnxOp& row : kTable) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

}  // namespace reducenet
