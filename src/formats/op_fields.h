#pragma once

#include <array>
#include <string_view>
#include <type_traits>

#include "reducenet/op.h"

// One description of each op's fields, for reading and writing alike:
// `Schema<O>::visit(op, f)` calls f(name, field) for every field. An op or a field that is missing here does not
// compile.

namespace reducenet {

/// The enumerators' names, in order.
inline constexpr std::array kBinaryNames{"add", "sub", "mul", "div", "pow", "min", "max"};
inline constexpr std::array kUnaryNames{"neg",   "abs",  "exp",   "log",  "sqrt", "reciprocal", "erf",
                                        "floor", "ceil", "round", "sign", "sin",  "cos"};
inline constexpr std::array kPadModeNames{"constant", "reflect", "edge"};
static_assert(kBinaryNames.size() == static_cast<size_t>(Binary::Kind::max) + 1);
static_assert(kUnaryNames.size() == static_cast<size_t>(Unary::Kind::cos) + 1);
static_assert(kPadModeNames.size() == static_cast<size_t>(Pad::Mode::edge) + 1);

constexpr const auto& names_of(Binary::Kind) {
  return kBinaryNames;
}
constexpr const auto& names_of(Unary::Kind) {
  return kUnaryNames;
}
constexpr const auto& names_of(Pad::Mode) {
  return kPadModeNames;
}

/// A field that holds bytes rather than text.
template <class S>
struct Bytes {
  S& value;
};

template <class O>
struct Schema;

/// An op without fields.
template <class O>
struct PlainSchema {
  static_assert(std::is_empty_v<O>);
  static void visit(auto&, auto) {}
};

template <>
struct Schema<Conv2d> {
  static constexpr std::string_view name = "Conv2d";
  static void visit(auto& op, auto f) {
    auto& [stride, padding, dilation, groups] = op;
    f("stride", stride), f("padding", padding), f("dilation", dilation), f("groups", groups);
  }
};

template <>
struct Schema<ConvTranspose2d> {
  static constexpr std::string_view name = "ConvTranspose2d";
  static void visit(auto& op, auto f) {
    auto& [stride, padding, dilation, output_padding, groups] = op;
    f("stride", stride), f("padding", padding), f("dilation", dilation), f("output_padding", output_padding);
    f("groups", groups);
  }
};

template <>
struct Schema<BatchNorm> {
  static constexpr std::string_view name = "BatchNorm";
  static void visit(auto& op, auto f) {
    auto& [epsilon, momentum] = op;
    f("epsilon", epsilon), f("momentum", momentum);
  }
};

template <>
struct Schema<Gemm> {
  static constexpr std::string_view name = "Gemm";
  static void visit(auto& op, auto f) {
    auto& [alpha, beta, trans_a, trans_b] = op;
    f("alpha", alpha), f("beta", beta), f("trans_a", trans_a), f("trans_b", trans_b);
  }
};

template <>
struct Schema<MatMul> : PlainSchema<MatMul> {
  static constexpr std::string_view name = "MatMul";
};

template <>
struct Schema<Binary> {
  static constexpr std::string_view name = "Binary";
  static void visit(auto& op, auto f) {
    auto& [kind] = op;
    f("kind", kind);
  }
};

template <>
struct Schema<Unary> {
  static constexpr std::string_view name = "Unary";
  static void visit(auto& op, auto f) {
    auto& [kind] = op;
    f("kind", kind);
  }
};

template <>
struct Schema<Activation> {
  static constexpr std::string_view name = "Activation";
  static void visit(auto& op, auto f) {
    auto& [kind, alpha, beta] = op;
    f("kind", kind), f("alpha", alpha), f("beta", beta);
  }
};

template <>
struct Schema<PRelu> : PlainSchema<PRelu> {
  static constexpr std::string_view name = "PRelu";
};

template <>
struct Schema<Fade> {
  static constexpr std::string_view name = "Fade";
  static void visit(auto& op, auto f) {
    auto& [kind, activation, lambda] = op;
    f("kind", kind), f("activation", activation), f("lambda", lambda);
  }
};

template <>
struct Schema<AveragePool> {
  static constexpr std::string_view name = "AveragePool";
  static void visit(auto& op, auto f) {
    auto& [kernel, stride, padding, ceil_mode, count_include_pad] = op;
    f("kernel", kernel), f("stride", stride), f("padding", padding), f("ceil_mode", ceil_mode);
    f("count_include_pad", count_include_pad);
  }
};

template <>
struct Schema<MaxPool> {
  static constexpr std::string_view name = "MaxPool";
  static void visit(auto& op, auto f) {
    auto& [kernel, stride, padding, dilation, ceil_mode] = op;
    f("kernel", kernel), f("stride", stride), f("padding", padding), f("dilation", dilation), f("ceil_mode", ceil_mode);
  }
};

template <>
struct Schema<GlobalAveragePool> : PlainSchema<GlobalAveragePool> {
  static constexpr std::string_view name = "GlobalAveragePool";
};

template <>
struct Schema<Flatten> {
  static constexpr std::string_view name = "Flatten";
  static void visit(auto& op, auto f) {
    auto& [axis] = op;
    f("axis", axis);
  }
};

template <>
struct Schema<Reshape> {
  static constexpr std::string_view name = "Reshape";
  static void visit(auto& op, auto f) {
    auto& [allow_zero] = op;
    f("allow_zero", allow_zero);
  }
};

template <>
struct Schema<Transpose> {
  static constexpr std::string_view name = "Transpose";
  static void visit(auto& op, auto f) {
    auto& [perm] = op;
    f("perm", perm);
  }
};

template <>
struct Schema<Pad> {
  static constexpr std::string_view name = "Pad";
  static void visit(auto& op, auto f) {
    auto& [mode, begin, end, value] = op;
    f("mode", mode), f("begin", begin), f("end", end), f("value", value);
  }
};

template <>
struct Schema<Concat> {
  static constexpr std::string_view name = "Concat";
  static void visit(auto& op, auto f) {
    auto& [axis] = op;
    f("axis", axis);
  }
};

template <>
struct Schema<Softmax> {
  static constexpr std::string_view name = "Softmax";
  static void visit(auto& op, auto f) {
    auto& [axis, log] = op;
    f("axis", axis), f("log", log);
  }
};

template <>
struct Schema<Identity> : PlainSchema<Identity> {
  static constexpr std::string_view name = "Identity";
};

template <>
struct Schema<Dropout> {
  static constexpr std::string_view name = "Dropout";
  static void visit(auto& op, auto f) {
    auto& [ratio, training] = op;
    f("ratio", ratio), f("training", training);
  }
};

template <>
struct Schema<Opaque> {
  static constexpr std::string_view name = "Opaque";
  static void visit(auto& op, auto f) {
    auto& [domain, type, payload, reads, why] = op;
    f("domain", domain), f("type", type), f("payload", Bytes{payload}), f("reads", reads), f("why", why);
  }
};

template <>
struct Schema<Padding> {
  static void visit(auto& padding, auto f) {
    auto& [top, left, bottom, right] = padding;
    f("top", top), f("left", left), f("bottom", bottom), f("right", right);
  }
};

}  // namespace reducenet
