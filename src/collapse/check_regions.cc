#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "collapse/region.h"
#include "reducenet/verify.h"
#include "rules/view.h"

namespace reducenet {
namespace {

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
  const bool map_of_image = std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<BatchNorm>(node.op) ||
                            std::holds_alternative<Activation>(node.op) || std::holds_alternative<Fade>(node.op) ||
                            std::holds_alternative<Unary>(node.op) || std::holds_alternative<Identity>(node.op) ||
                            std::holds_alternative<Dropout>(node.op);
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
  std::vector<Shape> shapes;
  bool batched;  ///< all samples in one run
};

/// Equal but for samples and channels: may be cropped together.
bool same_plane(const Shape& a, const Shape& b) {
  return a.size() == b.size() && a.size() >= 2 && std::equal(a.begin() + 2, a.end(), b.begin() + 2);
}

/// `before` has every shape known.
Trial prepare(const Graph& before, const Graph& after, const Region& region) {
  Trial trial{cut_out(before, region.before, region.inputs, region.output),
              cut_out(after, region.after, region.inputs, region.output),
              {},
              true};
  CropSize crop;
  for (const Graph* part : {&trial.before, &trial.after}) {
    for (const Node& node : part->nodes) {
      trial.batched &= may_crop(*part, node);
      if (trial.batched) crop.add(*part, node);
    }
  }
  for (const std::string& name : region.inputs) {
    trial.shapes.push_back(before[before.find_value(name)].shape.value());
    for (int64_t& dim : trial.shapes.back()) dim = dim < 0 ? 8 : dim;  // behind an op of unknown shape
    trial.batched &= same_plane(trial.shapes.back(), trial.shapes[0]);
  }
  for (Shape& shape : trial.shapes) {
    if (!trial.batched) continue;
    shape[0] = 4;
    if (shape.size() == 4) crop.fit(shape);
  }
  return trial;
}

/// The graph with open sizes fixed: 1 sample, 32 rows or columns.
Graph with_sizes(Graph graph) {
  for (const ValueId id : graph.inputs) {
    auto& shape = graph[id].shape;
    for (size_t i = 0; shape && i < shape->size(); ++i) {
      if ((*shape)[i] < 0) (*shape)[i] = i == 0 ? 1 : 32;
    }
  }
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<Opaque>(node.op)) graph[node.outputs[0]].shape.reset();
  }
  infer_shapes(graph);
  return graph;
}

/// Inputs a, b, 0 and a + b, one after the other.
std::vector<std::vector<double>> draw(const Shape& shape, bool batched, std::mt19937_64& random) {
  const auto count = static_cast<size_t>(element_count(shape)) / (batched ? 4 : 1);
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> samples(4, std::vector<double>(count));
  for (size_t i = 0; i < count; ++i) {
    samples[0][i] = normal(random);
    samples[1][i] = normal(random);
    samples[3][i] = samples[0][i] + samples[1][i];
  }
  return samples;
}

using Inputs = std::vector<std::vector<std::vector<double>>>;  // by input, then sample

/// The outputs of the four samples, one after the other.
std::vector<double> outputs(const Graph& part, const Trial& trial, const Inputs& inputs) {
  std::vector<double> result;
  for (size_t run = 0; run < (trial.batched ? 1u : 4u); ++run) {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < inputs.size(); ++i) {
      std::vector<double> values = inputs[i][run];
      for (size_t k = 1; trial.batched && k < 4; ++k) {
        values.insert(values.end(), inputs[i][k].begin(), inputs[i][k].end());
      }
      tensors.push_back(Tensor::from_doubles(trial.shapes[i], values));
    }
    const std::vector<double> made = evaluate(part, tensors)[0].to_doubles();
    result.insert(result.end(), made.begin(), made.end());
  }
  return result;
}

/// Half a unit in the last place of 1.
double rounding(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 0x1p-53;
    case DType::f16:
      return 0x1p-11;
    case DType::bf16:
      return 0x1p-8;
    default:
      return 0x1p-24;
  }
}

/// Σ|w|·|x| + |b| through the merged nodes: times the rounding of one constant, what rounding can change.
std::vector<double> magnitudes(const Trial& trial, const Inputs& inputs) {
  Graph part = trial.after;
  for (Value& value : part.values) {
    if (!value.constant || !is_float(value.constant->dtype())) continue;
    std::vector<double> absolute = value.constant->to_doubles();
    for (double& v : absolute) v = std::abs(v);
    value.constant = Tensor::from_doubles(value.constant->shape(), absolute);
  }
  for (Node& node : part.nodes) {
    if (auto* op = std::get_if<Binary>(&node.op); op && op->kind == Binary::Kind::sub) op->kind = Binary::Kind::add;
  }
  Inputs absolute = inputs;
  for (auto& samples : absolute) {
    for (auto& sample : samples) {
      for (double& v : sample) v = std::abs(v);
    }
  }
  return outputs(part, trial, absolute);
}

RegionCheck check(const Graph& before, const Graph& after, const Region& region, std::mt19937_64& random) {
  const Trial trial = prepare(before, after, region);
  Inputs inputs;
  for (const Shape& shape : trial.shapes) inputs.push_back(draw(shape, trial.batched, random));
  const std::vector<double> old = outputs(trial.before, trial, inputs), made = outputs(trial.after, trial, inputs);
  const std::vector<double> bound = magnitudes(trial, inputs);
  const bool linear = count_nonlinear(trial.after) == 0;
  const double unit = rounding(after[after.find_value(region.output)].dtype) + 1e-9;

  RegionCheck result{.name = region.output};
  const auto worst = [](double& so_far, double value) { so_far = value <= so_far ? so_far : value; };  // NaN stays
  const size_t count = old.size() / 4;
  for (size_t i = 0; i < old.size(); ++i) {
    worst(result.max_abs_error, std::abs(old[i] - made[i]));
    worst(result.bound, unit * std::abs(bound[i]));
    worst(result.scale, std::abs(old[i]));
  }
  for (size_t i = 0; linear && i < count; ++i) {
    const double off = old[i] + old[count + i] - old[2 * count + i] - old[3 * count + i];
    worst(result.superposition_error, std::abs(off) / std::max(result.scale, std::numeric_limits<double>::min()));
  }
  return result;
}

}  // namespace

std::vector<RegionCheck> check_regions(const Graph& before, const Collapsed& collapsed) {
  std::mt19937_64 random(collapsed.regions.size());
  std::vector<RegionCheck> checks;
  const Graph sized = with_sizes(before);
  for (const Region& region : collapsed.regions) checks.push_back(check(sized, collapsed.graph, region, random));
  return checks;
}

}  // namespace reducenet
