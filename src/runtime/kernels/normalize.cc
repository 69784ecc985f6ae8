// y = (x − mean)/√(var + ε)·scale + bias with the statistics of x itself, over rows of memory: what LayerNormalization,
// InstanceNormalization and GroupNormalization do in NCHW.
#include <array>
#include <cmath>
#include <numeric>

#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

bool supports(const Step& step) {
  return std::holds_alternative<Normalize>(step.op);
}
double cost(const Step& step) {
  return 8.0 * static_cast<double>(element_count(step.output.shape));
}

void pack(Step& step) {
  step.packed.assign(step.weight.begin(), step.weight.end());
  pack_bias(step, std::ssize(step.weight));
}

/// Of f(0), …, f(length − 1): independent sums do not wait for one another.
template <class F>
double average(int64_t length, F f) {
  std::array<double, 8> sums{};
  constexpr auto kWays = static_cast<int64_t>(sums.size());
  int64_t i = 0;
  for (; i + kWays <= length; i += kWays) {
    for (int64_t k = 0; k < kWays; ++k) sums[static_cast<size_t>(k)] += f(i + k);
  }
  for (; i < length; ++i) sums[0] += f(i);
  return std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(length);
}

void run(const Call& call) noexcept {
  const Normalize& op = std::get<Normalize>(call.step.op);
  const int64_t length = call.step.weight_shape[1], count = element_count(call.x());
  if (count == 0) return;
  const auto period = static_cast<int64_t>(call.step.packed.size());
  const Call::Range rows = call.share(count / length);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const float* const x = call.in() + row * length;
    float* const y = call.out() + row * length;
    const float* const scale = call.step.packed.data() + row * length % period;
    const float* const bias = call.step.packed_bias.data() + row * length % period;
    const double mean = average(length, [x](int64_t i) { return static_cast<double>(x[i]); });
    const double variance = average(length, [x, mean](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
    const double by = 1 / std::sqrt(variance + op.epsilon);
    for (int64_t i = 0; i < length; ++i) {
      y[i] = static_cast<float>((x[i] - mean) * by) * scale[i] + bias[i];
    }
  }
}

}  // namespace

constinit const Kernel kNormalize{"normalize", Layout::plain, Layout::plain, supports, cost, pack, run};

}  // namespace reducenet
