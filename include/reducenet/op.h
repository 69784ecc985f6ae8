#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "reducenet/tensor.h"

// Ops are plain structs with ONNX semantics (opset 17 unless a comment says otherwise); the comment on each gives its
// inputs. Tensors are NCHW. An input written [b] is optional and may be absent.

namespace reducenet {

/// Zero padding around height and width.
struct Padding {
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  friend bool operator==(const Padding&, const Padding&) = default;
};
inline bool is_zero(const Padding& p) {
  return p == Padding{};
}

/// (height, width)
using Size2 = std::array<int64_t, 2>;

/// x[N,C,H,W], w[O,C/groups,kh,kw], [b[O]] → y[N,O,H',W'],  H' = ⌊(H + top + bottom − dilation·(kh−1) − 1)/stride⌋ + 1
struct Conv2d {
  Size2 stride{1, 1};
  Padding padding;
  Size2 dilation{1, 1};
  int64_t groups = 1;
  friend bool operator==(const Conv2d&, const Conv2d&) = default;
};

/// x[N,C,H,W], w[C,O/groups,kh,kw], [b[O]] → y;  H' = stride·(H−1) + output_padding + dilation·(kh−1) + 1 − top −
/// bottom
struct ConvTranspose2d {
  Size2 stride{1, 1};
  Padding padding;
  Size2 dilation{1, 1};
  Size2 output_padding{0, 0};
  int64_t groups = 1;
  friend bool operator==(const ConvTranspose2d&, const ConvTranspose2d&) = default;
};

/// x[N,C,…], gamma[C], beta[C], mean[C], var[C] → gamma·(x − mean)/√(var + epsilon) + beta.
/// `momentum` is PyTorch's: running ← (1−momentum)·running + momentum·batch. Only training uses the batch's statistics.
struct BatchNorm {
  double epsilon = 1e-5;
  double momentum = 0.1;
  friend bool operator==(const BatchNorm&, const BatchNorm&) = default;
};

/// a, b, [c] → alpha·a′·b′ + beta·c, where ′ transposes if asked.
struct Gemm {
  double alpha = 1, beta = 1;
  bool trans_a = false, trans_b = false;
  friend bool operator==(const Gemm&, const Gemm&) = default;
};

/// a, b → a·b with NumPy's matmul broadcasting.
struct MatMul {
  friend bool operator==(const MatMul&, const MatMul&) = default;
};

/// a, b → a ∘ b with NumPy broadcasting. On integers div truncates; mod has b's sign, fmod a's.
struct Binary {
  enum class Kind { add, sub, mul, div, pow, min, max, mod, fmod } kind = Kind::add;
  friend bool operator==(const Binary&, const Binary&) = default;
};

/// a, b → a ∘ b as a boolean, with NumPy broadcasting.
struct Compare {
  enum class Kind {
    equal,
    less,
    less_or_equal,
    greater,
    greater_or_equal,
    logical_and,
    logical_or,
    logical_xor
  } kind = Kind::equal;
  friend bool operator==(const Compare&, const Compare&) = default;
};

/// condition, a, b → condition ? a : b with NumPy broadcasting.
struct Where {
  friend bool operator==(const Where&, const Where&) = default;
};

/// x… → their sum, mean, minimum or maximum, element by element with NumPy broadcasting.
struct Variadic {
  enum class Kind { sum, mean, min, max } kind = Kind::sum;
  friend bool operator==(const Variadic&, const Variadic&) = default;
};

/// x → y, element by element. The last two make booleans.
struct Unary {
  enum class Kind {
    neg,
    abs,
    exp,
    log,
    sqrt,
    reciprocal,
    erf,
    floor,
    ceil,
    round,
    sign,
    sin,
    cos,
    tan,
    asin,
    acos,
    atan,
    sinh,
    cosh,
    asinh,
    acosh,
    atanh,
    logical_not,
    is_nan
  } kind = Kind::neg;
  friend bool operator==(const Unary&, const Unary&) = default;
};

/// x → A(x), element by element. alpha and beta mean what ONNX says for the kind:
/// leaky_relu slope alpha; elu alpha; hard_sigmoid max(0, min(1, alpha·x + beta)); clip to [alpha, beta];
/// bytes alpha·(q − beta), q = clamp(round(x/alpha) + beta, 0, 255), ties to even: what 8 bits keep of x.
struct Activation {
  enum class Kind {
    identity,
    relu,
    relu6,
    leaky_relu,
    elu,
    selu,
    gelu,
    gelu_tanh,
    silu,
    sigmoid,
    tanh,
    softplus,
    softsign,
    mish,
    hard_sigmoid,
    hard_swish,
    clip,
    bytes
  } kind = Kind::relu;
  double alpha = 0, beta = 0;
  friend bool operator==(const Activation&, const Activation&) = default;
};

/// x, slope (broadcast to x from the right, ONNX) → x < 0 ? slope·x : x
struct PRelu {
  friend bool operator==(const PRelu&, const PRelu&) = default;
};

/// Train-time op with an end: λ runs from 1 to 0 while the network trains, and at 0 one of its inputs takes its place.
/// `kind` names a row of the table in fades.h:
/// activation: x → λ·A(x) + (1−λ)·x · branch: a, b → a + λ·b · blend: s, c → λ·s + (1−λ)·c · drop: a, b → a + λ·b,
/// where λ stays and is, in training, the probability of b.
struct Fade {
  std::string kind = "activation";
  Activation activation;
  double lambda = 1;
  friend bool operator==(const Fade&, const Fade&) = default;
};

/// x[N,C,H,W] → mean over each window; zero padding counts as elements only if `count_include_pad`.
struct AveragePool {
  Size2 kernel{1, 1}, stride{1, 1};
  Padding padding;
  bool ceil_mode = false, count_include_pad = false;
  friend bool operator==(const AveragePool&, const AveragePool&) = default;
};

/// x[N,C,H,W] → maximum over each window.
struct MaxPool {
  Size2 kernel{1, 1}, stride{1, 1};
  Padding padding;
  Size2 dilation{1, 1};
  bool ceil_mode = false;
  friend bool operator==(const MaxPool&, const MaxPool&) = default;
};

/// x[N,C,…] → y[N,C,1,…]
struct GlobalAveragePool {
  friend bool operator==(const GlobalAveragePool&, const GlobalAveragePool&) = default;
};

/// x[N,C,…] → y[N,C,1,…]
struct GlobalMaxPool {
  friend bool operator==(const GlobalMaxPool&, const GlobalMaxPool&) = default;
};

/// x[N,C,…] → x/(bias + alpha/size·Σ x²)^beta, the sum over the `size` channels around each (Krizhevsky et al. 2012).
struct Lrn {
  int64_t size = 1;
  double alpha = 1e-4, beta = 0.75, bias = 1;
  friend bool operator==(const Lrn&, const Lrn&) = default;
};

/// (x − mean)/√(var + epsilon)·scale + bias with the statistics of the sample itself:
/// layer: x, scale, [bias], over the axes from `axis` on; further outputs are the mean and 1/√(var + epsilon) ·
/// instance: x[N,C,…], scale[C], bias[C], over the positions · group: x[N,C,…], scale, bias (each [groups] if
/// `per_group`, else [C]), over the positions and channels of a group.
struct Normalize {
  enum class Kind { layer, instance, group } kind = Kind::layer;
  double epsilon = 1e-5;
  int64_t axis = -1, groups = 1;
  bool per_group = false;
  friend bool operator==(const Normalize&, const Normalize&) = default;
};

// Where an op below has a list and a further input that is given as well, the input counts.

/// x, [axes] → reduced along `axes`; with none along all, or not at all if `none_is_identity`.
struct Reduce {
  enum class Kind { sum, mean, min, max, prod, l1, l2, sum_square, log_sum, log_sum_exp } kind = Kind::sum;
  std::vector<int64_t> axes;
  bool keep_dims = true, none_is_identity = false;
  friend bool operator==(const Reduce&, const Reduce&) = default;
};

/// x → index (int64) of the first (or `last`) largest (or smallest) element along `axis`.
struct ArgReduce {
  bool smallest = false;
  int64_t axis = 0;
  bool keep_dims = true, last = false;
  friend bool operator==(const ArgReduce&, const ArgReduce&) = default;
};

/// x → 1 at the first largest element along `axis`, 0 elsewhere.
struct Hardmax {
  int64_t axis = -1;
  friend bool operator==(const Hardmax&, const Hardmax&) = default;
};

/// x, k → the k largest (or smallest) elements along `axis` in order, and their indices (int64).
struct TopK {
  int64_t axis = -1;
  bool smallest = false;
  friend bool operator==(const TopK&, const TopK&) = default;
};

/// x, [starts, ends, [axes], [steps]] → x[start:end:step] as Python slices it.
struct Slice {
  std::vector<int64_t> starts, ends, axes, steps;
  friend bool operator==(const Slice&, const Slice&) = default;
};

/// x, [sizes] → parts along `axis`; without sizes, equal ones (the last may be smaller).
struct SplitAxis {
  int64_t axis = 0;
  std::vector<int64_t> sizes;
  friend bool operator==(const SplitAxis&, const SplitAxis&) = default;
};

/// x, indices → x's slices along `axis` at those indices; negative ones count from the end.
struct Gather {
  int64_t axis = 0;
  friend bool operator==(const Gather&, const Gather&) = default;
};

/// x, indices, updates → x, where each slice that the last axis of `indices` names is the next one of `updates`;
/// negative indices count from the end, and of several for one place the last counts.
struct ScatterNd {
  friend bool operator==(const ScatterNd&, const ScatterNd&) = default;
};

/// x, [axes] → without those dimensions of 1 (with none, all of them), or with them added if `insert`.
struct Squeeze {
  bool insert = false;
  std::vector<int64_t> axes;
  friend bool operator==(const Squeeze&, const Squeeze&) = default;
};

/// x, list (int64) → expand: broadcast against the shape `list` · tile: repeated list[i] times along axis i.
struct Repeat {
  enum class Kind { expand, tile } kind = Kind::expand;
  friend bool operator==(const Repeat&, const Repeat&) = default;
};

/// Blocks of block×block positions against channels. depth_to_space reads channels as (block, block, C), _crd as
/// (C, block, block).
struct SpaceDepth {
  enum class Kind { depth_to_space, depth_to_space_crd, space_to_depth } kind = Kind::depth_to_space;
  int64_t block = 1;
  friend bool operator==(const SpaceDepth&, const SpaceDepth&) = default;
};

/// x, [roi], [scales], [sizes] → x interpolated along every axis whose size changes (opset 11 to 21; the ONNX
/// documentation of Resize defines each field).
struct Resize {
  enum class Mode { nearest, linear, cubic } mode = Mode::nearest;
  enum class Coordinates {
    half_pixel,
    pytorch_half_pixel,
    align_corners,
    asymmetric
  } coordinates = Coordinates::half_pixel;
  enum class Rounding { prefer_floor, prefer_ceil, floor, ceil } rounding = Rounding::prefer_floor;
  double cubic_a = -0.75;
  bool exclude_outside = false;
  friend bool operator==(const Resize&, const Resize&) = default;
};

/// x → its shape from dimension `start` to `end` (int64), or the number of its elements.
struct ShapeOf {
  bool size = false;
  int64_t start = 0, end = std::numeric_limits<int64_t>::max();
  friend bool operator==(const ShapeOf&, const ShapeOf&) = default;
};

/// shape → a tensor of that shape filled with `value`.
struct ConstantOfShape {
  double value = 0;
  DType dtype = DType::f32;
  friend bool operator==(const ConstantOfShape&, const ConstantOfShape&) = default;
};

/// start, limit, delta → start, start + delta, … before limit.
struct Arange {
  friend bool operator==(const Arange&, const Arange&) = default;
};

/// x, [like] → x as another element type; of `like` only the type was read, which is `to` (ONNX CastLike).
struct Cast {
  DType to = DType::f32;
  friend bool operator==(const Cast&, const Cast&) = default;
};

/// x → the same elements as a matrix: dimensions before `axis` form the rows.
struct Flatten {
  int64_t axis = 1;
  friend bool operator==(const Flatten&, const Flatten&) = default;
};

/// x, shape (int64; 0 copies unless `allow_zero`, one −1 is inferred) → the same elements.
struct Reshape {
  bool allow_zero = false;
  friend bool operator==(const Reshape&, const Reshape&) = default;
};

/// x → y with y's axis i being x's axis perm[i].
struct Transpose {
  std::vector<int64_t> perm;
  friend bool operator==(const Transpose&, const Transpose&) = default;
};

/// x → x with `begin[i]` and `end[i]` elements added on axis i (negative: removed).
struct Pad {
  enum class Mode { constant, reflect, edge } mode = Mode::constant;
  std::vector<int64_t> begin, end;
  double value = 0;
  friend bool operator==(const Pad&, const Pad&) = default;
};

/// x… → joined along `axis`.
struct Concat {
  int64_t axis = 1;
  friend bool operator==(const Concat&, const Concat&) = default;
};

/// x → exp(x)/Σ exp(x) along `axis` (or its logarithm).
struct Softmax {
  int64_t axis = -1;
  bool log = false;
  friend bool operator==(const Softmax&, const Softmax&) = default;
};

/// x → x
struct Identity {
  friend bool operator==(const Identity&, const Identity&) = default;
};

/// x → x at inference. `training` is set when the file asks for random dropping at inference: not a function.
struct Dropout {
  double ratio = 0.5;
  bool training = false;
  friend bool operator==(const Dropout&, const Dropout&) = default;
};

/// An op that ReduceNet does not know. It travels untouched; `payload` is the format's own encoding of the node.
/// `reads` counts the trailing inputs that stand only for outer values which a subgraph captures.
struct Opaque {
  std::string domain, type, payload;
  int64_t reads = 0;
  std::string why;  ///< what kept it from being understood, for people
  friend bool operator==(const Opaque&, const Opaque&) = default;
};

using Op = std::variant<Conv2d, ConvTranspose2d, BatchNorm, Gemm, MatMul, Binary, Unary, Activation, PRelu, Fade,
                        AveragePool, MaxPool, GlobalAveragePool, Flatten, Reshape, Transpose, Pad, Concat, Softmax,
                        Identity, Dropout, Opaque, Compare, Where, Variadic, GlobalMaxPool, Lrn, Normalize, Reduce,
                        ArgReduce, Hardmax, TopK, Slice, SplitAxis, Gather, ScatterNd, Squeeze, Repeat, SpaceDepth,
                        Resize, ShapeOf, ConstantOfShape, Arange, Cast>;

/// Ends what is said of a node that was exported while training.
inline constexpr std::string_view kExportForInference = "export the model with model.eval()";

/// Builds a visitor from lambdas. Leave out a catch-all: a missing op must not compile.
template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

/// Names several ops in one case of a visitor: [](const OneOf<Relu, Tanh> auto&) {…}.
template <class T, class... Ts>
concept OneOf = (std::is_same_v<T, Ts> || ...);

/// The op's name: ONNX's where one exists ("Conv", "Relu", "Add"), "Fade" otherwise; Opaque gives its type.
std::string name_of(const Op& op);
std::string_view name_of(Activation::Kind kind);
/// "relu", "relu6", "leaky_relu", … → Activation with that kind's default parameters; Error(usage) lists the names.
Activation activation_named(std::string_view name);
/// A(x) in double.
double apply(const Activation& activation, double x);
/// The op with its attributes, as printed: "Conv 3x3 s2 p1".
std::string describe(const Op& op);

}  // namespace reducenet
