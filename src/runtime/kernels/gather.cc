// y[i] = x[from[i]], or a constant: whatever moves elements, by a table made beforehand. It has an entry for each run
// of elements that stay together; all runs are of one length.
#include <algorithm>

#include "graph/strides.h"
#include "runtime/kernels/rows.h"
#include "runtime/moves.h"

namespace reducenet {
namespace {

/// Those of a table that was made when the step was.
bool has_table(const Op& op) {
  return std::visit([]<class T>(const T&) { return OneOf<T, Slice, SplitAxis, Gather, Repeat, SpaceDepth, Where>; },
                    op);
}
bool supports(const Step& step) {
  return has_table(step.op) || std::holds_alternative<Transpose>(step.op) || std::holds_alternative<Pad>(step.op);
}
double cost(const Step& step) {
  return 4.0 * static_cast<double>(element_count(step.output.shape));
}

/// table: of every element of y, where it is in x.
void make_table(Step& step) {
  const Shape &x = step.inputs[0].shape, &y = step.output.shape;
  if (const auto* pad = std::get_if<Pad>(&step.op)) {
    step.table = sources(*pad, x, y);
    step.outside = static_cast<float>(pad->value);
    return;
  }
  const std::vector<int64_t> dense = dense_strides(x);
  std::vector<int64_t> strides;
  for (const int64_t axis : std::get<Transpose>(step.op).perm) strides.push_back(dense[static_cast<size_t>(axis)]);
  step.table.clear();
  for_each_index<1>(y, {strides}, [&](int64_t, const std::array<int64_t, 1>& from) { step.table.push_back(from[0]); });
}

void pack(Step& step) {
  if (!has_table(step.op)) make_table(step);
  shorten(step.table);
  step.table.shrink_to_fit();
}

void run(const Call& call) noexcept {
  const std::vector<int64_t>& table = call.step.table;
  const int64_t runs = static_cast<int64_t>(table.size());
  const int64_t length = runs ? element_count(call.y()) / runs : 0;
  const Call::Range part = call.share(runs);
  for (int64_t i = part.first; i < part.last; ++i) {
    const int64_t from = table[static_cast<size_t>(i)];
    if (length == 1) {
      call.out()[i] = from == kOutside ? call.step.outside : call.in()[from];
    } else if (from == kOutside) {
      std::fill_n(call.out() + i * length, length, call.step.outside);
    } else {
      std::copy_n(call.in() + from, length, call.out() + i * length);
    }
  }
}

}  // namespace

constinit const Kernel kGather{"gather", Layout::plain, Layout::plain, supports, cost, pack, run};

}  // namespace reducenet
