// y = x₀, x₁, … joined along an axis: runs of memory, one after the other.
#include <algorithm>

#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

size_t axis_of(const Step& step) {
  const int64_t axis = std::get<Concat>(step.op).axis, rank = static_cast<int64_t>(step.output.shape.size());
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

bool supports(const Step& step) {
  return std::holds_alternative<Concat>(step.op);
}
/// Along channels, every input but the last filling whole blocks.
bool supports_blocked(const Step& step) {
  if (!supports(step) || axis_of(step) != 1) return false;
  return std::all_of(step.inputs.begin(), step.inputs.end() - 1,
                     [](const Port& x) { return x.shape[1] % kBlock == 0; });
}
double cost(const Step& step) {
  return static_cast<double>(element_count(step.output.shape));
}

/// table: the floats that each input gives at a time.
template <Layout layout>
void pack(Step& step) {
  const Shape& y = step.output.shape;
  const int64_t rows = element_count({y.begin(), y.begin() + static_cast<int64_t>(axis_of(step))});
  step.table.clear();
  for (const Port& x : step.inputs) step.table.push_back(rows == 0 ? 0 : storage(x.shape, layout) / rows);
}

void run(const Call& call) noexcept {
  const Step& step = call.step;
  const Shape& y = call.y();
  int64_t rows = 1, length = 0;
  for (size_t axis = 0; axis < axis_of(step); ++axis) rows *= y[axis];
  for (const int64_t run : step.table) length += run;
  const Call::Range part = call.share(rows);
  for (int64_t row = part.first; row < part.last; ++row) {
    float* to = call.out() + row * length;
    for (size_t i = 0; i < step.table.size(); ++i) {
      to = std::copy_n(call.in(i) + row * step.table[i], step.table[i], to);
    }
  }
}

constexpr Layout kPlain = Layout::plain, kBlocked = Layout::blocked;

}  // namespace

constinit const Kernel kConcat{"concat", kPlain, kPlain, supports, cost, pack<kPlain>, run};
constinit const Kernel kConcatBlocked{"concat-blocked", kBlocked, kBlocked, supports_blocked, cost,
                                      pack<kBlocked>,   run};

}  // namespace reducenet
