#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "collapse/region.h"
#include "collapse/rounding.h"
#include "collapse/sizes.h"
#include "reducenet/error.h"
#include "reducenet/verify.h"
#include "rules/range.h"
#include "rules/view.h"

namespace reducenet {
namespace {

/// What arithmetic in double may lose where batch norms of tiny variance cancel, relative to the terms that are summed.
constexpr double kDoubleArithmetic = 1e-9;

/// The spatial size at which a region is tried: large enough for outputs that touch the top, neither end, and the
/// bottom, equal to the true size modulo every stride, so that the last windows fall alike.
class CropSize {
 public:
  void add(const Graph& graph, const Node& node) {
    const auto* conv = std::get_if<Conv2d>(&node.op);
    const auto* pool = std::get_if<AveragePool>(&node.op);
    if (conv) {
      const Shape& w = graph.constant(node.inputs[1])->shape();
      for (size_t i = 0; i < 2; ++i)
        grow(i, conv->dilation[i] * (w[i + 2] - 1), conv->stride[i], side(conv->padding, i));
    } else if (pool) {
      for (size_t i = 0; i < 2; ++i) grow(i, pool->kernel[i] - 1, pool->stride[i], side(pool->padding, i));
    } else if (const auto* pad = std::get_if<Pad>(&node.op)) {
      for (size_t i = 0; i < 2; ++i) needed_[i] = std::max(needed_[i], 1 - pad->begin[i + 2] - pad->end[i + 2]);
    }
  }

  /// Cuts an image down; never beyond its own size.
  void fit(Shape& image) const {
    for (size_t i = 0; i < 2; ++i) {
      int64_t& size = image[i + 2];
      const int64_t rest = ((size - needed_[i]) % period_[i] + period_[i]) % period_[i];
      size = std::min(size, needed_[i] + rest);
    }
  }

 private:
  static int64_t side(const Padding& p, size_t axis) { return axis == 0 ? p.top : p.left; }

  // Output ⌈before/stride⌉ is the first whose window starts inside.
  void grow(size_t i, int64_t reach, int64_t stride, int64_t before) {
    needed_[i] = std::max(needed_[i], (before + stride - 1) / stride * stride - before + reach + 1);
    period_[i] = std::lcm(period_[i], stride);
  }

  Size2 needed_{1, 1}, period_{1, 1};
};

/// Ops whose meaning does not depend on the size of the image.
bool may_crop(const Graph& graph, const Node& node) {
  if (std::holds_alternative<Conv2d>(node.op)) return graph.constant(node.inputs[1]) != nullptr;
  const bool map_of_image = std::holds_alternative<BatchNorm>(node.op) || std::holds_alternative<Activation>(node.op) ||
                            std::holds_alternative<Fade>(node.op) || std::holds_alternative<Unary>(node.op) ||
                            std::holds_alternative<Identity>(node.op) || std::holds_alternative<Dropout>(node.op);
  if (std::holds_alternative<Binary>(node.op)) {
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId in) {
      const Tensor* constant = graph.constant(in);
      const size_t rank = constant ? constant->shape().size() : 0;
      return rank == 0 || constant->size() == 1 || (rank >= 3 && constant->size() == constant->shape()[rank - 3]);
    });
  }
  const auto* pool = std::get_if<AveragePool>(&node.op);
  const auto* pad = std::get_if<Pad>(&node.op);
  return map_of_image || (pool && !pool->ceil_mode) || (pad && pad->begin.size() == 4);
}

/// The region in both graphs, and the shapes at which it is tried.
struct Trial {
  Graph before, after;
  std::vector<Shape> shapes;  ///< of one sample, by input
  std::vector<Range> ranges;  ///< of what the inputs can be, as far as their producers show
  std::vector<DType> types;   ///< of the inputs
  bool batched;               ///< all samples may be one run
};

/// Equal but for samples and channels: may be cropped together.
bool same_plane(const Shape& a, const Shape& b) {
  return a.size() == b.size() && a.size() >= 2 && std::equal(a.begin() + 2, a.end(), b.begin() + 2);
}

/// The part's output for inputs of these shapes; nothing when its ops do not fit together at them: paths of different
/// strides may meet at one size only.
std::optional<Shape> output_shape(Graph part, const std::vector<Shape>& shapes) {
  for (size_t i = 0; i < shapes.size(); ++i) part[part.inputs[i]].shape = shapes[i];
  try {
    infer_shapes(part);
  } catch (const Error&) {
    return std::nullopt;
  }
  for (const Node& node : part.nodes) {
    if (!std::holds_alternative<Binary>(node.op) || part.constant(node.inputs[0]) || part.constant(node.inputs[1]))
      continue;
    if (part[node.inputs[0]].shape != part[node.inputs[1]].shape) return std::nullopt;
  }
  return part[part.outputs[0]].shape;
}

using Sizes = std::unordered_map<std::string, Tensor>;  // what a Shape node makes, by its name

/// What the Shape nodes make that the regions contain, measured in a run of the whole network. Nothing where it cannot
/// be run.
Sizes measure_sizes(const Graph& graph, std::span<const Region> regions) {
  std::unordered_set<std::string_view> inside;
  for (const Region& region : regions) inside.insert(region.before.begin(), region.before.end());
  std::unordered_map<int32_t, const std::string*> wanted;  // by value index
  for (const Node& node : graph.nodes) {
    if (std::holds_alternative<ShapeOf>(node.op) && inside.contains(node.name)) {
      wanted.emplace(node.outputs[0].index, &node.name);
    }
  }
  if (wanted.empty()) return {};
  Sizes sizes;
  const auto keep = [&](ValueId id, const Tensor& made) {
    if (const auto found = wanted.find(id.index); found != wanted.end()) sizes.emplace(*found->second, made);
  };
  try {
    std::vector<Tensor> inputs;
    for (const ValueId id : graph.inputs) inputs.push_back(Tensor::filled(*graph[id].shape, 0, graph[id].dtype));
    evaluate(graph, inputs, {.threads = static_cast<int>(std::thread::hardware_concurrency())}, keep);
  } catch (const Error&) {
    return {};
  }
  return sizes;
}

/// Puts constants in the place of Shape nodes, and leaves out what is only measured. True if there were any.
bool put_sizes(Graph& part, const Sizes& sizes) {
  const auto is_measured = [&](const Node& node) {
    const auto found = std::holds_alternative<ShapeOf>(node.op) ? sizes.find(node.name) : sizes.end();
    if (found != sizes.end()) part[node.outputs[0]].constant = found->second;
    return found != sizes.end();
  };
  if (std::erase_if(part.nodes, is_measured) == 0) return false;
  remove_dead(part);
  return true;
}

/// Inputs of unknown shape have the guessed one; the original network has every other shape known. What an input can be
/// is known from both: they are the same there, as the regions before this one show.
Trial prepare(const Site& old, const Site& made, const Region& region, const Shape& guess, const Sizes& sizes) {
  const Graph &before = old.graph, &after = made.graph;
  Trial trial{cut_out(before, region.before, region.inputs, region.output),
              cut_out(after, region.after, region.inputs, region.made),
              {},
              {},
              {},
              !region.inputs.empty()};
  trial.batched &= !put_sizes(trial.before, sizes);
  CropSize crop;
  for (const Graph* part : {&trial.before, &trial.after}) {
    for (const Node& node : part->nodes) {
      trial.batched &= may_crop(*part, node);
      if (trial.batched) crop.add(*part, node);
    }
  }
  for (const std::string& name : region.inputs) {
    const ValueId id = before.find_value(name);
    trial.shapes.push_back(before[id].shape.value_or(guess));
    const ValueId same = after.find_value(name);
    const Range x = range_of(old, id), y = same ? range_of(made, same) : Range{};
    trial.ranges.push_back({std::max(x.low, y.low), std::min(x.high, y.high)});
    trial.types.push_back(before[id].dtype);
    for (int64_t& dim : trial.shapes.back()) dim = dim < 0 ? 8 : dim;  // behind an op of unknown shape
    trial.batched &= same_plane(trial.shapes.back(), trial.shapes[0]);
  }
  if (!trial.batched) return trial;
  for (Shape& shape : trial.shapes) shape[0] = 1;
  std::vector<Shape> cropped = trial.shapes;
  for (Shape& shape : cropped) {
    if (shape.size() == 4) crop.fit(shape);
  }
  const auto old_output = output_shape(trial.before, cropped), new_output = output_shape(trial.after, cropped);
  if (old_output && old_output == new_output) trial.shapes = std::move(cropped);
  return trial;
}

using Sample = std::vector<std::vector<double>>;  // by input

/// The end of the range from which samples are measured: 0, or the finite end of a range that has one.
double base(const Range& range) {
  if (std::isfinite(range.low)) return range.low;
  return std::isfinite(range.high) ? range.high : 0;
}

/// What a value of the type can be: a whole number, true or false. A type that is not known counts as floats.
bool is_whole(DType type) {
  return !is_float(type) && type != DType::string;
}
double as_type(double value, DType type) {
  if (type == DType::boolean) return value != 0;
  return is_whole(type) ? std::floor(value) : value;
}

/// Unit normal distances from the base of each input's range, and at most half its length: a + b − base stays within.
/// Of whole numbers: 0 and a few more.
Sample draw(const Trial& trial, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  Sample sample;
  for (size_t i = 0; i < trial.shapes.size(); ++i) {
    const Range& range = trial.ranges[i];
    const double half = (range.high - range.low) / 2;
    sample.emplace_back(static_cast<size_t>(element_count(trial.shapes[i])));
    for (double& v : sample.back()) {
      v = normal(random);
      if (std::isfinite(range.low))
        v = range.low + std::min(std::abs(v), half);
      else if (std::isfinite(range.high))
        v = range.high - std::abs(v);
      if (is_whole(trial.types[i])) v = as_type(std::floor(3 * std::abs(v)), trial.types[i]);
    }
  }
  return sample;
}

Sample bases(const Trial& trial) {
  Sample sample;
  for (size_t i = 0; i < trial.shapes.size(); ++i) {
    sample.emplace_back(static_cast<size_t>(element_count(trial.shapes[i])), base(trial.ranges[i]));
  }
  return sample;
}

/// f(a, b), element by element.
template <class F>
Sample combine(const Sample& a, const Sample& b, F f) {
  Sample result = a;
  for (size_t i = 0; i < a.size(); ++i) std::transform(a[i].begin(), a[i].end(), b[i].begin(), result[i].begin(), f);
  return result;
}

/// The output for each sample.
Sample outputs(const Graph& part, const Trial& trial, std::span<const Sample> samples) {
  const size_t at_once = trial.batched ? samples.size() : 1;
  Sample result;
  for (size_t first = 0; first < samples.size(); first += at_once) {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < trial.shapes.size(); ++i) {
      Shape shape = trial.shapes[i];
      if (trial.batched) shape[0] = static_cast<int64_t>(at_once);
      std::vector<double> values;
      for (const Sample& sample : samples.subspan(first, at_once)) {
        values.insert(values.end(), sample[i].begin(), sample[i].end());
      }
      tensors.push_back(Tensor::from_doubles(std::move(shape), values));
    }
    const std::vector<double> made = evaluate(part, tensors)[0].to_doubles();
    const auto each = static_cast<int64_t>(made.size() / at_once);
    auto from = made.begin();
    for (size_t k = 0; k < at_once; ++k, from += each) result.emplace_back(from, from + each);  // also of no elements
  }
  return result;
}

Tensor absolute(const Tensor& tensor) {
  if (tensor.dtype() != DType::f32) {
    std::vector<double> values = tensor.to_doubles();
    for (double& v : values) v = std::abs(v);
    return Tensor::adopt(tensor.shape(), std::move(values));
  }
  std::vector<float> values = tensor.to_floats();
  for (float& v : values) v = std::abs(v);
  return Tensor::of(tensor.shape(), std::span<const float>(values));
}

/// Σ|w|·|x| + |b| through the merged nodes: times the rounding of one constant, what rounding can change.
std::vector<double> magnitudes(const Trial& trial, const Sample& positive) {
  Graph part = trial.after;
  for (Value& value : part.values) {
    if (value.constant && is_float(value.constant->dtype())) value.constant = absolute(*value.constant);
  }
  for (Node& node : part.nodes) {
    if (auto* op = std::get_if<Binary>(&node.op); op && op->kind == Binary::Kind::sub) op->kind = Binary::Kind::add;
    if (auto* op = std::get_if<Activation>(&node.op)) op->kind = Activation::Kind::identity;  // they hardly stretch
  }
  return outputs(part, trial, {&positive, 1})[0];
}

/// What the nodes with numbers of their own add to the region's rounding, in units of one.
double total_roundings(const Graph& part) {
  double count = 0;
  for (const Node& node : part.nodes) count += roundings_in(part, node);
  return std::max(1.0, count);
}

/// Whole numbers are cut off, so that sums of outputs are not outputs of sums.
bool has_whole_numbers(const Graph& part) {
  return std::ranges::any_of(part.values, [](const Value& v) { return !v.constant && !is_float(v.dtype); });
}

RegionCheck check_at(const Shape& guess, const Site& before, const Site& collapsed, const Region& region, uint64_t seed,
                     const Sizes& sizes) {
  std::mt19937_64 random(seed);
  const Graph& after = collapsed.graph;
  const Trial trial = prepare(before, collapsed, region, guess, sizes);
  const Sample a = draw(trial, random), b = draw(trial, random), zero = bases(trial);
  Sample sum = combine(combine(a, b, std::plus<>()), zero, std::minus<>());
  for (size_t i = 0; i < sum.size(); ++i) {
    for (double& v : sum[i]) v = as_type(v, trial.types[i]);
  }
  const Sample samples[] = {std::move(sum), a, b, zero};
  Sample old;
  try {
    old = outputs(trial.before, trial, samples);
  } catch (const Error& error) {  // its inputs may have been given other shapes than they have
    if (same_expression(trial.before, trial.after)) return {.name = region.output};
    return {.name = region.output, .not_run = error.what()};
  }
  const std::optional<Shape>& shape = before.graph[before.graph.find_value(region.output)].shape;
  if (old[0].empty() && !(shape && std::ranges::count(*shape, 0))) {
    return {.name = region.output, .not_run = "it makes nothing of inputs of the sizes that were tried"};
  }
  const Sample made = outputs(trial.after, trial, std::span(samples).first(2));
  if (made[0].size() != old[0].size()) {
    return {.name = region.output, .error_to_bound = std::numeric_limits<double>::infinity()};
  }
  const auto add = [](double x, double y) { return std::abs(x) + std::abs(y); };
  const Sample absolute = combine(combine(a, b, add), zero, add);
  const std::vector<double> terms = magnitudes(trial, absolute);
  const double unit =
      total_roundings(trial.after) * rounding_of(after[after.find_value(region.made)].dtype) + kDoubleArithmetic;

  RegionCheck result{.name = region.output};
  const auto worst = [](double& so_far, double value) {
    if (!std::isnan(so_far) && !(value <= so_far)) so_far = value;  // NaN stays
  };
  const bool linear =
      count_nonlinear(trial.after) == 0 && !has_whole_numbers(trial.before) && !has_whole_numbers(trial.after);
  for (size_t i = 0; i < old[0].size(); ++i) {
    worst(result.bound, unit * std::abs(terms[i]));
    for (const Sample::value_type& values : old) worst(result.scale, std::abs(values[i]));
    for (size_t k = 0; k < made.size(); ++k) {
      const double error = std::abs(old[k][i] - made[k][i]);
      worst(result.max_abs_error, error);
      worst(result.error_to_bound, error == 0 ? 0 : error / (unit * std::abs(terms[i])));
    }
    if (linear) worst(result.superposition_error, std::abs(old[1][i] + old[2][i] - old[3][i] - old[0][i]));
  }
  result.superposition_error /= std::max(result.scale, std::numeric_limits<double>::min());
  return result;
}

RegionCheck check(const Site& before, const Site& collapsed, const Region& region, uint64_t seed, const Sizes& sizes) {
  RegionCheck result;
  for (const Shape& guess : {Shape{8, 8, 8, 8}, Shape{}, Shape{8}, Shape{8, 8}}) {
    result = check_at(guess, before, collapsed, region, seed, sizes);
    if (result.not_run.empty()) break;
  }
  return result;
}

}  // namespace

std::vector<RegionCheck> check_regions(const Graph& before, const Collapsed& collapsed) {
  const Graph sized = with_fitting_sizes(settle(before), {1, 32, 32});
  const Uses old_uses(sized), new_uses(collapsed.graph);
  const Sizes sizes = measure_sizes(sized, collapsed.regions);
  const size_t count = collapsed.regions.size();
  std::vector<RegionCheck> checks(count);
  std::vector<std::exception_ptr> failures(count);
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) {
      try {
        checks[i] =
            check({sized, old_uses, {}, {}}, {collapsed.graph, new_uses, {}, {}}, collapsed.regions[i], i, sizes);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < std::min<size_t>(count, std::thread::hardware_concurrency()); ++i) others.emplace_back(work);
    work();
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  return checks;
}

}  // namespace reducenet
