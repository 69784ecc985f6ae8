// y[i] = exp(x[i] − m)/Σ exp(x[k] − m), m = max x, along an axis; or its logarithm  x[i] − m − log Σ exp(x[k] − m).
#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/softmax.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

/// y[i] = exp(x[i] − highest), i < count, which follow one another; returns their sum.
float exponentials(const float* x, float highest, int64_t count, float* y) {
  const Lanes d;
  const auto top = hn::Set(d, highest);
  auto sums = hn::Zero(d);
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kLanes) <= count; i += kLanes) {
    const auto below = hn::Sub(hn::LoadU(d, x + i), top);
    const auto power = hn::IfThenZeroElse(hn::Lt(below, hn::Set(d, -87.0f)), exp_within(below));
    hn::StoreU(power, d, y + i);
    sums = hn::Add(sums, power);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < count; ++i) sum += y[i] = std::exp(x[i] - highest);
  return sum;
}

void softmax(const Call& call) {
  const Softmax& op = std::get<Softmax>(call.step.op);
  const Shape& shape = call.y();
  const size_t axis = static_cast<size_t>(op.axis < 0 ? op.axis + static_cast<int64_t>(shape.size()) : op.axis);
  int64_t outer = 1, inner = 1;
  for (size_t i = 0; i < axis; ++i) outer *= shape[i];
  for (size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  const int64_t length = shape[axis] * inner;
  const Call::Range lines = call.share(outer * inner);
  for (int64_t line = lines.first; line < lines.last; ++line) {
    const int64_t start = line / inner * length + line % inner;
    const float* x = call.in() + start;
    float* y = call.out() + start;
    float highest = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int64_t i = 0; i < length; i += inner) highest = std::max(highest, x[i]);
    if (inner == 1) {
      sum = exponentials(x, highest, length, y);
    } else {
      for (int64_t i = 0; i < length; i += inner) sum += y[i] = std::exp(x[i] - highest);
    }
    const float log_sum = std::log(sum);
    for (int64_t i = 0; i < length; i += inner) y[i] = op.log ? x[i] - highest - log_sum : y[i] / sum;
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(softmax);

bool supports(const Step& step) {
  return std::holds_alternative<Softmax>(step.op);
}
double cost(const Step& step) {
  return 16.0 * static_cast<double>(element_count(step.output.shape));
}
void pack(Step&) {}

void run(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(softmax)(call);
}

}  // namespace

constinit const Kernel kSoftmax{"softmax", Layout::plain, Layout::plain, supports, cost, pack, run};

}  // namespace reducenet
#endif
