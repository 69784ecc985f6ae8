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
inline constexpr std::array kBinaryNames{"add", "sub", "mul", "div", "pow", "min", "max", "mod", "fmod"};
inline constexpr std::array kUnaryNames{
    "neg", "abs", "exp",  "log",  "sqrt", "reciprocal", "erf",  "floor", "ceil",  "round", "sign",        "sin",
    "cos", "tan", "asin", "acos", "atan", "sinh",       "cosh", "asinh", "acosh", "atanh", "logical_not", "is_nan"};
inline constexpr std::array kPadModeNames{"constant", "reflect", "edge"};
inline constexpr std::array kCompareNames{"equal",       "less",       "less_or_equal", "greater", "greater_or_equal",
                                          "logical_and", "logical_or", "logical_xor"};
inline constexpr std::array kVariadicNames{"sum", "mean", "min", "max"};
inline constexpr std::array kNormalizeNames{"layer", "instance", "group"};
inline constexpr std::array kReduceNames{"sum", "mean", "min",        "max",     "prod",
                                         "l1",  "l2",   "sum_square", "log_sum", "log_sum_exp"};
inline constexpr std::array kRepeatNames{"expand", "tile"};
inline constexpr std::array kSpaceDepthNames{"depth_to_space", "depth_to_space_crd", "space_to_depth"};
inline constexpr std::array kResizeModeNames{"nearest", "linear", "cubic"};
inline constexpr std::array kCoordinateNames{"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"};
inline constexpr std::array kRoundingNames{"prefer_floor", "prefer_ceil", "floor", "ceil"};
static_assert(kBinaryNames.size() == static_cast<size_t>(Binary::Kind::fmod) + 1);
static_assert(kUnaryNames.size() == static_cast<size_t>(Unary::Kind::is_nan) + 1);
static_assert(kPadModeNames.size() == static_cast<size_t>(Pad::Mode::edge) + 1);
static_assert(kCompareNames.size() == static_cast<size_t>(Compare::Kind::logical_xor) + 1);
static_assert(kReduceNames.size() == static_cast<size_t>(Reduce::Kind::log_sum_exp) + 1);

constexpr const auto& names_of(Binary::Kind) {
  return kBinaryNames;
}
constexpr const auto& names_of(Unary::Kind) {
  return kUnaryNames;
}
constexpr const auto& names_of(Pad::Mode) {
  return kPadModeNames;
}
constexpr const auto& names_of(Compare::Kind) {
  return kCompareNames;
}
constexpr const auto& names_of(Variadic::Kind) {
  return kVariadicNames;
}
constexpr const auto& names_of(Normalize::Kind) {
  return kNormalizeNames;
}
constexpr const auto& names_of(Reduce::Kind) {
  return kReduceNames;
}
constexpr const auto& names_of(Repeat::Kind) {
  return kRepeatNames;
}
constexpr const auto& names_of(SpaceDepth::Kind) {
  return kSpaceDepthNames;
}
constexpr const auto& names_of(Resize::Mode) {
  return kResizeModeNames;
}
constexpr const auto& names_of(Resize::Coordinates) {
  return kCoordinateNames;
}
constexpr const auto& names_of(Resize::Rounding) {
  return kRoundingNames;
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
struct Schema<Compare> {
  static constexpr std::string_view name = "Compare";
  static void visit(auto& op, auto f) {
    auto& [kind] = op;
    f("kind", kind);
  }
};

template <>
struct Schema<Where> : PlainSchema<Where> {
  static constexpr std::string_view name = "Where";
};

template <>
struct Schema<ScatterNd> : PlainSchema<ScatterNd> {
  static constexpr std::string_view name = "ScatterND";
};

template <>
struct Schema<Variadic> {
  static constexpr std::string_view name = "Variadic";
  static void visit(auto& op, auto f) {
    auto& [kind] = op;
    f("kind", kind);
  }
};

template <>
struct Schema<GlobalMaxPool> : PlainSchema<GlobalMaxPool> {
  static constexpr std::string_view name = "GlobalMaxPool";
};

template <>
struct Schema<Lrn> {
  static constexpr std::string_view name = "Lrn";
  static void visit(auto& op, auto f) {
    auto& [size, alpha, beta, bias] = op;
    f("size", size), f("alpha", alpha), f("beta", beta), f("bias", bias);
  }
};

template <>
struct Schema<Normalize> {
  static constexpr std::string_view name = "Normalize";
  static void visit(auto& op, auto f) {
    auto& [kind, epsilon, axis, groups, per_group] = op;
    f("kind", kind), f("epsilon", epsilon), f("axis", axis), f("groups", groups), f("per_group", per_group);
  }
};

template <>
struct Schema<Reduce> {
  static constexpr std::string_view name = "Reduce";
  static void visit(auto& op, auto f) {
    auto& [kind, axes, keep_dims, none_is_identity] = op;
    f("kind", kind), f("axes", axes), f("keep_dims", keep_dims), f("none_is_identity", none_is_identity);
  }
};

template <>
struct Schema<ArgReduce> {
  static constexpr std::string_view name = "ArgReduce";
  static void visit(auto& op, auto f) {
    auto& [smallest, axis, keep_dims, last] = op;
    f("smallest", smallest), f("axis", axis), f("keep_dims", keep_dims), f("last", last);
  }
};

template <>
struct Schema<Hardmax> {
  static constexpr std::string_view name = "Hardmax";
  static void visit(auto& op, auto f) {
    auto& [axis] = op;
    f("axis", axis);
  }
};

template <>
struct Schema<TopK> {
  static constexpr std::string_view name = "TopK";
  static void visit(auto& op, auto f) {
    auto& [axis, smallest] = op;
    f("axis", axis), f("smallest", smallest);
  }
};

template <>
struct Schema<Slice> {
  static constexpr std::string_view name = "Slice";
  static void visit(auto& op, auto f) {
    auto& [starts, ends, axes, steps] = op;
    f("starts", starts), f("ends", ends), f("axes", axes), f("steps", steps);
  }
};

template <>
struct Schema<SplitAxis> {
  static constexpr std::string_view name = "SplitAxis";
  static void visit(auto& op, auto f) {
    auto& [axis, sizes] = op;
    f("axis", axis), f("sizes", sizes);
  }
};

template <>
struct Schema<Gather> {
  static constexpr std::string_view name = "Gather";
  static void visit(auto& op, auto f) {
    auto& [axis] = op;
    f("axis", axis);
  }
};

template <>
struct Schema<Squeeze> {
  static constexpr std::string_view name = "Squeeze";
  static void visit(auto& op, auto f) {
    auto& [insert, axes] = op;
    f("insert", insert), f("axes", axes);
  }
};

template <>
struct Schema<Repeat> {
  static constexpr std::string_view name = "Repeat";
  static void visit(auto& op, auto f) {
    auto& [kind] = op;
    f("kind", kind);
  }
};

template <>
struct Schema<SpaceDepth> {
  static constexpr std::string_view name = "SpaceDepth";
  static void visit(auto& op, auto f) {
    auto& [kind, block] = op;
    f("kind", kind), f("block", block);
  }
};

template <>
struct Schema<Resize> {
  static constexpr std::string_view name = "Resize";
  static void visit(auto& op, auto f) {
    auto& [mode, coordinates, rounding, cubic_a, exclude_outside] = op;
    f("mode", mode), f("coordinates", coordinates), f("rounding", rounding), f("cubic_a", cubic_a),
        f("exclude_outside", exclude_outside);
  }
};

template <>
struct Schema<ShapeOf> {
  static constexpr std::string_view name = "ShapeOf";
  static void visit(auto& op, auto f) {
    auto& [size, start, end] = op;
    f("size", size), f("start", start), f("end", end);
  }
};

template <>
struct Schema<ConstantOfShape> {
  static constexpr std::string_view name = "ConstantOfShape";
  static void visit(auto& op, auto f) {
    auto& [value, dtype] = op;
    f("value", value), f("dtype", dtype);
  }
};

template <>
struct Schema<Arange> : PlainSchema<Arange> {
  static constexpr std::string_view name = "Arange";
};

template <>
struct Schema<Cast> {
  static constexpr std::string_view name = "Cast";
  static void visit(auto& op, auto f) {
    auto& [to] = op;
    f("to", to);
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
