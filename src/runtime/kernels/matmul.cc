// y[…][i][j] = alpha · Σ_k a[…][i][k] · b[…][k][j] + beta · c[i][j], with broadcasting; both factors known only at run
// time.
#include <algorithm>
#include <array>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/matmul.cc"
#include "graph/strides.h"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"
#include "runtime/matrices.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// Most rows of a that are multiplied at a time, and vectors of columns of b that meet them in registers.
inline constexpr int64_t kMostRows = 6;
inline constexpr size_t kMatVectors = 2;

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

/// y[i][j] = Σ_k a[i][k] · b[k][j] for `Rows` rows and `Vectors` vectors of columns, which follow one another.
template <size_t Rows, size_t Vectors>
HWY_NOINLINE void product_tile(const Product& p, const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                               float* HWY_RESTRICT y) {
  const Lanes d;
  Vector sum[Rows][Vectors];
  unroll<Rows>([&](auto i) HWY_ATTR { unroll<Vectors>([&](auto v) HWY_ATTR { sum[i][v] = hn::Zero(d); }); });
  for (int64_t k = 0; k < p.inner; ++k, a += p.a_k, b += p.b_k) {
    Vector column[Vectors];
    unroll<Vectors>([&](auto v) HWY_ATTR { column[v] = hn::LoadU(d, b + v * kLanes); });
    unroll<Rows>([&](auto i) HWY_ATTR {
      const auto value = hn::Set(d, a[static_cast<int64_t>(i) * p.a_i]);
      unroll<Vectors>([&](auto v) HWY_ATTR { sum[i][v] = hn::MulAdd(value, column[v], sum[i][v]); });
    });
  }
  unroll<Rows>([&](auto i) HWY_ATTR {
    unroll<Vectors>([&](auto v) HWY_ATTR {
      hn::StoreU(sum[i][v], d, y + static_cast<int64_t>(i) * p.columns + static_cast<int64_t>(v * kLanes));
    });
  });
}

using ProductTile = void (*)(const Product&, const float*, const float*, float*);
template <size_t Vectors>
inline constexpr auto kProductTile = []<size_t... i>(std::index_sequence<i...>) {
  return std::array<ProductTile, kMostRows>{&product_tile<i + 1, Vectors>...};
}
(std::make_index_sequence<kMostRows>());

/// As above for `rows` ≤ kMostRows rows and every column. The last vector of columns begins early enough to be whole;
/// what it has in common with the one before comes out the same.
void product_rows(const Product& p, const float* a, const float* b, int64_t rows, float* y) {
  constexpr int64_t kOne = static_cast<int64_t>(kLanes), kPair = kOne * static_cast<int64_t>(kMatVectors);
  if (p.b_j != 1 || p.columns < kOne) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < p.columns; ++j) {
        float sum = 0;
        for (int64_t k = 0; k < p.inner; ++k) sum += a[i * p.a_i + k * p.a_k] * b[k * p.b_k + j * p.b_j];
        y[i * p.columns + j] = sum;
      }
    }
    return;
  }
  const size_t index = static_cast<size_t>(rows - 1);
  int64_t j = 0;
  for (; j + kPair <= p.columns; j += kPair) kProductTile<kMatVectors>[index](p, a, b + j, y + j);
  for (; j < p.columns; j += kOne) {
    const int64_t from = std::min(j, p.columns - kOne);
    kProductTile<1>[index](p, a, b + from, y + from);
  }
}

void multiply(const Call& call) {
  const Product p = product(call.step);
  const std::vector<int64_t>& table = call.step.table;
  const float alpha = static_cast<float>(p.op.alpha), beta = static_cast<float>(p.op.beta);
  const float* c = call.step.inputs.size() > 2 ? call.in(2) : nullptr;
  const Call::Range rows = call.share((static_cast<int64_t>(table.size()) / 2 - 1) * p.rows);
  for (int64_t row = rows.first, many = 0; row < rows.last; row += many) {
    const int64_t i = row % p.rows, matrix = row / p.rows;
    many = std::min({kMostRows, p.rows - i, rows.last - row});
    const float* a = call.in(0) + table[static_cast<size_t>(2 + 2 * matrix)] + i * p.a_i;
    const float* b = call.in(1) + table[static_cast<size_t>(3 + 2 * matrix)];
    float* y = call.out() + row * p.columns;
    product_rows(p, a, b, many, y);
    if (!c && alpha == 1) continue;
    for (int64_t at = 0; at < many * p.columns; ++at) {
      const float add = c ? beta * c[(i + at / p.columns) * table[0] + at % p.columns * table[1]] : 0;
      y[at] = alpha * y[at] + add;
    }
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(multiply);

bool supports(const Step& step) {
  return std::holds_alternative<MatMul>(step.op) || (std::holds_alternative<Gemm>(step.op) && step.weight.empty());
}

double cost(const Step& step) {
  return 16.0 * static_cast<double>(step.macs);
}

/// table: steps of c along i and j, then for every matrix of the batch where a and b begin.
void pack(Step& step) {
  step.table = {0, 0};
  if (step.inputs.size() > 2) step.table = broadcast_strides(step.inputs[2].shape, step.output.shape);
  for (const auto& from : matrix_starts(step.inputs[0].shape, step.inputs[1].shape, step.output.shape)) {
    step.table.insert(step.table.end(), from.begin(), from.end());
  }
}

void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(multiply)(call);
}

}  // namespace

constinit const Kernel kMatMul{"matmul", Layout::plain, Layout::plain, supports, cost, pack, run};

}  // namespace reducenet
#endif
