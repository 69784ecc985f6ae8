#include "reducenet/builder.h"

#include <cmath>

#include "reducenet/error.h"

namespace reducenet {
namespace {

/// Uniform in [0, 1) from the generator's upper 53 bits: the same on every platform, unlike
/// std::uniform_real_distribution.
double unit(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

}  // namespace

GraphBuilder::GraphBuilder(std::string name, uint64_t seed) : random_(seed) {
  graph_.name = std::move(name);
}

ValueId GraphBuilder::input(const std::string& name, Shape shape) {
  const ValueId id = graph_.add_value({.name = name, .shape = std::move(shape)});
  graph_.inputs.push_back(id);
  return id;
}

ValueId GraphBuilder::conv(const std::string& name, ValueId x, int64_t out_channels, Size2 kernel, Conv2d op,
                           bool bias) {
  const Shape shape{out_channels, channels(x) / op.groups, kernel[0], kernel[1]};
  std::vector<ValueId> inputs{x, this->kernel(name + ".weight", shape)};
  if (bias) inputs.push_back(constant(name + ".bias", Tensor::filled({out_channels}, 0)));
  return node(name, op, std::move(inputs));
}

ValueId GraphBuilder::kernel(const std::string& name, Shape shape) {
  // He et al., arXiv 1502.01852: deviation √(2/fan_in).
  const double deviation = std::sqrt(2.0 / static_cast<double>(shape[1] * shape[2] * shape[3]));
  return normal(name, std::move(shape), deviation);
}

ValueId GraphBuilder::batch_norm(const std::string& name, ValueId x, double gamma) {
  const Shape shape{channels(x)};
  return node(
      name, BatchNorm{},
      {x, constant(name + ".weight", Tensor::filled(shape, gamma)), constant(name + ".bias", Tensor::filled(shape, 0)),
       constant(name + ".running_mean", Tensor::filled(shape, 0)),
       constant(name + ".running_var", Tensor::filled(shape, 1))});
}

ValueId GraphBuilder::activation(const std::string& name, ValueId x, Activation activation) {
  return node(name, activation, {x});
}

ValueId GraphBuilder::fade(const std::string& name, ValueId x, Activation activation) {
  return node(name, Fade{.activation = activation}, {x});
}

ValueId GraphBuilder::add(const std::string& name, ValueId a, ValueId b) {
  return node(name, Binary{}, {a, b});
}

ValueId GraphBuilder::gemm(const std::string& name, ValueId x, int64_t out_features) {
  const int64_t in = graph_[x].shape->at(1);
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  return node(
      name, Gemm{.trans_b = true},
      {x, uniform(name + ".weight", {out_features, in}, bound), uniform(name + ".bias", {out_features}, bound)});
}

ValueId GraphBuilder::node(const std::string& name, Op op, std::vector<ValueId> inputs) {
  std::vector<std::optional<Shape>> shapes;
  std::vector<const Tensor*> constants;
  for (const ValueId id : inputs) {
    shapes.push_back(id ? graph_[id].shape : std::nullopt);
    constants.push_back(graph_.constant(id));
  }
  std::optional<Shape> shape;
  try {
    shape = output_shapes(op, shapes, constants, 1)[0];
  } catch (const Error& error) {
    throw Error(error.kind(), "node '" + name + "' (" + describe(op) + "): " + error.what());
  }
  std::vector<DType> dtypes;
  for (const ValueId id : inputs) dtypes.push_back(id ? graph_[id].dtype : DType::f32);
  const DType made = output_dtype(op, dtypes);
  const DType dtype = is_float(made) && !std::holds_alternative<Cast>(op) ? DType::f32 : made;
  const ValueId out = graph_.add_value({.name = name, .dtype = dtype, .shape = std::move(shape)});
  graph_.nodes.push_back({.name = name, .op = std::move(op), .inputs = std::move(inputs), .outputs = {out}});
  return out;
}

ValueId GraphBuilder::constant(const std::string& name, Tensor value) {
  return graph_.add_value(Value::of(name, std::move(value)));
}

void GraphBuilder::output(ValueId value) {
  graph_.outputs.push_back(value);
}

int64_t GraphBuilder::channels(ValueId value) const {
  return graph_[value].shape->at(1);
}

Graph GraphBuilder::finish() && {
  check(graph_);
  infer_shapes(graph_);
  return std::move(graph_);
}

ValueId GraphBuilder::normal(const std::string& name, Shape shape, double deviation) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (float& value : values) {  // Box and Muller, 1958
    const double radius = std::sqrt(-2 * std::log(1 - unit(random_)));
    value = static_cast<float>(deviation * radius * std::cos(2 * M_PI * unit(random_)));
  }
  return constant(name, Tensor::of(std::move(shape), values));
}

ValueId GraphBuilder::uniform(const std::string& name, Shape shape, double bound) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (float& value : values) value = static_cast<float>(bound * (2 * unit(random_) - 1));
  return constant(name, Tensor::of(std::move(shape), values));
}

}  // namespace reducenet
