#include "reducenet/verify.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>

#include "collapse/region.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

Tensor random_normal(const Shape& shape, std::mt19937_64& random) {
  std::normal_distribution<double> draw;
  std::vector<double> values(static_cast<size_t>(element_count(shape)));
  for (double& v : values) v = draw(random);
  return Tensor::from_doubles(shape, values, DType::f32);
}

/// The shape that inputs are drawn in: unknown dimensions become 1 sample, or 8 rows and columns.
Shape sample_shape(const Value& input) {
  if (!input.shape) throw Error(ErrorKind::unsupported, "input '" + input.name + "' has no known rank");
  Shape shape = *input.shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) shape[i] = i == 0 ? 1 : 8;
  }
  if (element_count(shape) > int64_t{1} << 30) {
    throw Error(ErrorKind::unsupported,
                "input '" + input.name + "', " + to_string(shape) + ", is too large to evaluate");
  }
  return shape;
}

void require_equal_signatures(const Graph& before, const Graph& after) {
  const auto compare = [&](const char* what, const std::vector<ValueId>& a, const std::vector<ValueId>& b) {
    if (a.size() != b.size()) throw Error(ErrorKind::bad_input, std::string("the numbers of ") + what + "s differ");
    for (size_t i = 0; i < a.size(); ++i) {
      const Value &x = before[a[i]], &y = after[b[i]];
      const bool fits = !x.shape || !y.shape ||
                        std::equal(x.shape->begin(), x.shape->end(), y.shape->begin(), y.shape->end(),
                                   [](int64_t m, int64_t n) { return m < 0 || n < 0 || m == n; });
      if (fits) continue;
      throw Error(ErrorKind::bad_input, std::string(what) + " '" + x.name + "' has shape " + to_string(*x.shape) +
                                            ", '" + y.name + "' has " + to_string(*y.shape));
    }
  };
  compare("input", before.inputs, after.inputs);
  compare("output", before.outputs, after.outputs);
}

double largest_magnitude(const std::vector<double>& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

/// Gathers the figures of one sample after the other.
class Comparison {
 public:
  Comparison(const Graph& before, const Graph& after) : before_(before), after_(after) {}

  void add(const std::vector<Tensor>& inputs) {
    const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    const auto exact = evaluate(before_, inputs, {.threads = threads});
    const auto own = evaluate(before_, inputs, {.round_to_f32 = true, .threads = threads});
    const auto made = evaluate(after_, inputs, {.round_to_f32 = true, .threads = threads});
    for (size_t i = 0; i < exact.size(); ++i) {
      const auto x = exact[i].to_doubles(), y = own[i].to_doubles(), z = made[i].to_doubles();
      if (exact[i].shape() != made[i].shape()) return fail("the outputs have different shapes");
      if (!all_finite(x) || !all_finite(y) || !all_finite(z)) return fail("an output is not finite");
      const double scale = std::max(largest_magnitude(x), std::numeric_limits<double>::min());
      certificate_.max_abs_error = std::max(certificate_.max_abs_error, difference(x, z));
      certificate_.max_rel_error = std::max(certificate_.max_rel_error, difference(x, z) / scale);
      certificate_.own_rel_error = std::max(certificate_.own_rel_error, difference(x, y) / scale);
      if (i == 0) count_agreement(exact[i].shape(), x, z);
    }
    ++certificate_.samples;
  }

  Certificate finish() && {
    Certificate& c = certificate_;
    c.tolerance = 4 * c.own_rel_error + 1e-5;
    if (rows_ > 0) c.top1_agreement = static_cast<double>(agreeing_) / static_cast<double>(rows_);
    if (c.why.empty() && c.samples == 0) fail("no sample was compared");
    if (c.why.empty() && c.max_rel_error > c.tolerance) {
      fail("the outputs differ by " + std::to_string(c.max_rel_error) + " relative; float32 accounts for " +
           std::to_string(c.tolerance));
    }
    c.verified = c.why.empty();
    return std::move(c);
  }

 private:
  void fail(const std::string& why) { certificate_.why = why; }

  void count_agreement(const Shape& shape, const std::vector<double>& x, const std::vector<double>& z) {
    const auto rows = shape.empty() ? 1 : shape[0];
    const auto width = static_cast<int64_t>(x.size()) / std::max<int64_t>(rows, 1);
    for (int64_t row = 0; row < rows && width > 0; ++row) {
      const auto top = [&](const std::vector<double>& v) {
        return std::max_element(v.begin() + row * width, v.begin() + (row + 1) * width) - v.begin();
      };
      agreeing_ += top(x) == top(z);
      ++rows_;
    }
  }

  const Graph &before_, &after_;
  Certificate certificate_;
  int64_t agreeing_ = 0, rows_ = 0;
};

}  // namespace

Certificate verify(const Graph& before, const Graph& after, const VerifyOptions& options) {
  require_equal_signatures(before, after);
  Comparison comparison(before, after);
  std::mt19937_64 random(options.seed);
  for (int64_t i = 0; i < options.samples; ++i) {
    std::vector<Tensor> inputs;
    for (const ValueId id : before.inputs) inputs.push_back(random_normal(sample_shape(before[id]), random));
    comparison.add(inputs);
  }
  for (const Tensor& real : options.real_inputs) comparison.add({real});
  return std::move(comparison).finish();
}

Certificate verify(const Graph& before, const Collapsed& collapsed, const VerifyOptions& options) {
  Certificate certificate = verify(before, collapsed.graph, options);
  certificate.regions = check_regions(before, collapsed);
  for (const RegionCheck& region : certificate.regions) {
    if (region.holds()) continue;
    certificate.verified = false;
    certificate.why = "the region that makes '" + region.name + "' is not the same function: off by " +
                      std::to_string(region.error_to_bound) +
                      " times what rounding accounts for; superposition is off by " +
                      std::to_string(region.superposition_error);
  }
  return certificate;
}

double superposition_error(const Graph& graph, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Tensor> a, b, zero, both;
  for (const ValueId id : graph.inputs) {
    const Shape shape = sample_shape(graph[id]);
    a.push_back(random_normal(shape, random).cast(DType::f64));
    b.push_back(random_normal(shape, random).cast(DType::f64));
    zero.push_back(Tensor::filled(shape, 0));
    std::vector<double> sum = a.back().to_doubles();
    const std::vector<double> other = b.back().to_doubles();
    std::transform(sum.begin(), sum.end(), other.begin(), sum.begin(), std::plus<>());
    both.push_back(Tensor::from_doubles(shape, sum));
  }
  const auto fa = evaluate(graph, a), fb = evaluate(graph, b), f0 = evaluate(graph, zero), fab = evaluate(graph, both);
  double error = 0, scale = std::numeric_limits<double>::min();
  for (size_t i = 0; i < fa.size(); ++i) {
    const auto x = fa[i].to_doubles(), y = fb[i].to_doubles(), z = f0[i].to_doubles(), w = fab[i].to_doubles();
    for (size_t k = 0; k < x.size(); ++k) error = std::max(error, std::abs(x[k] + y[k] - z[k] - w[k]));
    scale = std::max({scale, largest_magnitude(x), largest_magnitude(y), largest_magnitude(w)});
  }
  return error / scale;
}

}  // namespace reducenet
