#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "reducenet/graph.h"

namespace reducenet {

/// Appends nodes to a graph with fresh, named and initialised parameters. Shapes are known after every step.
/// Weights: He normal (fan in, ReLU gain); BN: gamma 1, beta 0, mean 0, var 1; Gemm: uniform ±1/√fan_in.
class GraphBuilder {
 public:
  explicit GraphBuilder(std::string name, uint64_t seed = 0);

  ValueId input(const std::string& name, Shape shape);
  ValueId conv(const std::string& name, ValueId x, int64_t out_channels, Size2 kernel, Conv2d op, bool bias = false);
  /// A convolution's weights [O, C/groups, kh, kw] without the convolution.
  ValueId kernel(const std::string& name, Shape shape);
  ValueId batch_norm(const std::string& name, ValueId x, double gamma = 1);
  ValueId activation(const std::string& name, ValueId x, Activation activation);
  ValueId fade(const std::string& name, ValueId x, Activation activation);
  ValueId add(const std::string& name, ValueId a, ValueId b);
  ValueId gemm(const std::string& name, ValueId x, int64_t out_features);
  /// Any op, with inputs made elsewhere; one output named `name`.
  ValueId node(const std::string& name, Op op, std::vector<ValueId> inputs);
  ValueId constant(const std::string& name, Tensor value);
  void output(ValueId value);

  /// Channels (dimension 1) of a value.
  int64_t channels(ValueId value) const;
  const Graph& graph() const { return graph_; }
  /// Checked, with every shape inferred.
  Graph finish() &&;

 private:
  ValueId normal(const std::string& name, Shape shape, double deviation);
  ValueId uniform(const std::string& name, Shape shape, double bound);

  Graph graph_;
  std::mt19937_64 random_;
};

}  // namespace reducenet
