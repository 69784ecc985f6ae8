// y = channels [start, start + C') of x, start filling whole blocks: runs of memory.
#include <algorithm>

#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

int64_t pixels(const Shape& shape) {
  return shape.size() == 4 ? shape[2] * shape[3] : 1;
}

/// step.table says where every element of y lies in x.
bool supports(const Step& step) {
  const Shape &x = step.inputs[0].shape, &y = step.output.shape;
  const bool slices = std::holds_alternative<Slice>(step.op) || std::holds_alternative<SplitAxis>(step.op);
  if (!slices || (x.size() != 4 && x.size() != 2) || x.size() != y.size() || step.table.empty()) return false;
  for (size_t axis = 0; axis < x.size(); ++axis) {
    if (axis != 1 && x[axis] != y[axis]) return false;
  }
  const int64_t plane = pixels(x), first = step.table[0];
  for (int64_t i = 0; i < y[1] * plane; ++i) {
    if (step.table[static_cast<size_t>(i)] != first + i) return false;
  }
  return first % (kBlock * plane) == 0;
}
double cost(const Step& step) {
  return static_cast<double>(element_count(step.output.shape));
}
void pack(Step&) {}

void run(const Call& call) noexcept {
  const Shape &x = call.x(), &y = call.y();
  const int64_t plane = pixels(x) * kBlock, start = call.step.table[0] / pixels(x) / kBlock;
  const int64_t taken = ceil_div(y[1], kBlock), all = ceil_div(x[1], kBlock);
  const Call::Range part = call.share(y[0] * taken);
  for (int64_t block = part.first; block < part.last; ++block) {
    const int64_t from = block / taken * all + start + block % taken;
    std::copy_n(call.in() + from * plane, plane, call.out() + block * plane);
  }
}

}  // namespace

constinit const Kernel kSliceBlocked{"slice-blocked", Layout::blocked, Layout::blocked, supports, cost, pack, run};

}  // namespace reducenet
