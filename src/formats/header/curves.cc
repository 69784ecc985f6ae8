#include "formats/header/curves.h"

#include <fmt/format.h>

#include "formats/header/text.h"
#include "reducenet/error.h"

namespace reducenet::header {

std::string expression(const Activation& a) {
  using Kind = Activation::Kind;
  const std::string alpha = number(a.alpha), beta = number(a.beta);
  const std::string softplus = "(std::log1p(std::exp(-std::fabs(v))) + (v > 0 ? v : 0))";
  switch (a.kind) {
    case Kind::identity:
      return "v";
    case Kind::relu:
      return "(v > 0 ? v : 0)";
    case Kind::relu6:
      return "(v > 6 ? 6 : v > 0 ? v : 0)";
    case Kind::leaky_relu:
      return fmt::format("(v < 0 ? {} * v : v)", alpha);
    case Kind::elu:
      return fmt::format("(v < 0 ? {} * std::expm1(v) : v)", alpha);
    case Kind::selu:
      return fmt::format("{} * (v > 0 ? v : {} * std::expm1(v))", beta, alpha);
    case Kind::gelu:
      return "0.5f * v * (1 + std::erf(v * 0.70710678f))";
    case Kind::gelu_tanh:
      return "0.5f * v * (1 + std::tanh(0.79788456f * (v + 0.044715f * v * v * v)))";
    case Kind::silu:
      return "v / (1 + std::exp(-v))";
    case Kind::sigmoid:
      return "1 / (1 + std::exp(-v))";
    case Kind::tanh:
      return "std::tanh(v)";
    case Kind::softplus:
      return softplus;
    case Kind::softsign:
      return "v / (1 + std::fabs(v))";
    case Kind::mish:
      return "v * std::tanh" + softplus;
    case Kind::hard_sigmoid:
      return fmt::format("clamped({} * v + {}, 0, 1)", alpha, beta);
    case Kind::hard_swish:
      return "v * clamped(v / 6 + 0.5f, 0, 1)";
    case Kind::clip:
      return fmt::format("clamped(v, {}, {})", alpha, beta);
    case Kind::bytes:
      return fmt::format("{} * clamped(std::nearbyint(v / {}), {}, {})", alpha, alpha, number(-a.beta),
                         number(255 - a.beta));
  }
  return "v";
}

// λ·A(v) + (1−λ)·v
std::string expression(const Fade& fade) {
  if (fade.kind != "activation") {
    throw Error(ErrorKind::unsupported, "a header knows no fade of kind '" + fade.kind + "'");
  }
  return fmt::format("{} * ({}) + {} * v", number(fade.lambda), expression(fade.activation), number(1 - fade.lambda));
}

std::string expression(const Unary& unary) {
  switch (unary.kind) {
    case Unary::Kind::neg:
      return "-v";
    case Unary::Kind::abs:
      return "std::fabs(v)";
    case Unary::Kind::exp:
      return "std::exp(v)";
    case Unary::Kind::log:
      return "std::log(v)";
    case Unary::Kind::sqrt:
      return "std::sqrt(v)";
    case Unary::Kind::reciprocal:
      return "1 / v";
    case Unary::Kind::erf:
      return "std::erf(v)";
    case Unary::Kind::floor:
      return "std::floor(v)";
    case Unary::Kind::ceil:
      return "std::ceil(v)";
    case Unary::Kind::round:
      return "std::nearbyint(v)";
    case Unary::Kind::sign:
      return "(v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f)";
    case Unary::Kind::sin:
      return "std::sin(v)";
    case Unary::Kind::cos:
      return "std::cos(v)";
    case Unary::Kind::tan:
      return "std::tan(v)";
    case Unary::Kind::asin:
      return "std::asin(v)";
    case Unary::Kind::acos:
      return "std::acos(v)";
    case Unary::Kind::atan:
      return "std::atan(v)";
    case Unary::Kind::sinh:
      return "std::sinh(v)";
    case Unary::Kind::cosh:
      return "std::cosh(v)";
    case Unary::Kind::asinh:
      return "std::asinh(v)";
    case Unary::Kind::acosh:
      return "std::acosh(v)";
    case Unary::Kind::atanh:
      return "std::atanh(v)";
    case Unary::Kind::logical_not:
      return "(v == 0 ? 1.0f : 0.0f)";
    case Unary::Kind::is_nan:
      return "(v != v ? 1.0f : 0.0f)";
  }
  return "v";
}

std::string expression(const Binary& binary) {
  switch (binary.kind) {
    case Binary::Kind::add:
      return "v + w";
    case Binary::Kind::sub:
      return "v - w";
    case Binary::Kind::mul:
      return "v * w";
    case Binary::Kind::div:
      return "v / w";
    case Binary::Kind::pow:
      return "std::pow(v, w)";
    case Binary::Kind::min:
      return "(v < w ? v : w)";
    case Binary::Kind::max:
      return "(v > w ? v : w)";
    case Binary::Kind::mod:
      return "v - w * std::floor(v / w)";
    case Binary::Kind::fmod:
      return "std::fmod(v, w)";
  }
  return "v";
}

std::string expression(const Op& curve) {
  if (const auto* activation = std::get_if<Activation>(&curve)) return expression(*activation);
  return expression(std::get<Fade>(curve));
}

std::string finish(const Epilogue& e, std::string v) {
  if (e.low > -INFINITY || e.high < INFINITY) v = fmt::format("clamped({}, {}, {})", v, number(e.low), number(e.high));
  if (!e.curve) return fmt::format("return {};", v);
  return fmt::format("const float u = {}; return [](float v) noexcept {{ return {}; }}(u);", v, expression(*e.curve));
}

}  // namespace reducenet::header
