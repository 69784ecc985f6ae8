// y[i] = x[from[i]], or a constant: whatever moves elements, by a table made beforehand. It has an entry for each run
// of elements that stay together; all runs are of one length.
#include <algorithm>
#include <numeric>

#include "graph/strides.h"
#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

constexpr int64_t kOutside = -1;

/// Those of a table that was made when the step was.
bool has_table(const Op& op) {
  return std::visit([]<class T>(const T&) { return OneOf<T, Slice, SplitAxis, Gather, Repeat, SpaceDepth>; }, op);
}
bool supports(const Step& step) {
  return has_table(step.op) || std::holds_alternative<Transpose>(step.op) || std::holds_alternative<Pad>(step.op);
}
double cost(const Step& step) {
  return 4.0 * static_cast<double>(element_count(step.output.shape));
}

/// Position in x of position `at` − begin on an axis of y.
int64_t source(Pad::Mode mode, int64_t at, int64_t size) {
  if (at >= 0 && at < size) return at;
  switch (mode) {
    case Pad::Mode::constant:
      return kOutside;
    case Pad::Mode::edge:
      return std::clamp<int64_t>(at, 0, size - 1);
    case Pad::Mode::reflect:
      return at < 0 ? -at : 2 * (size - 1) - at;
  }
  return kOutside;
}

/// The length of runs, all equal and as long as can be, in which y is neighbours in x or wholly constant.
int64_t run_length(const std::vector<int64_t>& table) {
  int64_t length = static_cast<int64_t>(table.size());
  for (size_t i = 1; i < table.size() && length > 1; ++i) {
    const bool together = table[i] == (table[i - 1] == kOutside ? kOutside : table[i - 1] + 1);
    if (!together) length = std::gcd(length, static_cast<int64_t>(i));
  }
  return length;
}

/// table: of every element of y, where it is in x.
void make_table(Step& step) {
  const Shape &x = step.inputs[0].shape, &y = step.output.shape;
  const std::vector<int64_t> dense = dense_strides(x);
  step.table.clear();
  if (const auto* transpose = std::get_if<Transpose>(&step.op)) {
    std::vector<int64_t> strides;
    for (const int64_t axis : transpose->perm) strides.push_back(dense[static_cast<size_t>(axis)]);
    for_each_index<1>(y, {strides},
                      [&](int64_t, const std::array<int64_t, 1>& from) { step.table.push_back(from[0]); });
    return;
  }
  const Pad& pad = std::get<Pad>(step.op);
  for (int64_t at = 0, count = element_count(y); at < count; ++at) {
    int64_t rest = at, from = 0;
    for (size_t axis = y.size(); axis-- > 0 && from != kOutside;) {
      const int64_t position = source(pad.mode, rest % y[axis] - pad.begin[axis], x[axis]);
      from = position == kOutside ? kOutside : from + position * dense[axis];
      rest /= y[axis];
    }
    step.table.push_back(from);
  }
}

void pack(Step& step) {
  if (!has_table(step.op)) make_table(step);
  const int64_t length = run_length(step.table);
  if (length <= 1) return;
  for (size_t i = 0; i * static_cast<size_t>(length) < step.table.size(); ++i) {
    step.table[i] = step.table[i * static_cast<size_t>(length)];
  }
  step.table.resize(step.table.size() / static_cast<size_t>(length));
  step.table.shrink_to_fit();
}

void run(const Call& call) noexcept {
  const auto* pad = std::get_if<Pad>(&call.step.op);
  const float value = pad ? static_cast<float>(pad->value) : 0;
  const std::vector<int64_t>& table = call.step.table;
  const int64_t runs = static_cast<int64_t>(table.size());
  const int64_t length = runs ? element_count(call.y()) / runs : 0;
  const Call::Range part = call.share(runs);
  for (int64_t i = part.first; i < part.last; ++i) {
    const int64_t from = table[static_cast<size_t>(i)];
    if (length == 1) {
      call.out()[i] = from == kOutside ? value : call.in()[from];
    } else if (from == kOutside) {
      std::fill_n(call.out() + i * length, length, value);
    } else {
      std::copy_n(call.in() + from, length, call.out() + i * length);
    }
  }
}

}  // namespace

constinit const Kernel kGather{"gather", Layout::plain, Layout::plain, supports, cost, pack, run};

}  // namespace reducenet
