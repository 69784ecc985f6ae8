#include "collapse/rounding.h"

#include <algorithm>
#include <cmath>

#include "rules/view.h"

namespace reducenet {
namespace {

double nearest(double value, DType dtype) {
  const auto narrow = static_cast<float>(value);
  if (dtype == DType::f16) return half_to_float(float_to_half(narrow));
  if (dtype == DType::bf16) return bfloat16_to_float(float_to_bfloat16(narrow));
  return narrow;
}

/// `id` is the matrix of a product that the node is.
bool is_matrix(const Node& node, ValueId id, const Tensor& constant) {
  return constant.shape().size() == 2 && node.inputs.size() > 1 && node.inputs[1] == id &&
         (std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op));
}

}  // namespace

Tensor rounded_sums(const Tensor& matrix, DType dtype, int axis) {
  if (!is_float(dtype) || dtype == DType::f64) return matrix.cast(dtype);
  const int64_t rows = matrix.shape().at(0), columns = matrix.shape().at(1);
  const int64_t sums = axis == 1 ? rows : columns, terms = axis == 1 ? columns : rows;
  const int64_t to_next_sum = axis == 1 ? columns : 1, to_next_term = axis == 1 ? 1 : columns;
  const double unit = rounding_of(dtype);
  std::vector<double> values = matrix.to_doubles();
  for (int64_t i = 0; i < sums; ++i) {
    double lost = 0;
    for (int64_t k = 0; k < terms; ++k) {
      double& value = values[static_cast<size_t>(i * to_next_sum + k * to_next_term)];
      if (value == 0) continue;
      const double exact = value, most = unit * std::abs(exact);
      value = nearest(exact + std::clamp(lost, -most, most), dtype);
      if (!std::isfinite(value)) value = nearest(exact, dtype);
      lost = std::isfinite(value) ? lost + exact - value : 0;
    }
  }
  return Tensor::from_doubles(matrix.shape(), values, dtype);
}

Tensor rounded(const Node& node, ValueId id, const Tensor& constant, DType dtype) {
  const auto* gemm = std::get_if<Gemm>(&node.op);
  return is_matrix(node, id, constant) ? rounded_sums(constant, dtype, gemm && gemm->trans_b ? 1 : 0)
                                       : constant.cast(dtype);
}

int roundings_in(const Graph& graph, const Node& node) {
  int most = 0;
  for (const ValueId in : node.inputs) {
    const Tensor* constant = graph.constant(in);
    if (constant && is_float(constant->dtype())) most = std::max(most, is_matrix(node, in, *constant) ? 2 : 1);
  }
  return most;
}

}  // namespace reducenet
