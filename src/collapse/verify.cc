#include "reducenet/verify.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "collapse/region.h"
#include "collapse/sizes.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Tensor random_normal(const Shape& shape, std::mt19937_64& random) {
  std::normal_distribution<double> draw;
  std::vector<double> values(static_cast<size_t>(element_count(shape)));
  for (double& v : values) v = draw(random);
  return Tensor::from_doubles(shape, values, DType::f32);
}

constexpr OpenSizes kSmall{1, 32, 32};
/// The sizes of the samples, in turn; heights and widths differ.
constexpr OpenSizes kOpenSizes[] = {kSmall, {2, 40, 56}, {1, 63, 49}}, kLargest{1, 224, 224};

const OpenSizes& sizes_of(int64_t sample) {
  return kOpenSizes[static_cast<size_t>(sample) % std::size(kOpenSizes)];
}

Shape sample_shape(const Value& input, const OpenSizes& sizes) {
  Shape shape = with_sizes(input, sizes);
  if (element_count(shape) > int64_t{1} << 30) {
    throw Error(ErrorKind::unsupported,
                "input '" + input.name + "', " + to_string(shape) + ", is too large to evaluate");
  }
  return shape;
}

/// What samples are made of. The later ones are for networks that answer others by no finite numbers, such as those
/// that take logarithms of their inputs.
using Domain = double (*)(double normal);
constexpr Domain kDomains[] = {
    [](double x) { return x; },
    [](double x) { return std::abs(x); },
    [](double x) { return std::abs(x) / (1 + std::abs(x)); },
    [](double x) { return 1 + std::abs(x); },
};

std::vector<Tensor> draw_inputs(const Graph& graph, const OpenSizes& sizes, std::mt19937_64& random,
                                Domain domain = kDomains[0]) {
  std::vector<Tensor> inputs;
  for (const ValueId id : graph.inputs) {
    const Tensor drawn = random_normal(sample_shape(graph[id], sizes), random);
    const bool whole = !is_float(graph[id].dtype);  // small whole numbers
    std::vector<double> values = drawn.to_doubles();
    for (double& v : values) v = whole ? std::floor(3 * std::abs(v)) : domain(v);
    inputs.push_back(Tensor::from_doubles(drawn.shape(), values, DType::f32));
  }
  return inputs;
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
bool all_finite(const std::vector<Tensor>& tensors) {
  return std::ranges::all_of(tensors, [](const Tensor& t) { return all_finite(t.to_doubles()); });
}

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

/// Gathers the figures of one sample after the other.
class Comparison {
 public:
  /// False, and nothing judged, when the first network answers by other than finite numbers and `judge_all` is not set.
  bool run(const Graph& before, const Graph& after, const std::vector<Tensor>& inputs, bool judge_all = true) {
    const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    const auto exact = evaluate(before, inputs, {.threads = threads});
    if (!judge_all && !all_finite(exact)) return false;
    const auto own = evaluate(before, inputs, {.round_to_f32 = true, .threads = threads});
    const auto made = evaluate(after, inputs, {.round_to_f32 = true, .threads = threads});
    judge(exact, own, made);
    return true;
  }

  /// `own`: what the first network is in float32.
  void judge(const std::vector<Tensor>& exact, const std::vector<Tensor>& own, const std::vector<Tensor>& made) {
    if (exact.size() != made.size()) return fail("the numbers of outputs differ");
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

  Certificate finish(double tolerance = 1e-5) && {
    Certificate& c = certificate_;
    c.tolerance = 4 * c.own_rel_error + tolerance;
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

  /// Of [N, classes, positions…], at every position; a single list is one row of classes.
  void count_agreement(const Shape& shape, const std::vector<double>& x, const std::vector<double>& z) {
    const bool lists = shape.size() < 2;
    const auto size = static_cast<int64_t>(x.size());
    const int64_t rows = lists ? 1 : shape[0], classes = lists ? size : shape[1];
    const int64_t positions = size / std::max<int64_t>(rows * classes, 1);
    const auto top = [&](const std::vector<double>& v, int64_t first) {
      int64_t best = 0;
      const auto at = [&](int64_t c) { return v[static_cast<size_t>(first + c * positions)]; };
      for (int64_t c = 1; c < classes; ++c) best = at(c) > at(best) ? c : best;
      return best;
    };
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t position = 0; position < positions; ++position) {
        const int64_t first = row * classes * positions + position;
        agreeing_ += top(x, first) == top(z, first);
        ++rows_;
      }
    }
  }

  Certificate certificate_;
  int64_t agreeing_ = 0, rows_ = 0;
};

}  // namespace

Certificate verify(const Graph& before, const Graph& after, const VerifyOptions& options) {
  const auto start = Clock::now();
  require_equal_signatures(before, after);
  Comparison comparison;
  std::mt19937_64 random(options.seed);
  const bool open = has_open_sizes(before);
  auto other = common_sizes().begin();  // the first that fits where the samples' own do not
  size_t domain = 0;                    // the first from which the network makes finite numbers
  for (int64_t i = 0; i < options.samples; ++i) {
    for (const OpenSizes* sizes = &sizes_of(i);; sizes = &*other) {
      try {
        while (!comparison.run(before, after, draw_inputs(before, *sizes, random, kDomains[domain]),
                               domain + 1 == std::size(kDomains))) {
          ++domain;
        }
        break;
      } catch (const Error& error) {  // a network of a least size, or of one height
        if (!open || error.kind() != ErrorKind::bad_input) throw;
        if (sizes == &*other) ++other;
        if (other == common_sizes().end()) refuse_sizes(error.what());
      }
    }
  }
  for (const Tensor& real : options.real_inputs) comparison.run(before, after, {real});
  Certificate certificate = std::move(comparison).finish();
  certificate.sample_seconds = since(start);
  return certificate;
}

std::vector<std::vector<Tensor>> sample_inputs(const Graph& graph, const VerifyOptions& options, bool largest) {
  std::vector<std::vector<Tensor>> samples;
  std::mt19937_64 random(options.seed);
  for (int64_t i = 0; i < options.samples; ++i) {
    samples.push_back(draw_inputs(graph, largest ? kLargest : sizes_of(i), random));
  }
  for (const Tensor& real : options.real_inputs) samples.push_back({real});
  return samples;
}

Certificate compare(const std::vector<std::vector<Tensor>>& before, const std::vector<std::vector<Tensor>>& after) {
  constexpr double kBetweenFloats = 1e-4;
  Comparison comparison;
  for (size_t i = 0; i < before.size(); ++i) comparison.judge(before[i], before[i], after.at(i));
  return std::move(comparison).finish(kBetweenFloats);
}

Certificate verify(const Graph& before, const Collapsed& collapsed, const VerifyOptions& options) {
  Certificate certificate;
  for (const ValueId id : before.inputs) {
    if (before[id].shape) sample_shape(before[id], kSmall);  // too large to be tried at all
  }
  try {
    certificate = verify(before, collapsed.graph, options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    certificate.verified = true;
    certificate.not_run = error.what();
  }
  const auto start = Clock::now();
  certificate.regions = check_regions(before, collapsed);
  certificate.region_seconds = since(start);
  certificate.judge_regions();
  return certificate;
}

void Certificate::judge_regions() {
  for (const RegionCheck& region : regions) {
    if (region.holds() && (region.not_run.empty() || not_run.empty())) continue;
    verified = false;
    why = "the region that makes '" + region.name + "' ";
    if (region.holds()) {
      why += "was not run: " + region.not_run;
    } else {
      why += "is not the same function: off by " + std::to_string(region.error_to_bound) +
             " times what rounding accounts for; superposition is off by " + std::to_string(region.superposition_error);
    }
  }
}

double superposition_error(const Graph& graph, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Tensor> a, b, zero, both;
  for (const ValueId id : graph.inputs) {
    const Shape shape = sample_shape(graph[id], kSmall);
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
