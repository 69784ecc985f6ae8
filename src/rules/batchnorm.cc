#include "rules/example.h"
#include "rules/merge.h"
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
};

}  // namespace

std::span<const Rule> batch_norm_rules() {
  return kRules;
}

}  // namespace reducenet
