#include "reducenet/op.h"

#include <cmath>

#include "reducenet/error.h"

namespace reducenet {
namespace {

struct ActivationRow {
  Activation::Kind kind;
  std::string_view name, onnx;
  double alpha, beta;  // ONNX's defaults
};

using Kind = Activation::Kind;
constexpr ActivationRow kActivations[] = {
    {Kind::identity, "identity", "Identity", 0, 0},
    {Kind::relu, "relu", "Relu", 0, 0},
    {Kind::relu6, "relu6", "Relu6", 0, 0},
    {Kind::leaky_relu, "leaky_relu", "LeakyRelu", 0.01, 0},
    {Kind::elu, "elu", "Elu", 1, 0},
    {Kind::selu, "selu", "Selu", 1.67326319217681884765625, 1.05070102214813232421875},
    {Kind::gelu, "gelu", "Gelu", 0, 0},
    {Kind::gelu_tanh, "gelu_tanh", "GeluTanh", 0, 0},
    {Kind::silu, "silu", "Silu", 0, 0},
    {Kind::sigmoid, "sigmoid", "Sigmoid", 0, 0},
    {Kind::tanh, "tanh", "Tanh", 0, 0},
    {Kind::softplus, "softplus", "Softplus", 0, 0},
    {Kind::softsign, "softsign", "Softsign", 0, 0},
    {Kind::mish, "mish", "Mish", 0, 0},
    {Kind::hard_sigmoid, "hard_sigmoid", "HardSigmoid", 0.2, 0.5},
    {Kind::hard_swish, "hard_swish", "HardSwish", 0, 0},
    {Kind::clip, "clip", "Clip", 0, 0},
    {Kind::bytes, "bytes", "Bytes", 1, 128},
};

const ActivationRow& row_of(Kind kind) {
  return kActivations[static_cast<size_t>(kind)];
}

constexpr std::string_view kBinary[] = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mod", "Mod"};
constexpr std::string_view kCompare[] = {"Equal",          "Less", "LessOrEqual", "Greater",
                                         "GreaterOrEqual", "And",  "Or",          "Xor"};
constexpr std::string_view kVariadic[] = {"Sum", "Mean", "Min", "Max"};
constexpr std::string_view kUnary[] = {"Neg",  "Abs",   "Exp",  "Log",   "Sqrt",  "Reciprocal", "Erf",  "Floor",
                                       "Ceil", "Round", "Sign", "Sin",   "Cos",   "Tan",        "Asin", "Acos",
                                       "Atan", "Sinh",  "Cosh", "Asinh", "Acosh", "Atanh",      "Not",  "IsNaN"};
constexpr std::string_view kNormalize[] = {"LayerNormalization", "InstanceNormalization", "GroupNormalization"};
constexpr std::string_view kReduce[] = {"ReduceSum",    "ReduceMean",     "ReduceMin", "ReduceMax",
                                        "ReduceProd",   "ReduceL1",       "ReduceL2",  "ReduceSumSquare",
                                        "ReduceLogSum", "ReduceLogSumExp"};
constexpr std::string_view kResizeModes[] = {"nearest", "linear", "cubic"};

std::string number(double value) {
  char text[32];
  snprintf(text, sizeof text, "%g", value);
  return text;
}

std::string pair(const char* key, const Size2& size, int64_t usual) {
  if (size[0] == usual && size[1] == usual) return "";
  std::string text = std::string(" ") + key + std::to_string(size[0]);
  return size[0] == size[1] ? text : text + "x" + std::to_string(size[1]);
}

std::string text_of(const Padding& p) {
  if (is_zero(p)) return "";
  if (p.top == p.left && p.top == p.bottom && p.top == p.right) return " p" + std::to_string(p.top);
  return " p" + std::to_string(p.top) + "," + std::to_string(p.left) + "," + std::to_string(p.bottom) + "," +
         std::to_string(p.right);
}

std::string list(const std::vector<int64_t>& values) {
  std::string text;
  for (const int64_t value : values) text += (text.empty() ? "" : ",") + std::to_string(value);
  return text;
}

std::string axes(const std::vector<int64_t>& values) {
  return values.empty() ? "" : " axes " + list(values);
}

std::string groups(int64_t count) {
  return count == 1 ? "" : " g" + std::to_string(count);
}

std::string parameters(const Activation& a) {
  switch (a.kind) {
    case Kind::clip:
      return " [" + number(a.alpha) + ", " + number(a.beta) + "]";
    case Kind::leaky_relu:
    case Kind::elu:
      return " " + number(a.alpha);
    case Kind::hard_sigmoid:
    case Kind::selu:
    case Kind::bytes:
      return " " + number(a.alpha) + " " + number(a.beta);
    default:
      return "";
  }
}

}  // namespace

std::string name_of(const Op& op) {
  return std::visit(Overloaded{
                        [](const Conv2d&) -> std::string { return "Conv"; },
                        [](const ConvTranspose2d&) -> std::string { return "ConvTranspose"; },
                        [](const BatchNorm&) -> std::string { return "BatchNormalization"; },
                        [](const Gemm&) -> std::string { return "Gemm"; },
                        [](const MatMul&) -> std::string { return "MatMul"; },
                        [](const Binary& o) { return std::string(kBinary[static_cast<size_t>(o.kind)]); },
                        [](const Unary& o) { return std::string(kUnary[static_cast<size_t>(o.kind)]); },
                        [](const Activation& o) { return std::string(row_of(o.kind).onnx); },
                        [](const PRelu&) -> std::string { return "PRelu"; },
                        [](const Fade&) -> std::string { return "Fade"; },
                        [](const AveragePool&) -> std::string { return "AveragePool"; },
                        [](const MaxPool&) -> std::string { return "MaxPool"; },
                        [](const GlobalAveragePool&) -> std::string { return "GlobalAveragePool"; },
                        [](const Flatten&) -> std::string { return "Flatten"; },
                        [](const Reshape&) -> std::string { return "Reshape"; },
                        [](const Transpose&) -> std::string { return "Transpose"; },
                        [](const Pad&) -> std::string { return "Pad"; },
                        [](const Concat&) -> std::string { return "Concat"; },
                        [](const Softmax& o) -> std::string { return o.log ? "LogSoftmax" : "Softmax"; },
                        [](const Identity&) -> std::string { return "Identity"; },
                        [](const Dropout&) -> std::string { return "Dropout"; },
                        [](const Opaque& o) { return o.type; },
                        [](const Compare& o) { return std::string(kCompare[static_cast<size_t>(o.kind)]); },
                        [](const Where&) -> std::string { return "Where"; },
                        [](const Variadic& o) { return std::string(kVariadic[static_cast<size_t>(o.kind)]); },
                        [](const GlobalMaxPool&) -> std::string { return "GlobalMaxPool"; },
                        [](const Lrn&) -> std::string { return "LRN"; },
                        [](const Normalize& o) { return std::string(kNormalize[static_cast<size_t>(o.kind)]); },
                        [](const Reduce& o) { return std::string(kReduce[static_cast<size_t>(o.kind)]); },
                        [](const ArgReduce& o) -> std::string { return o.smallest ? "ArgMin" : "ArgMax"; },
                        [](const Hardmax&) -> std::string { return "Hardmax"; },
                        [](const TopK&) -> std::string { return "TopK"; },
                        [](const Slice&) -> std::string { return "Slice"; },
                        [](const SplitAxis&) -> std::string { return "Split"; },
                        [](const Gather&) -> std::string { return "Gather"; },
                        [](const ScatterNd&) -> std::string { return "ScatterND"; },
                        [](const Squeeze& o) -> std::string { return o.insert ? "Unsqueeze" : "Squeeze"; },
                        [](const Repeat& o) -> std::string { return o.kind == Repeat::Kind::tile ? "Tile" : "Expand"; },
                        [](const SpaceDepth& o) -> std::string {
                          return o.kind == SpaceDepth::Kind::space_to_depth ? "SpaceToDepth" : "DepthToSpace";
                        },
                        [](const Resize&) -> std::string { return "Resize"; },
                        [](const ShapeOf& o) -> std::string { return o.size ? "Size" : "Shape"; },
                        [](const ConstantOfShape&) -> std::string { return "ConstantOfShape"; },
                        [](const Arange&) -> std::string { return "Range"; },
                        [](const Cast&) -> std::string { return "Cast"; },
                    },
                    op);
}

std::string_view name_of(Kind kind) {
  return row_of(kind).name;
}

Activation activation_named(std::string_view name) {
  std::string names;
  for (const ActivationRow& row : kActivations) {
    if (row.name == name) return {row.kind, row.alpha, row.beta};
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Error(ErrorKind::usage, "unknown activation '" + std::string(name) + "'; known: " + names);
}

double apply(const Activation& a, double x) {
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  const auto softplus = [](double v) { return std::log1p(std::exp(-std::abs(v))) + std::max(v, 0.0); };
  switch (a.kind) {
    case Kind::identity:
      return x;
    case Kind::relu:
      return x > 0 ? x : x * 0;  // keeps NaN
    case Kind::relu6:
      return x > 6 ? 6 : x > 0 ? x : x * 0;
    case Kind::leaky_relu:
      return x < 0 ? a.alpha * x : x;
    case Kind::elu:
      return x < 0 ? a.alpha * std::expm1(x) : x;
    case Kind::selu:
      return a.beta * (x > 0 ? x : a.alpha * std::expm1(x));
    case Kind::gelu:
      return 0.5 * x * (1 + std::erf(x * M_SQRT1_2));
    case Kind::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Kind::silu:
      return x * sigmoid(x);
    case Kind::sigmoid:
      return sigmoid(x);
    case Kind::tanh:
      return std::tanh(x);
    case Kind::softplus:
      return softplus(x);
    case Kind::softsign:
      return x / (1 + std::abs(x));
    case Kind::mish:
      return x * std::tanh(softplus(x));
    case Kind::hard_sigmoid:
      return std::max(0.0, std::min(1.0, a.alpha * x + a.beta));
    case Kind::hard_swish:
      return x * std::max(0.0, std::min(1.0, x / 6 + 0.5));
    case Kind::clip:
      return std::min(std::max(x, a.alpha), a.beta);
    case Kind::bytes:
      return a.alpha * std::min(std::max(std::nearbyint(x / a.alpha), -a.beta), 255 - a.beta);
  }
  return x;
}

std::string describe(const Op& op) {
  const std::string name = name_of(op);
  return std::visit(
      Overloaded{
          [&](const Conv2d& o) {
            return name + pair("s", o.stride, 1) + text_of(o.padding) + pair("d", o.dilation, 1) + groups(o.groups);
          },
          [&](const ConvTranspose2d& o) {
            return name + pair("s", o.stride, 1) + text_of(o.padding) + pair("d", o.dilation, 1) +
                   pair("op", o.output_padding, 0) + groups(o.groups);
          },
          [&](const BatchNorm& o) { return name + " eps " + number(o.epsilon); },
          [&](const Gemm& o) {
            return name + (o.trans_a ? " A'" : "") + (o.trans_b ? " B'" : "") +
                   (o.alpha == 1 ? "" : " alpha " + number(o.alpha)) + (o.beta == 1 ? "" : " beta " + number(o.beta));
          },
          [&](const Activation& o) { return name + parameters(o); },
          [&](const Fade& o) {
            const bool bends = o.activation.kind != Activation::Kind::identity;
            return name + " " + o.kind + (bends ? " " + std::string(name_of(o.activation.kind)) : "") +
                   parameters(o.activation) + " λ " + number(o.lambda);
          },
          [&](const AveragePool& o) {
            return name + pair(" ", o.kernel, 0) + pair("s", o.stride, 1) + text_of(o.padding) +
                   (o.ceil_mode ? " ceil" : "") + (o.count_include_pad ? " count-pad" : "");
          },
          [&](const MaxPool& o) {
            return name + pair(" ", o.kernel, 0) + pair("s", o.stride, 1) + text_of(o.padding) +
                   pair("d", o.dilation, 1) + (o.ceil_mode ? " ceil" : "");
          },
          [&](const Flatten& o) { return name + (o.axis == 1 ? "" : " axis " + std::to_string(o.axis)); },
          [&](const Transpose& o) { return name + " " + list(o.perm); },
          [&](const Pad& o) {
            constexpr const char* modes[] = {"", " reflect", " edge"};
            return name + modes[static_cast<size_t>(o.mode)] + " " + list(o.begin) + ":" + list(o.end) +
                   (o.value == 0 ? "" : " value " + number(o.value));
          },
          [&](const Concat& o) { return name + " axis " + std::to_string(o.axis); },
          [&](const Softmax& o) { return name + " axis " + std::to_string(o.axis); },
          [&](const Reshape& o) { return name + (o.allow_zero ? " allow-zero" : ""); },
          [&](const Dropout& o) { return name + (o.training ? " training" : ""); },
          [&](const Opaque& o) { return o.domain.empty() ? name : o.domain + "." + name; },
          [&](const Lrn& o) { return name + " size " + std::to_string(o.size); },
          [&](const Normalize& o) { return name + " eps " + number(o.epsilon); },
          [&](const Reduce& o) { return name + axes(o.axes) + (o.keep_dims ? "" : " drop"); },
          [&](const ArgReduce& o) {
            return name + " axis " + std::to_string(o.axis) + (o.keep_dims ? "" : " drop") + (o.last ? " last" : "");
          },
          [&](const OneOf<Hardmax, SplitAxis, Gather> auto& o) { return name + " axis " + std::to_string(o.axis); },
          [&](const TopK& o) { return name + " axis " + std::to_string(o.axis) + (o.smallest ? " smallest" : ""); },
          [&](const Slice& o) {
            return o.starts.empty() ? name : name + " " + list(o.starts) + ":" + list(o.ends) + axes(o.axes);
          },
          [&](const Squeeze& o) { return name + axes(o.axes); },
          [&](const SpaceDepth& o) {
            return name + " " + std::to_string(o.block) +
                   (o.kind == SpaceDepth::Kind::depth_to_space_crd ? " CRD" : "");
          },
          [&](const Resize& o) { return name + " " + std::string(kResizeModes[static_cast<size_t>(o.mode)]); },
          [&](const ConstantOfShape& o) { return name + " " + number(o.value); },
          [&](const Cast& o) { return name + " " + std::string(to_string(o.to)); },
          [&](const OneOf<MatMul, Binary, Unary, PRelu, GlobalAveragePool, Identity, Compare, Where, Variadic,
                          GlobalMaxPool, ScatterNd, Repeat, ShapeOf, Arange> auto&) { return name; },
      },
      op);
}

}  // namespace reducenet
