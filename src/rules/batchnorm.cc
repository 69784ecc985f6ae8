#include <algorithm>

#include "rules/example.h"
#include "rules/merge.h"
#include "rules/reason.h"
#include "rules/rows.h"

// BN(x) = s·x + t  with  s = gamma/√(var + ε),  t = beta − mean·s  per channel (Ioffe & Szegedy, arXiv 1502.03167).

namespace reducenet {
namespace {

bool is_linear_layer(const View& view) {
  return view.is_conv() || view.is_gemm();
}

// BN(w∗x + b) = (s·w)∗x + (s·b + t).  Always exact.
Outcome after(const Site& site) {
  return merge_behind(site, &View::is_batch_norm);
}

Graph after_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const bool image = e.chance(0.75);
  const ValueId x = image ? e.image() : e.vector();
  const ValueId y = image ? (e.chance(0.2) ? e.scale(x) : e.conv(x)) : e.gemm(x);
  e.output(e.batch_norm(y));
  if (!must_fire) e.output(y);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// w∗BN(x) + b = (w·s)∗x + (Σ w·t + b).  Exact where the convolution reads no padding, or t = 0.
Outcome before(const Site& site) {
  return merge_before(site, &View::is_batch_norm);
}

Graph before_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  if (must_fire && e.chance(0.25)) {
    const ValueId x = e.vector();
    e.output(e.gemm(e.batch_norm(x)));
    return std::move(e).finish();
  }
  const ValueId x = e.image();
  const bool shift = !must_fire || e.chance(0.7);
  ConvChoice choice;
  if (!must_fire) choice.padding = Padding{1, e.integer(0, 1), 1, 0};
  if (must_fire && shift) choice.padding = Padding{};
  e.output(e.conv(e.batch_norm(x, shift), choice));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// BN(convT(x)) scales the kernels and shifts the bias of a transposed convolution; so do Mul, Add, Sub, Div.
Outcome after_transposed(const Site& site) {
  const auto second = view(site.graph, site.node);
  if (!second || is_linear_layer(*second) || !(second->is_batch_norm() || second->is_scale())) return NoMatch{};
  const NodeId producer = site.uses.producer_of(second->source);
  if (!producer) return NoMatch{};
  const Node& node = site.graph[producer];
  const auto* op = std::get_if<ConvTranspose2d>(&node.op);
  const Tensor* w = op ? site.graph.constant(node.inputs[1]) : nullptr;
  const bool has_bias = op && node.inputs.size() > 2 && node.inputs[2];
  const Tensor* b = has_bias ? site.graph.constant(node.inputs[2]) : nullptr;
  if (!w || (has_bias && !b)) return NoMatch{};
  if (const auto why = other_readers(site, second->source)) return Refused{*why};

  const LinearMap affine = numbers_of(site.graph, *second);
  std::vector<double> weight = w->to_doubles(), bias = affine.bias;
  const int64_t per_group = w->shape()[1], taps = w->shape()[2] * w->shape()[3];
  for (int64_t i = 0; i < w->size(); ++i) {
    const int64_t c = i / (per_group * taps), group = c / (w->shape()[0] / op->groups);
    weight[static_cast<size_t>(i)] *= affine.weight[static_cast<size_t>(group * per_group + i / taps % per_group)];
  }
  if (b) {
    const std::vector<double> old = b->to_doubles();
    for (size_t o = 0; o < bias.size(); ++o) bias[o] += affine.weight[o] * old[o];
  }
  Patch patch(site.graph);
  const Shape channels{static_cast<int64_t>(bias.size())};
  const ValueId y =
      patch.node(node.name, *op,
                 {node.inputs[0], patch.constant(node.name + ".weight", Tensor::from_doubles(w->shape(), weight)),
                  patch.constant(node.name + ".bias", Tensor::from_doubles(channels, bias))});
  patch.replace(second->result, y);
  return patch;
}

/// Every output of the transposed convolution is reached by the same number of taps.
bool covers_evenly(const ConvTranspose2d& op, const Shape& w) {
  const bool one_tap = w[2] == 1 && w[3] == 1;
  return one_tap && op.stride == Size2{1, 1} && is_zero(op.padding) && op.output_padding == Size2{0, 0};
}

// convT(s·x + t) scales the kernels by input channel; a shift stays a bias only where every output is reached by the
// same taps.  Exact where t = 0, or for 1×1 kernels of stride 1.
Outcome before_transposed(const Site& site) {
  const Node& node = site.graph[site.node];
  const auto* op = std::get_if<ConvTranspose2d>(&node.op);
  const Tensor* w = op ? site.graph.constant(node.inputs[1]) : nullptr;
  const auto first = w ? view_of_producer(site, node.inputs[0]) : std::nullopt;
  if (!first || !(first->is_batch_norm() || first->is_scale())) return NoMatch{};
  const bool has_bias = node.inputs.size() > 2 && node.inputs[2];
  const Tensor* b = has_bias ? site.graph.constant(node.inputs[2]) : nullptr;
  if (has_bias && !b) return NoMatch{};
  if (const auto why = other_readers(site, first->result)) return Refused{*why};
  const LinearMap affine = numbers_of(site.graph, *first);
  const bool shifts = std::any_of(affine.bias.begin(), affine.bias.end(), [](double t) { return t != 0; });
  if (shifts && !covers_evenly(*op, w->shape())) {
    return Refused{label(site.graph, site.node) + " " + std::string(reason::kCoverage)};
  }

  const int64_t in = w->shape()[0], per_group = w->shape()[1], taps = w->shape()[2] * w->shape()[3];
  std::vector<double> weight = w->to_doubles();
  std::vector<double> bias = b ? b->to_doubles() : std::vector<double>(static_cast<size_t>(per_group * op->groups));
  for (int64_t c = 0; c < in; ++c) {
    for (int64_t o = 0; o < per_group; ++o) {
      double* const kernel = weight.data() + (c * per_group + o) * taps;
      if (shifts) {  // a single tap
        const int64_t group = c / (in / op->groups);
        bias[static_cast<size_t>(group * per_group + o)] += *kernel * affine.bias[static_cast<size_t>(c)];
      }
      for (int64_t k = 0; k < taps; ++k) kernel[k] *= affine.weight[static_cast<size_t>(c)];
    }
  }
  Patch patch(site.graph);
  std::vector<ValueId> inputs{first->source,
                              patch.constant(node.name + ".weight", Tensor::from_doubles(w->shape(), weight))};
  if (has_bias || shifts) {
    const Shape channels{static_cast<int64_t>(bias.size())};
    inputs.push_back(patch.constant(node.name + ".bias", Tensor::from_doubles(channels, bias)));
  }
  patch.replace(node.outputs[0], patch.node(node.name, *op, std::move(inputs)));
  return patch;
}

Graph before_transposed_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  if (must_fire && e.chance(0.3)) {
    const ValueId y = e.chance(0.5) ? e.batch_norm(x) : e.scale(x);
    e.output(e.node(ConvTranspose2d{}, {y, e.constant(e.normal({e.channels(y), e.integer(1, 3), 1, 1}))}));
  } else {
    e.output(e.conv_transpose(e.batch_norm(x, !must_fire)));
  }
  e.maybe_read_again(x);
  return std::move(e).finish();
}

Graph after_transposed_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId y = e.conv_transpose(e.image());
  e.output(e.chance(0.5) ? e.batch_norm(y) : e.scale(y));
  if (!must_fire) e.output(y);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"batchnorm-after", "BN(w∗x + b) = (s·w)∗x + (s·b + t)", after, after_example},
    {"batchnorm-before", "w∗BN(x) + b = (w·s)∗x + (Σ w·t + b), no padding or t = 0", before, before_example},
    {"affine-after-transposed", "s·convT(x) + t = convT by s·w, bias s·b + t", after_transposed,
     after_transposed_example},
    {"affine-before-transposed", "convT(s·x + t) = convT by w·s, where t = 0 or every output has the same taps",
     before_transposed, before_transposed_example},
};

}  // namespace

std::span<const Rule> batch_norm_rules() {
  return kRules;
}

}  // namespace reducenet
