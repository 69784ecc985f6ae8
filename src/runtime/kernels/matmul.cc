// y[…][i][j] = alpha · Σ_k a[…][i][k] · b[…][k][j] + beta · c[i][j], with broadcasting; both factors known only at run
// time.
#include <array>

#include "graph/strides.h"
#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

/// One matrix product: sizes, and steps of elements along i, k and j.
struct Product {
  Gemm op;
  int64_t rows, inner, columns, a_i, a_k, b_k, b_j;
};

Product product(const Step& step) {
  const Shape &a = step.inputs[0].shape, &b = step.inputs[1].shape;
  Product p;
  if (const auto* gemm = std::get_if<Gemm>(&step.op)) p.op = *gemm;
  const int64_t a_rows = a.size() > 1 ? a[a.size() - 2] : 1, b_columns = b.size() > 1 ? b.back() : 1;
  const int64_t b_rows = b.size() > 1 ? b[b.size() - 2] : b.back();
  p.rows = p.op.trans_a ? a.back() : a_rows;
  p.inner = p.op.trans_a ? a_rows : a.back();
  p.columns = p.op.trans_b ? b_rows : b_columns;
  p.a_i = p.op.trans_a ? 1 : a.back();
  p.a_k = p.op.trans_a ? a.back() : 1;
  p.b_k = p.op.trans_b ? 1 : b_columns;
  p.b_j = p.op.trans_b ? b_columns : 1;
  return p;
}

bool supports(const Step& step) {
  return std::holds_alternative<MatMul>(step.op) || (std::holds_alternative<Gemm>(step.op) && step.weight.empty());
}

double cost(const Step& step) {
  return 16.0 * static_cast<double>(step.macs);
}

/// table: steps of c along i and j, then for every matrix of the batch where a and b begin.
void pack(Step& step) {
  const Product p = product(step);
  const Shape &a = step.inputs[0].shape, &b = step.inputs[1].shape;
  step.table = {0, 0};
  if (step.inputs.size() > 2) step.table = broadcast_strides(step.inputs[2].shape, step.output.shape);
  Shape batch = step.output.shape;
  if (b.size() > 1) batch.pop_back();
  if (a.size() > 1) batch.pop_back();
  const auto strides = [&](const Shape& shape, int64_t matrix) {
    if (shape.size() < 3) return std::vector<int64_t>(batch.size(), 0);
    auto steps = broadcast_strides({shape.begin(), shape.end() - 2}, batch);
    for (int64_t& step : steps) step *= matrix;
    return steps;
  };
  for_each_index<2>(batch, {strides(a, p.rows * p.inner), strides(b, p.inner * p.columns)},
                    [&](int64_t, const std::array<int64_t, 2>& from) {
                      step.table.insert(step.table.end(), from.begin(), from.end());
                    });
}

void run(const Call& call) noexcept {
  const Product p = product(call.step);
  const std::vector<int64_t>& table = call.step.table;
  const float alpha = static_cast<float>(p.op.alpha), beta = static_cast<float>(p.op.beta);
  const float* c = call.step.inputs.size() > 2 ? call.in(2) : nullptr;
  const Call::Range rows = call.share((static_cast<int64_t>(table.size()) / 2 - 1) * p.rows);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const int64_t i = row % p.rows, matrix = row / p.rows;
    const float* a = call.in(0) + table[static_cast<size_t>(2 + 2 * matrix)] + i * p.a_i;
    const float* b = call.in(1) + table[static_cast<size_t>(3 + 2 * matrix)];
    for (int64_t j = 0; j < p.columns; ++j) {
      float sum = 0;
      for (int64_t k = 0; k < p.inner; ++k) sum += a[k * p.a_k] * b[k * p.b_k + j * p.b_j];
      call.out()[row * p.columns + j] = alpha * sum + (c ? beta * c[i * table[0] + j * table[1]] : 0);
    }
  }
}

}  // namespace

constinit const Kernel kMatMul{"matmul", Layout::plain, Layout::plain, supports, cost, pack, run};

}  // namespace reducenet
