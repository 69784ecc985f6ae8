// y[i] = exp(x[i] − m)/Σ exp(x[k] − m), m = max x, along an axis; or its logarithm  x[i] − m − log Σ exp(x[k] − m).
#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

bool supports(const Step& step) {
  return std::holds_alternative<Softmax>(step.op);
}
double cost(const Step& step) {
  return 16.0 * static_cast<double>(element_count(step.output.shape));
}
void pack(Step&) {}

void run(const Call& call) noexcept {
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
    for (int64_t i = 0; i < length; i += inner) sum += y[i] = std::exp(x[i] - highest);
    const float log_sum = std::log(sum);
    for (int64_t i = 0; i < length; i += inner) y[i] = op.log ? x[i] - highest - log_sum : y[i] / sum;
  }
}

}  // namespace

constinit const Kernel kSoftmax{"softmax", Layout::plain, Layout::plain, supports, cost, pack, run};

}  // namespace reducenet
