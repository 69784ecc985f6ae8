#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
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

/// a, b → a ∘ b with NumPy broadcasting.
struct Binary {
  enum class Kind { add, sub, mul, div, pow, min, max } kind = Kind::add;
  friend bool operator==(const Binary&, const Binary&) = default;
};

/// x → y, element by element.
struct Unary {
  enum class Kind { neg, abs, exp, log, sqrt, reciprocal, erf, floor, ceil, round, sign, sin, cos } kind = Kind::neg;
  friend bool operator==(const Unary&, const Unary&) = default;
};

/// x → A(x), element by element. alpha and beta mean what ONNX says for the kind:
/// leaky_relu slope alpha; elu alpha; hard_sigmoid max(0, min(1, alpha·x + beta)); clip to [alpha, beta].
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
    clip
  } kind = Kind::relu;
  double alpha = 0, beta = 0;
  friend bool operator==(const Activation&, const Activation&) = default;
};

/// x, slope (broadcast to x from the right, ONNX) → x < 0 ? slope·x : x
struct PRelu {
  friend bool operator==(const PRelu&, const PRelu&) = default;
};

/// Train-time op with an end: λ runs from 1 to 0 while the network trains, and at 0 the op settles to ordinary ops.
/// `kind` names a row of the table in fades.h. For "activation": x → λ·A(x) + (1−λ)·x.
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

/// x → the same elements as a matrix: dimensions before `axis` form the rows.
struct Flatten {
  int64_t axis = 1;
  friend bool operator==(const Flatten&, const Flatten&) = default;
};

/// x, shape (int64 constant; 0 copies unless `allow_zero`, one −1 is inferred) → the same elements.
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
                        Identity, Dropout, Opaque>;

/// Builds a visitor from lambdas. Leave out a catch-all: a missing op must not compile.
template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

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
