#include "train/ridge.h"

#include <ATen/ATen.h>
#include <ATen/TensorIndexing.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <vector>

#include "reducenet/error.h"

namespace reducenet::train {
namespace {

constexpr int64_t kRows = 1024;   // inputs whose products are taken at once, at least
constexpr int64_t kBlock = 4096;  // columns of a block of products
constexpr int kRefinements = 2;
constexpr double kUnexplained = 1e-3;
constexpr double kMirrorTolerance = 1e-4;

/// Bytes of memory that can be had, as the system says; unlimited where it says nothing.
double available_bytes() {
  std::ifstream in("/proc/meminfo");
  double kibibytes = 0;
  for (std::string name, unit; in >> name >> kibibytes && std::getline(in, unit);) {
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return std::numeric_limits<double>::infinity();
}

void check_memory(int64_t inputs) {
  const double needed = 4.0 * static_cast<double>(inputs) * static_cast<double>(inputs) * sizeof(float);
  constexpr double gibibyte = 1 << 30;
  if (const double free = available_bytes(); needed > free) {
    throw Error(ErrorKind::usage,
                fmt::format("ridge.penalties: {} inputs of the last matrix need {:.1f} GiB of memory, "
                            "{:.1f} are free: fewer channels need less",
                            inputs, needed / gibibyte, free / gibibyte));
  }
}

/// The Gemm that makes the graph's output.
const Node& last_matrix(const Graph& graph, const Uses& uses) {
  const auto is_own = [&](ValueId id) { return graph.constant(id) && uses.has_single_use(id); };
  if (const NodeId last = uses.producer_of(graph.outputs.at(0))) {
    const Node& node = graph[last];
    const auto* const gemm = std::get_if<Gemm>(&node.op);
    const bool plain = gemm && *gemm == Gemm{.trans_b = true} && node.inputs.size() == 3;
    if (plain && is_own(node.inputs[1]) && is_own(node.inputs[2])) return node;
  }
  throw Error(ErrorKind::usage,
              fmt::format("ridge.penalties: '{}' does not end in a matrix and a bias of its own", graph.name));
}

/// Calls each(block, below): the columns of a block of a [D, D] matrix, and the rows below it.
template <class Each>
void for_each_block(int64_t size, Each each) {
  for (int64_t j = 0; j < size; j += kBlock) {
    each(at::indexing::Slice(j, std::min(j + kBlock, size)), at::indexing::Slice(std::min(j + kBlock, size), size));
  }
}

/// A·x for a symmetric A of which the blocks below the diagonal and on it are there.
at::Tensor symmetric_product(const at::Tensor& a, const at::Tensor& x) {
  at::Tensor y = at::zeros_like(x);
  for_each_block(x.size(0), [&](auto block, auto below) {
    y.index({block}) += a.index({block, block}).mm(x.index({block}));
    y.index({below}) += a.index({below, block}).mm(x.index({block}));
    y.index({block}) += a.index({below, block}).t().mm(x.index({below}));
  });
  return y;
}

}  // namespace

RidgeRegression::RidgeRegression(Network& network) : network_(network) {
  const Graph graph = network.graph();
  const Uses uses(graph);
  const Node& matrix = last_matrix(graph, uses);
  read_ = matrix.inputs[0];
  if (const NodeId before = uses.producer_of(read_)) {
    const auto* const flatten = std::get_if<Flatten>(&graph[before].op);
    if (flatten && *flatten == Flatten{} && network.makes(graph[before].inputs[0])) read_ = graph[before].inputs[0];
  }
  for (const auto& [name, tensor] : network.state()) {
    if (name == graph[matrix.inputs[1]].name) weight_ = tensor;
    if (name == graph[matrix.inputs[2]].name) bias_ = tensor;
  }
}

/// As the matrix reads them, or before a Flatten: [N, D] or [N, C, H, W].
at::Tensor RidgeRegression::inputs_of(const at::Tensor& pixels) {
  network_.forward(pixels, false);
  return network_.watched().at(0);
}

bool RidgeRegression::halves_mirror(const at::Tensor& inputs, const at::Tensor& of_mirrored) const {
  if (inputs.dim() != 4 || inputs.size(1) % 2 != 0) return false;
  const at::Tensor swapped = inputs.roll(inputs.size(1) / 2, 1).flip(3);
  return ((of_mirrored - swapped).abs().max() <= kMirrorTolerance * inputs.abs().max()).item<bool>();
}

at::Tensor RidgeRegression::folded(const at::Tensor& inputs) const {
  if (!folds_) return inputs.flatten(1);
  const int64_t half = inputs.size(1) / 2;
  return (inputs.narrow(1, 0, half) + inputs.narrow(1, half, half).flip(3)).flatten(1);
}

at::Tensor RidgeRegression::unfolded(const at::Tensor& weight) const {
  if (!folds_) return weight;
  const at::Tensor half = weight.unflatten(1, folded_shape_);
  return at::cat({half, half.flip(3)}, 1).flatten(1);
}

/// Calls each(batch) until told to stop; false then.
template <class Each>
bool RidgeRegression::for_each_batch(Feed& feed, const Pass& pass, Each each) {
  const c10::AutoGradMode no_grad(false);
  network_.watch({read_});
  Loader loader = feed.loader(pass.order);
  int64_t images = 0;
  bool stopped = false;
  for (Batch batch = loader.next(); batch.count() > 0 && !stopped; batch = loader.next()) {
    each(feed.tensors(batch));
    images += batch.count();
    if (pass.on_images) pass.on_images(images);
    stopped = pass.stop != nullptr && *pass.stop;
  }
  network_.watch({});
  return !stopped;
}

bool RidgeRegression::learn(Feed& feed, const Pass& pass, bool mirror) {
  count_ = 0;
  bool first = true;
  std::vector<at::Tensor> inputs, labels;
  int64_t rows = 0;
  const auto take = [&](const at::Tensor& x, const at::Tensor& of) {
    inputs.push_back(folded(x));
    labels.push_back(of.clone());
    rows += x.size(0);
  };
  const auto add_taken = [&] {
    if (rows > 0) add(at::cat(inputs), at::cat(labels));
    inputs.clear();
    labels.clear();
    rows = 0;
  };
  const bool finished = for_each_batch(feed, pass, [&](const Labelled& in) {
    const at::Tensor x = inputs_of(in.pixels);
    const at::Tensor mirrored = mirror && (first || !folds_) ? inputs_of(in.pixels.flip(3)) : at::Tensor();
    if (first) {
      folds_ = mirror && halves_mirror(x, mirrored);
      if (folds_) folded_shape_ = {x.size(1) / 2, x.size(2), x.size(3)};
      check_memory(folded(x).size(1));
      first = false;
    }
    take(x, in.labels);
    if (mirrored.defined() && !folds_) take(mirrored, in.labels);
    if (rows >= kRows) add_taken();
  });
  if (finished) add_taken();
  return finished;
}

bool RidgeRegression::hold_out(Feed& feed, const Pass& pass) {
  std::vector<at::Tensor> inputs, labels;
  const bool finished = for_each_batch(feed, pass, [&](const Labelled& in) {
    inputs.push_back(folded(inputs_of(in.pixels)));
    labels.push_back(in.labels.clone());
  });
  if (finished) {
    held_inputs_ = at::cat(inputs);
    held_labels_ = at::cat(labels);
  }
  return finished;
}

void RidgeRegression::add(const at::Tensor& inputs, const at::Tensor& labels) {
  if (count_ == 0) {
    const int64_t size = inputs.size(1);
    shift_ = inputs.mean(0);
    const at::Tensor spread = inputs.std(0, /*unbiased=*/false);
    scale_ = at::where(spread > 0, spread, at::ones_like(spread));
    products_ = at::zeros({size, size}, inputs.options());
    sums_ = at::zeros({size}, inputs.options().dtype(at::kDouble));
    targets_ = at::zeros({size, weight_.size(0)}, inputs.options());
    labels_ = at::zeros({weight_.size(0)}, inputs.options());
  }
  const at::Tensor x = (inputs - shift_) / scale_;
  const at::Tensor hot = at::one_hot(labels, weight_.size(0)).to(x.dtype());
  for_each_block(x.size(1), [&](auto block, auto below) {
    const at::Tensor columns = x.index({at::indexing::Slice(), block});
    for (const auto& rows : {block, below}) {
      at::Tensor part = products_.index({rows, block});
      part.addmm_(x.index({at::indexing::Slice(), rows}).t(), columns);
    }
  });
  sums_ += x.sum(0, false, at::kDouble);
  targets_.addmm_(x.t(), hot);
  labels_ += hot.sum(0);
  count_ += x.size(0);
}

RidgeRegression::Solution RidgeRegression::solve(double penalty) const {
  const c10::AutoGradMode no_grad(false);
  const auto count = static_cast<double>(count_);
  const at::Tensor mean = (sums_ / count).to(at::kFloat), share = labels_ / count;
  const at::Tensor variance = (products_.diagonal() / count - mean * mean).clamp_min(0);
  const at::Tensor spread = at::where(variance > 0, variance.sqrt(), at::ones_like(variance)).unsqueeze(1);
  const at::Tensor right = (targets_ - mean.unsqueeze(1) * labels_) / spread;  // [D, classes]
  at::Tensor lower;
  {
    at::Tensor a = products_.clone();
    a.addr_(mean, mean, 1, -count).div_(spread).div_(spread.t());
    a.diagonal().add_(penalty * count);
    auto [factor, info] = at::linalg_cholesky_ex(a);
    if (info.item<int>() == 0) lower = factor;
  }
  at::Tensor x, rest = right;
  for (int k = 0; lower.defined() && k <= kRefinements; ++k) {
    const at::Tensor step = at::cholesky_solve(rest, lower);
    x = x.defined() ? x + step : step;
    const at::Tensor y = x / spread;
    const at::Tensor product = symmetric_product(products_, y) - mean.unsqueeze(1) * (mean.unsqueeze(0).mm(y) * count);
    rest = right - (product / spread + x * (penalty * count));
  }
  if (!lower.defined() || !((rest.norm() <= kUnexplained * right.norm()).item<bool>())) {
    throw Error(ErrorKind::check_failed,
                fmt::format("ridge.penalties: {:g} is too small for float32 and {} inputs", penalty, right.size(0)));
  }
  const at::Tensor weight = (x / spread).t() / scale_;  // [classes, D]
  const at::Tensor centre = (shift_ + scale_ * mean).to(at::kDouble);
  Solution solution{.weight = unfolded(weight),
                    .bias = (share.to(at::kDouble) - weight.to(at::kDouble).mv(centre)).to(at::kFloat)};
  if (held_inputs_.defined()) {
    const at::Tensor scores = held_inputs_.mm(weight.t()).add_(solution.bias);
    solution.top1 = scores.argmax(1).eq(held_labels_).to(at::kDouble).mean().item<double>();
  }
  return solution;
}

void RidgeRegression::apply(const Solution& solution) {
  const c10::AutoGradMode no_grad(false);
  weight_.copy_(solution.weight);
  bias_.copy_(solution.bias);
}

}  // namespace reducenet::train
