#include "rules/example.h"

#include <algorithm>
#include <cmath>

namespace reducenet {

Example::Example(uint64_t seed) : builder_("example", seed), random_(seed * 0x9e3779b97f4a7c15u + 1) {}

int64_t Example::integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
}

bool Example::chance(double probability) {
  return static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
}

Tensor Example::normal(const Shape& shape, double deviation) {
  std::vector<double> values(static_cast<size_t>(element_count(shape)));
  std::normal_distribution<double> draw(0, deviation);
  for (double& v : values) v = draw(random_);
  return Tensor::from_doubles(shape, values, DType::f32);
}

ValueId Example::image() {
  return builder_.input(name("image"), {chance(0.5) ? -1 : 2, integer(2, 6), integer(7, 12), integer(7, 12)});
}

ValueId Example::vector() {
  return builder_.input(name("vector"), {2, integer(2, 6)});
}

ValueId Example::conv(ValueId x, const ConvChoice& choice) {
  const Shape in = shape(x);
  const int64_t out = choice.out.value_or(integer(1, 6));
  std::vector<int64_t> divisors;
  for (int64_t g = 1; g <= std::min(in[1], out); ++g) {
    if (in[1] % g == 0 && out % g == 0) divisors.push_back(g);
  }
  Conv2d op;
  op.groups = choice.groups.value_or(
      chance(0.5) ? 1 : divisors[static_cast<size_t>(integer(0, static_cast<int64_t>(divisors.size()) - 1))]);
  op.padding = choice.padding.value_or(Padding{integer(0, 2), integer(0, 2), integer(0, 2), integer(0, 2)});
  const int64_t pads[2] = {op.padding.top + op.padding.bottom, op.padding.left + op.padding.right};
  Size2 kernel{1, 1};
  for (size_t i = 0; i < 2; ++i) {
    op.stride[i] = choice.stride.value_or(chance(0.6) ? 1 : integer(1, 3));
    const int64_t room = in[i + 2] + pads[i];  // of the padded image
    kernel[i] = std::min(choice.kernel.value_or(integer(1, 3)), room);
    op.dilation[i] = choice.dilation.value_or(chance(0.7) ? 1 : 2);
    if (op.dilation[i] * (kernel[i] - 1) + 1 > room) op.dilation[i] = 1;
  }
  std::vector<ValueId> inputs{x, constant(normal({out, in[1] / op.groups, kernel[0], kernel[1]}, 0.5))};
  if (choice.bias.value_or(chance(0.6))) inputs.push_back(constant(normal({out})));
  return node(op, std::move(inputs));
}

ValueId Example::conv_transpose(ValueId x) {
  ConvTranspose2d op{.stride = {integer(1, 2), integer(1, 2)}, .padding = {integer(0, 1), 0, 0, integer(0, 1)}};
  op.groups = channels(x) % 2 == 0 && chance(0.5) ? 2 : 1;
  op.dilation = {integer(1, 2), 1};
  std::vector<ValueId> inputs{x, constant(normal({channels(x), integer(1, 3), integer(2, 3), integer(2, 3)}))};
  if (chance(0.5)) inputs.push_back(constant(normal({shape(inputs[1])[1] * op.groups})));
  return node(op, std::move(inputs));
}

ValueId Example::batch_norm(ValueId x, bool shift) {
  const Shape each{channels(x)};
  std::vector<double> var(static_cast<size_t>(each[0]));
  for (double& v : var) v = chance(0.15) ? 1e-7 : static_cast<double>(integer(1, 20)) / 8;
  const Tensor zero = Tensor::filled(each, 0);
  return node(BatchNorm{},
              {x, constant(normal(each)), constant(shift ? normal(each) : zero), constant(shift ? normal(each) : zero),
               constant(Tensor::from_doubles(each, var, DType::f32))});
}

ValueId Example::scale(ValueId x) {
  using Kind = Binary::Kind;
  const Kind kinds[] = {Kind::add, Kind::sub, Kind::mul, Kind::div};
  if (chance(0.1)) return node(Unary{Unary::Kind::neg}, {x});
  const Kind kind = kinds[integer(0, 3)];
  Shape each(shape(x).size() - static_cast<size_t>(chance(0.5)), 1);
  if (chance(0.8)) (shape(x).size() == 2 ? each.back() : each[each.size() - 3]) = channels(x);
  std::vector<double> values = normal(each).to_doubles();
  for (double& v : values) v += std::copysign(0.5, v);  // far from zero: it may divide
  const ValueId c = constant(Tensor::from_doubles(each, values, DType::f32));
  const bool left = kind != Kind::div && chance(0.5);
  return node(Binary{kind}, left ? std::vector{c, x} : std::vector{x, c});
}

ValueId Example::gemm(ValueId x, std::optional<int64_t> out) {
  const int64_t in = channels(x), features = out.value_or(integer(1, 6));
  if (chance(0.3)) return node(MatMul{}, {x, constant(normal({in, features}))});
  Gemm op{.trans_b = chance(0.5)};
  if (chance(0.3)) op.alpha = 0.5;
  if (chance(0.3)) op.beta = -2;
  std::vector<ValueId> inputs{x, constant(normal(op.trans_b ? Shape{features, in} : Shape{in, features}))};
  if (chance(0.6)) inputs.push_back(constant(normal(chance(0.5) ? Shape{features} : Shape{1, features})));
  return node(op, std::move(inputs));
}

ValueId Example::add(ValueId a, ValueId b) {
  return chance(0.2) ? node(Binary{Binary::Kind::sub}, {a, b}) : node(Binary{}, {a, b});
}

ValueId Example::node(Op op, std::vector<ValueId> inputs) {
  const std::string stem = name_of(op);
  return builder_.node(name(stem), std::move(op), std::move(inputs));
}

ValueId Example::constant(Tensor value) {
  return builder_.constant(name("constant"), std::move(value));
}

void Example::output(ValueId value) {
  builder_.output(value);
}

void Example::maybe_read_again(ValueId value) {
  if (!chance(0.3)) return;
  for (const Node& other : graph().nodes) {
    const auto* op = std::get_if<Conv2d>(&other.op);
    if (!op || shape(other.inputs[1])[1] * op->groups != channels(value)) continue;
    if (shape(other.inputs[1])[2] > shape(value)[2] || shape(other.inputs[1])[3] > shape(value)[3]) continue;
    return output(node(Conv2d{.groups = op->groups}, {value, other.inputs[1]}));
  }
  output(node(Activation{}, {value}));
}

}  // namespace reducenet
