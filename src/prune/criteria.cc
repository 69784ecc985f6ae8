#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/around_axis.h"
#include "reducenet/error.h"
#include "reducenet/prune.h"

namespace reducenet {
namespace {

using Role = ChannelUse::Role;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Calls each(unit, element index) for every element of the constant that belongs to a unit.
template <class Each>
void for_each_element(const ChannelUse& use, const Shape& shape, Each each) {
  const AroundAxis lanes(use.axis, shape);
  size_t element = 0;
  for (int64_t o = 0; o < lanes.outer; ++o) {
    for (const Unit unit : use.units) {
      for (int64_t i = 0; i < lanes.inner; ++i) each(static_cast<size_t>(unit), element++);
    }
  }
}

/// Means over a unit's elements; NaN where it has none.
class Means {
 public:
  explicit Means(const Channels& channels) : sum_(channels.family.size()), count_(channels.family.size()) {}
  void add(size_t unit, double value) { sum_[unit] += value, ++count_[unit]; }
  std::vector<double> finish() && {
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] = count_[i] > 0 ? sum_[i] / count_[i] : kNone;
    return std::move(sum_);
  }

 private:
  std::vector<double> sum_, count_;
};

/// Mean of measure(w) over the rows that make each unit, biases aside.
template <class Measure>
std::vector<double> over_rows(const ScoreInput& in, Measure measure) {
  Means means(in.channels);
  for (const ChannelUse& use : in.channels.uses) {
    if (use.role != Role::makes || use.constant != in.graph[use.node].inputs[1]) continue;
    const Tensor& tensor = *in.graph.constant(use.constant);
    const std::vector<double> w = tensor.to_doubles();
    for_each_element(use, tensor.shape(), [&](size_t unit, size_t i) { means.add(unit, measure(w[i])); });
  }
  return std::move(means).finish();
}

std::vector<double> equal(const ScoreInput& in) {
  return over_rows(in, [](double) { return 1.0; });
}

std::vector<double> l1(const ScoreInput& in) {
  return over_rows(in, [](double w) { return std::abs(w); });
}

std::vector<double> l2(const ScoreInput& in) {
  std::vector<double> squares = over_rows(in, [](double w) { return w * w; });
  for (double& s : squares) s = std::sqrt(s);
  return squares;
}

std::vector<double> bn_gamma(const ScoreInput& in) {
  Means means(in.channels);
  for (const ChannelUse& use : in.channels.uses) {
    const Node& node = in.graph[use.node];
    if (!std::holds_alternative<BatchNorm>(node.op) || use.constant != node.inputs[1]) continue;
    const std::vector<double> gamma = in.graph.constant(use.constant)->to_doubles();
    for (size_t i = 0; i < gamma.size(); ++i) means.add(static_cast<size_t>(use.units[i]), std::abs(gamma[i]));
  }
  return std::move(means).finish();
}

// Cutting a unit sets the weights that read it to 0, so the loss changes by −Σ w·∂L/∂w over these, to first order.
std::vector<double> taylor(const ScoreInput& in) {
  if (!in.gradients) {
    throw Error(ErrorKind::unsupported,
                "criterion 'taylor' needs gradients: a build with training (LibTorch), and images to train on");
  }
  std::vector<double> squares(in.channels.family.size(), kNone);
  double batches = 0;
  in.gradients([&](const std::map<int32_t, Tensor>& gradients) {
    std::vector<double> change(squares.size(), kNone);
    for (const ChannelUse& use : in.channels.uses) {
      const auto found = gradients.find(use.constant.index);
      if (use.role != Role::reads || found == gradients.end()) continue;
      const std::vector<double> w = in.graph.constant(use.constant)->to_doubles(), g = found->second.to_doubles();
      for_each_element(use, in.graph.constant(use.constant)->shape(), [&](size_t unit, size_t i) {
        change[unit] = (std::isnan(change[unit]) ? 0 : change[unit]) + w[i] * g[i];
      });
    }
    for (size_t unit = 0; unit < squares.size(); ++unit) {
      squares[unit] = (std::isnan(squares[unit]) ? 0 : squares[unit]) + change[unit] * change[unit];
    }
    ++batches;
  });
  if (batches == 0) throw Error(ErrorKind::usage, "criterion 'taylor': there are no images to take gradients on");
  for (double& square : squares) square /= batches;
  return squares;
}

constexpr Criterion kTable[] = {
    {"random", "all equal", true, false, equal},
    {"l1", "mean |w| over the weights that make it (Li et al., arXiv 1608.08710)", false, false, l1},
    {"l2", "sqrt(mean w^2) over the weights that make it", false, false, l2},
    {"bn-gamma", "mean |gamma| of its batch norms (Liu et al., arXiv 1708.06519)", true, false, bn_gamma},
    {"taylor", "mean over batches of (sum of w * dL/dw over the weights that read it)^2 (Molchanov et al., 2019)", true,
     true, taylor},
};

}  // namespace

std::span<const Criterion> criteria() {
  return kTable;
}

const Criterion& find_criterion(std::string_view name) {
  std::string names;
  for (const Criterion& criterion : kTable) {
    if (criterion.name == name) return criterion;
    names += (names.empty() ? "" : ", ") + std::string(criterion.name);
  }
  throw Error(ErrorKind::usage, "unknown criterion '" + std::string(name) + "'; known: " + names);
}

}  // namespace reducenet
