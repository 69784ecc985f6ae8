#include "train/ops.h"

#include <ATen/ATen.h>

#include <limits>

#include "reducenet/error.h"
#include "train/fades/fades.h"
#include "train/index_ops.h"
#include "train/leak.h"

namespace reducenet::train {
namespace {

[[noreturn]] void refuse(const Node& node, const std::string& why) {
  throw Error(ErrorKind::unsupported, "node '" + node.name + "' (" + name_of(node.op) + ") cannot be trained: " + why);
}

template <class T>
concept UnknownToTraining =
    OneOf<T, Compare, ArgReduce, Hardmax, TopK, SplitAxis, ScatterNd, ShapeOf, ConstantOfShape, Arange, Cast>;

[[noreturn]] void refuse_unknown(const Node& node) {
  refuse(node, "training does not know this op");
}

bool is_symmetric(const Padding& p) {
  return p.top == p.bottom && p.left == p.right;
}

/// Padding that the op itself applies to both sides, after padding x by what exceeds it on one side.
at::Tensor pad_asymmetry(const at::Tensor& x, Padding& p, double value) {
  if (is_symmetric(p)) return x;
  const at::Tensor padded = at::constant_pad_nd(x, {p.left, p.right, p.top, p.bottom}, value);
  p = Padding{};
  return padded;
}

at::Tensor convolve(const Conv2d& op, std::span<const at::Tensor> in) {
  Padding padding = op.padding;
  at::Tensor x = pad_asymmetry(in[0], padding, 0);
  Size2 stride = op.stride;
  // oneDNN 2.6 under AVX2 writes past its buffer in the weight gradient of a strided 1×1 convolution of few channels in
  // NHWC order: pixels that such a convolution skips are left out before it.
  const bool skips = in[1].size(2) == 1 && in[1].size(3) == 1 && is_zero(padding) && stride != Size2{1, 1};
  if (skips && x.is_cpu()) {
    x = x.slice(2, 0, at::nullopt, stride[0]).slice(3, 0, at::nullopt, stride[1]);
    stride = {1, 1};
  }
  return at::conv2d(x, in[1], in.size() > 2 ? in[2] : at::Tensor(), stride, {padding.top, padding.left}, op.dilation,
                    op.groups);
}

at::Tensor convolve_transposed(const ConvTranspose2d& op, std::span<const at::Tensor> in) {
  const at::Tensor bias = in.size() > 2 ? in[2] : at::Tensor();
  const Padding& p = op.padding;
  if (is_symmetric(p)) {
    return at::conv_transpose2d(in[0], in[1], bias, op.stride, {p.top, p.left}, op.output_padding, op.groups,
                                op.dilation);
  }
  const at::Tensor y =
      at::conv_transpose2d(in[0], in[1], bias, op.stride, {0, 0}, op.output_padding, op.groups, op.dilation);
  return at::constant_pad_nd(y, {-p.left, -p.right, -p.top, -p.bottom});
}

at::Tensor multiply(const Gemm& op, std::span<const at::Tensor> in) {
  const at::Tensor c = in.size() > 2 ? in[2] : at::Tensor();
  if (!op.trans_a && op.trans_b && op.alpha == 1 && op.beta == 1 && (!c.defined() || c.dim() == 1)) {
    return at::linear(in[0], in[1], c);
  }
  const at::Tensor a = op.trans_a ? in[0].t() : in[0], b = op.trans_b ? in[1].t() : in[1];
  if (c.defined()) return at::addmm(c, a, b, op.beta, op.alpha);
  const at::Tensor y = at::mm(a, b);
  return op.alpha == 1 ? y : y * op.alpha;
}

at::Tensor combine(Binary::Kind kind, const at::Tensor& a, const at::Tensor& b) {
  switch (kind) {
    case Binary::Kind::add:
      return at::add(a, b);
    case Binary::Kind::sub:
      return at::sub(a, b);
    case Binary::Kind::mul:
      return at::mul(a, b);
    case Binary::Kind::div:
      return at::div(a, b);
    case Binary::Kind::pow:
      return at::pow(a, b);
    case Binary::Kind::min:
      return at::minimum(a, b);
    case Binary::Kind::max:
      return at::maximum(a, b);
    case Binary::Kind::mod:
      return at::remainder(a, b);
    case Binary::Kind::fmod:
      return at::fmod(a, b);
  }
  throw std::logic_error("Binary::Kind");
}

at::Tensor map(Unary::Kind kind, const at::Tensor& x) {
  switch (kind) {
    case Unary::Kind::neg:
      return at::neg(x);
    case Unary::Kind::abs:
      return at::abs(x);
    case Unary::Kind::exp:
      return at::exp(x);
    case Unary::Kind::log:
      return at::log(x);
    case Unary::Kind::sqrt:
      return at::sqrt(x);
    case Unary::Kind::reciprocal:
      return at::reciprocal(x);
    case Unary::Kind::erf:
      return at::erf(x);
    case Unary::Kind::floor:
      return at::floor(x);
    case Unary::Kind::ceil:
      return at::ceil(x);
    case Unary::Kind::round:
      return at::round(x);
    case Unary::Kind::sign: {  // straight through: the gradient of x between −1 and 1 (Bengio et al., arXiv 1308.3432)
      const at::Tensor soft = at::hardtanh(x);
      return soft + (at::sign(x) - soft).detach();
    }
    case Unary::Kind::sin:
      return at::sin(x);
    case Unary::Kind::cos:
      return at::cos(x);
    case Unary::Kind::tan:
      return at::tan(x);
    case Unary::Kind::asin:
      return at::asin(x);
    case Unary::Kind::acos:
      return at::acos(x);
    case Unary::Kind::atan:
      return at::atan(x);
    case Unary::Kind::sinh:
      return at::sinh(x);
    case Unary::Kind::cosh:
      return at::cosh(x);
    case Unary::Kind::asinh:
      return at::asinh(x);
    case Unary::Kind::acosh:
      return at::acosh(x);
    case Unary::Kind::atanh:
      return at::atanh(x);
    case Unary::Kind::logical_not:
      return at::logical_not(x);
    case Unary::Kind::is_nan:
      return at::isnan(x);
  }
  throw std::logic_error("Unary::Kind");
}

at::Tensor average_pool(const AveragePool& op, const at::Tensor& x) {
  if (is_symmetric(op.padding)) {
    return at::avg_pool2d(x, op.kernel, op.stride, {op.padding.top, op.padding.left}, op.ceil_mode,
                          op.count_include_pad);
  }
  const auto pool = [&](const at::Tensor& t) {
    Padding padding = op.padding;
    return at::avg_pool2d(pad_asymmetry(t, padding, 0), op.kernel, op.stride, 0, op.ceil_mode);
  };
  if (op.count_include_pad) return pool(x);
  return pool(x) / pool(at::ones({1, 1, x.size(2), x.size(3)}, x.options()));
}

at::Tensor max_pool(const MaxPool& op, const at::Tensor& x) {
  Padding padding = op.padding;
  const at::Tensor padded = pad_asymmetry(x, padding, -std::numeric_limits<double>::infinity());
  return at::max_pool2d(padded, op.kernel, op.stride, {padding.top, padding.left}, op.dilation, op.ceil_mode);
}

/// The axes behind samples and channels.
std::vector<int64_t> positions(const at::Tensor& x) {
  std::vector<int64_t> axes;
  for (int64_t axis = 2; axis < x.dim(); ++axis) axes.push_back(axis);
  return axes;
}

at::Tensor fold(Variadic::Kind kind, std::span<const at::Tensor> in) {
  at::Tensor y = in[0];
  for (const at::Tensor& x : in.subspan(1)) {
    y = kind == Variadic::Kind::min ? at::minimum(y, x) : kind == Variadic::Kind::max ? at::maximum(y, x) : y + x;
  }
  return kind == Variadic::Kind::mean ? y / static_cast<double>(in.size()) : y;
}

at::Tensor flatten(const Flatten& op, const at::Tensor& x) {
  const int64_t axis = op.axis < 0 ? op.axis + x.dim() : op.axis;
  const int64_t rows = c10::multiply_integers(x.sizes().slice(0, static_cast<size_t>(axis)));
  return at::reshape(x, {rows, rows == 0 ? 0 : x.numel() / rows});
}

at::Tensor reshape(const Reshape& op, const at::Tensor& x, const Tensor& target) {
  std::vector<int64_t> sizes = target.to_ints();
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    if (sizes[axis] == 0 && !op.allow_zero) sizes[axis] = x.size(static_cast<int64_t>(axis));
  }
  return at::reshape(x, sizes);
}

at::Tensor pad(const Pad& op, const at::Tensor& x) {
  std::vector<int64_t> amounts;  // last axis first, as LibTorch has it
  for (size_t axis = op.begin.size(); axis-- > 0;) {
    amounts.push_back(op.begin[axis]);
    amounts.push_back(op.end[axis]);
  }
  switch (op.mode) {
    case Pad::Mode::constant:
      return at::constant_pad_nd(x, amounts, op.value);
    case Pad::Mode::reflect:
      return at::reflection_pad2d(x, at::IntArrayRef(amounts).slice(0, 4));
    case Pad::Mode::edge:
      return at::replication_pad2d(x, at::IntArrayRef(amounts).slice(0, 4));
  }
  throw std::logic_error("Pad::Mode");
}

at::Tensor reduce(const Reduce& op, const at::Tensor& x, const Tensor* given) {
  using Kind = Reduce::Kind;
  std::vector<int64_t> axes = given != nullptr ? given->to_ints() : op.axes;
  if (axes.empty() && op.none_is_identity) return x;
  for (int64_t axis = 0, all = axes.empty() ? x.dim() : 0; axis < all; ++axis) axes.push_back(axis);
  switch (op.kind) {
    case Kind::sum:
      return at::sum(x, axes, op.keep_dims);
    case Kind::mean:
      return at::mean(x, axes, op.keep_dims);
    case Kind::min:
      return at::amin(x, axes, op.keep_dims);
    case Kind::max:
      return at::amax(x, axes, op.keep_dims);
    case Kind::l1:
      return at::sum(at::abs(x), axes, op.keep_dims);
    case Kind::l2:
      return at::sqrt(at::sum(at::square(x), axes, op.keep_dims));
    case Kind::sum_square:
      return at::sum(at::square(x), axes, op.keep_dims);
    case Kind::log_sum:
      return at::log(at::sum(x, axes, op.keep_dims));
    case Kind::log_sum_exp:
      return at::logsumexp(x, axes, op.keep_dims);
    case Kind::prod:
      break;
  }
  throw std::logic_error("Reduce::Kind");
}

}  // namespace

void check_trainable(const Graph& graph, const Node& node) {
  if (const auto* op = std::get_if<Opaque>(&node.op)) refuse(node, "its meaning is not known (" + op->type + ")");
  if (const auto* op = std::get_if<Fade>(&node.op); op && !find_fade_forward(op->kind)) {
    refuse(node, "no fade of the kind '" + op->kind + "'");
  }
  if (const auto* op = std::get_if<Dropout>(&node.op); op && op->training) refuse(node, "it drops at inference too");
  if (std::holds_alternative<BatchNorm>(node.op) &&
      !(graph.constant(node.inputs.at(3)) && graph.constant(node.inputs.at(4)))) {
    refuse(node, "its mean and variance are computed");
  }
  if (std::holds_alternative<Reshape>(node.op) && !graph.constant(node.inputs.at(1))) {
    refuse(node, "its shape is not constant");
  }
  if (const auto* op = std::get_if<Pad>(&node.op); op && op->mode != Pad::Mode::constant) {
    const bool plane_only =
        op->begin.size() == 4 && op->begin[0] == 0 && op->begin[1] == 0 && op->end[0] == 0 && op->end[1] == 0;
    if (!plane_only) refuse(node, "reflect and edge pad height and width only");
  }
  if (const auto* op = std::get_if<Reduce>(&node.op); op && op->kind == Reduce::Kind::prod) refuse(node, "a product");
  const bool arguments_follow =
      std::visit([]<class T>(const T&) { return OneOf<T, Reduce, Slice, Squeeze, Gather, Repeat, Resize>; }, node.op);
  for (size_t i = 1; arguments_follow && i < node.inputs.size(); ++i) {
    if (node.inputs[i] && !graph.constant(node.inputs[i])) refuse(node, "its axes or indices are not constant");
  }
  if (std::holds_alternative<Resize>(node.op) && node.inputs.size() == 3) {
    const Tensor* const scales = graph.constant(node.inputs[2]);
    if (scales != nullptr && scales->size() > 0 && scales->to_doubles().at(0) != 1)
      refuse(node, "it resizes across samples");
  }
  if (node.outputs.size() > 1 && !std::holds_alternative<Dropout>(node.op)) refuse(node, "it has several outputs");
  std::visit(Overloaded{[&](const UnknownToTraining auto&) { refuse_unknown(node); }, [](const auto&) {}}, node.op);
  if (const auto* op = std::get_if<AveragePool>(&node.op); op && op->ceil_mode && !is_symmetric(op->padding)) {
    refuse(node, "ceil_mode with asymmetric padding");
  }
}

at::Tensor apply_node(const Graph& graph, const Node& node, std::span<const at::Tensor> in, bool training,
                      std::optional<double> momentum, std::optional<uint64_t> noise) {
  return std::visit(
      Overloaded{
          [&](const Conv2d& op) { return convolve(op, in); },
          [&](const ConvTranspose2d& op) { return convolve_transposed(op, in); },
          [&](const BatchNorm& op) {
            return at::batch_norm(in[0], in[1], in[2], in[3], in[4], training, momentum.value_or(op.momentum),
                                  op.epsilon, /*cudnn_enabled=*/true);
          },
          [&](const Gemm& op) { return multiply(op, in); },
          [&](const MatMul&) { return at::matmul(in[0], in[1]); },
          [&](const Binary& op) { return combine(op.kind, in[0], in[1]); },
          [&](const Unary& op) { return map(op.kind, in[0]); },
          [&](const Activation& op) { return activate(op, in[0]); },
          [&](const PRelu&) { return leak(in[0], in[1]); },
          [&](const Fade& op) { return find_fade_forward(op.kind)->forward(op, in, noise); },
          [&](const AveragePool& op) { return average_pool(op, in[0]); },
          [&](const MaxPool& op) { return max_pool(op, in[0]); },
          [&](const GlobalAveragePool&) { return at::mean(in[0], positions(in[0]), /*keepdim=*/true); },
          [&](const Flatten& op) { return flatten(op, in[0]); },
          [&](const Reshape& op) { return reshape(op, in[0], *graph.constant(node.inputs[1])); },
          [&](const Transpose& op) { return at::permute(in[0], op.perm); },
          [&](const Pad& op) { return pad(op, in[0]); },
          [&](const Concat& op) { return at::cat(at::TensorList(in.data(), in.size()), op.axis); },
          [&](const Softmax& op) { return op.log ? at::log_softmax(in[0], op.axis) : at::softmax(in[0], op.axis); },
          [&](const Identity&) { return in[0]; },
          [&](const Dropout& op) { return at::dropout(in[0], op.ratio, training); },
          [&](const Reduce& op) {
            return reduce(op, in[0], node.inputs.size() > 1 ? graph.constant(node.inputs[1]) : nullptr);
          },
          [&](const Opaque&) -> at::Tensor { refuse(node, "its meaning is not known"); },
          [&](const Variadic& op) { return fold(op.kind, in); },
          [&](const GlobalMaxPool&) { return at::amax(in[0], positions(in[0]), /*keepdim=*/true); },
          [&](const Normalize& op) { return normalize(op, in[0], in[1], in.size() > 2 ? in[2] : at::Tensor()); },
          [&](const Slice&) { return slice(graph, node, in[0]); },
          [&](const Squeeze&) { return squeeze(graph, node, in[0]); },
          [&](const Gather& op) { return gather(op, in[0], *graph.constant(node.inputs[1])); },
          [&](const SpaceDepth& op) { return move_blocks(op, in[0]); },
          [&](const Lrn& op) { return normalize(op, in[0]); },
          [&](const Repeat&) { return repeat(graph, node, in[0]); },
          [&](const Resize&) { return resize(graph, node, in[0]); },
          [&](const Where&) { return at::where(in[0] != 0, in[1], in[2]); },
          [&](const UnknownToTraining auto&) -> at::Tensor { refuse_unknown(node); },
      },
      node.op);
}

at::Tensor activate(const Activation& a, const at::Tensor& x) {
  switch (a.kind) {
    case Activation::Kind::identity:
      return x;
    case Activation::Kind::relu:
      return at::relu(x);
    case Activation::Kind::relu6:
      return at::hardtanh(x, 0, 6);
    case Activation::Kind::leaky_relu:
      return at::leaky_relu(x, a.alpha);
    case Activation::Kind::elu:
      return at::elu(x, a.alpha);
    case Activation::Kind::selu:
      return at::selu(x);
    case Activation::Kind::gelu:
      return at::gelu(x);
    case Activation::Kind::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::Kind::silu:
      return at::silu(x);
    case Activation::Kind::sigmoid:
      return at::sigmoid(x);
    case Activation::Kind::tanh:
      return at::tanh(x);
    case Activation::Kind::softplus:
      return at::softplus(x);
    case Activation::Kind::softsign:
      return x / (at::abs(x) + 1);
    case Activation::Kind::mish:
      return at::mish(x);
    case Activation::Kind::hard_sigmoid:
      return at::clamp(x * a.alpha + a.beta, 0, 1);
    case Activation::Kind::hard_swish:
      return at::hardswish(x);
    case Activation::Kind::clip:
      return at::clamp(x, a.alpha, a.beta);
    case Activation::Kind::bytes: {  // the gradient goes straight through where nothing is clamped
      const at::Tensor kept = at::clamp(x, -a.alpha * a.beta, a.alpha * (255 - a.beta));
      return kept + (at::round(kept / a.alpha) * a.alpha - kept).detach();
    }
  }
  throw std::logic_error("Activation::Kind");
}

std::optional<double> negative_slope(const Op& op) {
  if (const auto* a = std::get_if<Activation>(&op)) {
    if (a->kind == Activation::Kind::relu) return 0.0;
    if (a->kind == Activation::Kind::leaky_relu && a->alpha >= 0 && a->alpha <= 1) return a->alpha;
  }
  if (const auto* fade = std::get_if<Fade>(&op); fade && fade->kind == "activation") {
    if (const auto slope = negative_slope(fade->activation)) return 1 - fade->lambda * (1 - *slope);
  }
  return std::nullopt;
}

}  // namespace reducenet::train
