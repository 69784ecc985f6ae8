#pragma once

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "reducenet/builder.h"

namespace reducenet {

/// What a random convolution may be; what is left open is drawn.
struct ConvChoice {
  std::optional<int64_t> out, kernel, stride, dilation, groups;
  std::optional<Padding> padding;
  std::optional<bool> bias;
};

/// Random networks for the rules' examples: every draw is a function of the seed. Statistics and biases are far from
/// their initial values; batch norms include tiny variance and negative gamma.
class Example {
 public:
  explicit Example(uint64_t seed);

  int64_t integer(int64_t low, int64_t high);
  bool chance(double probability);
  Tensor normal(const Shape& shape, double deviation = 1);

  /// A graph input of 2 samples (or an unknown number) with 2 to 6 channels and 7 to 12 rows and columns.
  ValueId image();
  /// A graph input of 2 samples with 2 to 6 features.
  ValueId vector();
  ValueId conv(ValueId x, const ConvChoice& choice = {});
  ValueId conv_transpose(ValueId x);
  ValueId batch_norm(ValueId x, bool shift = true);
  /// Mul, Add, Sub or Div by a constant, on either side; Neg.
  ValueId scale(ValueId x);
  ValueId gemm(ValueId x, std::optional<int64_t> out = {});
  ValueId add(ValueId a, ValueId b);
  ValueId node(Op op, std::vector<ValueId> inputs);
  ValueId constant(Tensor value);
  void output(ValueId value);
  /// Sometimes: another reader of the value, with weights that an earlier convolution uses too where they fit.
  void maybe_read_again(ValueId value);

  const Shape& shape(ValueId value) const { return *builder_.graph().values[static_cast<size_t>(value.index)].shape; }
  int64_t channels(ValueId value) const { return builder_.channels(value); }
  const Graph& graph() const { return builder_.graph(); }
  Graph finish() && { return std::move(builder_).finish(); }

 private:
  std::string name(const std::string& stem) { return stem + "_" + std::to_string(++count_); }

  GraphBuilder builder_;
  std::mt19937_64 random_;
  int count_ = 0;
};

}  // namespace reducenet
