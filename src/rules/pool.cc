#include <algorithm>

#include "rules/example.h"
#include "rules/merge.h"
#include "rules/reason.h"
#include "rules/rows.h"

namespace reducenet {
namespace {

bool is_pointwise(const View& map) {
  const Axis pointwise{};
  return map.geometry.axes[0] == pointwise && map.geometry.axes[1] == pointwise;
}

/// The mean over a window is a mean of values inside the image only, or `first` adds nothing there.
bool mean_keeps_shift(const Graph& graph, const AveragePool& op, const View& first) {
  if (!op.count_include_pad || (is_zero(op.padding) && !op.ceil_mode)) return true;
  const std::vector<double> bias = bias_of(graph, first);
  return std::all_of(bias.begin(), bias.end(), [](double b) { return b == 0; });
}

// mean(w·x + b) = w·mean(x) + b  for a 1×1 map: it then runs once a window instead of at every position.  Exact for the
// mean over the image, and over windows where b = 0 or only what is inside the image counts.
Outcome pool_first(const Site& site) {
  const Node& node = site.graph[site.node];
  const auto* pool = std::get_if<AveragePool>(&node.op);
  if (!pool && !std::holds_alternative<GlobalAveragePool>(node.op)) return NoMatch{};
  const auto map = view_of_producer(site, node.inputs[0]);
  if (!map || rank_of(site.graph, map->result) != 4 || !is_pointwise(*map)) return NoMatch{};
  const int64_t old_places = positions(site.graph, map->result), places = positions(site.graph, node.outputs[0]);
  // Means count where they are convolutions, as in the measure: not over the whole image or what is inside it alone.
  const int64_t window = pool && view(site.graph, site.node) ? pool->kernel[0] * pool->kernel[1] : 0;
  const Geometry& g = map->geometry;
  if (g.weights() * places + g.in * window * places >= g.weights() * old_places + g.out * window * places) {
    return NoMatch{};
  }
  if (const auto why = other_readers(site, map->result)) return Refused{*why};
  if (pool && !mean_keeps_shift(site.graph, *pool, *map)) {
    return Refused{"zero padding counts at " + label(site.graph, site.node) + ": " + label(site.graph, map->node) +
                   " " + std::string(reason::kBias)};
  }
  Patch patch(site.graph);
  const ValueId mean = patch.node(node.name, node.op, {map->source});
  patch.replace(node.outputs[0], emit(patch, numbers_of(site.graph, *map), 4, mean, site.graph[map->node].name));
  return patch;
}

Graph pool_first_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const ConvChoice pointwise{
      .out = e.channels(x) + e.integer(0, 2), .kernel = must_fire ? 1 : 2, .stride = 1, .padding = Padding{}};
  AveragePool pool{.kernel = {2, 2}, .stride = {2, 2}, .ceil_mode = e.chance(0.3)};
  if (e.chance(0.4)) {
    pool.padding = {1, 0, 0, 1};
  } else {
    pool.count_include_pad = !pool.ceil_mode && e.chance(0.5);
  }
  const bool windows = e.chance(0.5);
  if (windows && !must_fire) {  // padding counts, and would count the shift
    pool.padding = {1, 1, 1, 1};
    pool.count_include_pad = true;
    pool.ceil_mode = false;
    e.output(e.node(pool, {e.batch_norm(x)}));
    return std::move(e).finish();
  }
  const ValueId y = must_fire && e.chance(0.4) ? e.batch_norm(x) : e.conv(x, pointwise);
  e.output(windows ? e.node(pool, {y}) : e.node(GlobalAveragePool{}, {y}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

bool is_conv_or_pool(const View& map) {
  return map.is_conv() || map.kind == View::Kind::average_pool;
}

// The mean over windows is a convolution: it merges with one before or behind it where borders agree.
Outcome conv_pool(const Site& site) {
  const auto second = view(site.graph, site.node);
  if (!second || !is_conv_or_pool(*second)) return NoMatch{};
  const auto first = view_of_producer(site, second->source);
  if (!first || !is_conv_or_pool(*first) || (first->is_conv() && second->is_conv())) return NoMatch{};
  return merge_pair(site, *first, *second);
}

Graph conv_pool_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const AveragePool pool{.kernel = {2, e.integer(1, 3)}, .stride = {e.integer(1, 2), 1}};
  if (!must_fire) {
    const Padding one{1, 1, 1, 1};
    const ValueId y = e.conv(x, {.kernel = 3, .stride = 1, .padding = one});
    e.output(e.node(AveragePool{.kernel = {3, 3}, .padding = one, .count_include_pad = e.chance(0.5)}, {y}));
    return std::move(e).finish();
  }
  const ValueId y = e.chance(0.5) ? e.node(pool, {e.conv(x, {.kernel = 3, .stride = 1})})
                                  : e.conv(e.node(pool, {x}), {.padding = Padding{}});
  e.output(y);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// mean(w∗x + b) over the whole image is a convolution by the pooled kernel, as large as the padded image.  Always
// exact; the image size is fixed.
Outcome conv_global_pool(const Site& site) {
  const Node& node = site.graph[site.node];
  if (!site.may.dense || !std::holds_alternative<GlobalAveragePool>(node.op)) return NoMatch{};
  const auto first = view_of_producer(site, node.inputs[0]);
  if (!first || !is_conv_or_pool(*first) || is_pointwise(*first)) return NoMatch{};
  const ImageSize size = image_size(site.graph, first->result);
  if (!size[0] || !size[1]) return NoMatch{};
  View mean{View::Kind::average_pool, site.node, node.inputs[0], node.outputs[0],
            identity_geometry(first->geometry.out)};
  for (size_t i = 0; i < 2; ++i) mean.geometry.axes[i].kernel = *size[i];
  return merge_pair(site, *first, mean);
}

Graph conv_global_pool_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const ValueId y = e.conv(x, {.kernel = 3, .stride = 1, .dilation = 1});
  if (!must_fire) e.output(y);
  e.output(e.node(GlobalAveragePool{}, {y}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

/// Flatten, or a Reshape that does the same: rows stay samples.
bool is_flatten(const Graph& graph, const Node& node) {
  const auto* flatten = std::get_if<Flatten>(&node.op);
  if (!(flatten && flatten->axis == 1) && !std::holds_alternative<Reshape>(node.op)) return false;
  const auto &from = graph[node.inputs[0]].shape, &to = graph[node.outputs[0]].shape;
  if (!from || !to || from->size() != 4 || to->size() != 2) return false;
  return std::all_of(from->begin() + 1, from->end(), [](int64_t dim) { return dim > 0; }) &&
         (*to)[1] == (*from)[1] * (*from)[2] * (*from)[3];
}

// A·flatten(w∗x + b) + a = (A·W)·flatten(x) + (A·flatten(b) + a)  with W the matrix of the convolution, borders and
// all; the rows of A·W are A's rows pulled back through the convolution.  Exact for every padding; the image size is
// fixed.
Outcome flatten_linear(const Site& site) {
  const auto gemm = view(site.graph, site.node);
  if (!gemm || !gemm->is_gemm()) return NoMatch{};
  const NodeId flatten = site.uses.producer_of(gemm->source);
  if (!flatten || !is_flatten(site.graph, site.graph[flatten])) return NoMatch{};
  const ValueId features = site.graph[flatten].inputs[0];
  const auto map = view_of_producer(site, features);
  if (!map || map->kind == View::Kind::pad || !(site.may.dense || is_pointwise(*map))) return NoMatch{};
  const ImageSize in = image_size(site.graph, map->source), out = image_size(site.graph, features);
  if (!in[0] || !in[1]) return NoMatch{};
  if (const auto why = other_readers(site, features)) return Refused{*why};
  if (const auto why = other_readers(site, gemm->source)) return Refused{*why};
  const int64_t rows = gemm->geometry.out, inputs = map->geometry.in * *in[0] * *in[1];
  const int64_t before = gemm->geometry.weights() + work_of(site.graph, *map), after = rows * inputs;
  if (after > before) {
    return Refused{label(site.graph, map->node) + " and " + label(site.graph, site.node) + " " +
                   std::string(reason::kMatrix) + ": " + std::to_string(after) + " instead of " +
                   std::to_string(before)};
  }

  const LinearMap first = numbers_of(site.graph, *map), second = numbers_of(site.graph, *gemm);
  LinearMap merged{{.in = inputs, .out = rows}, {}, second.bias};
  merged.weight = pull_back(first, second.weight, rows, {*in[0], *in[1]}, {*out[0], *out[1]});
  const int64_t plane = *out[0] * *out[1];
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < second.geometry.in; ++i) {
      merged.bias[static_cast<size_t>(r)] +=
          second.weight[static_cast<size_t>(r * second.geometry.in + i)] * first.bias[static_cast<size_t>(i / plane)];
    }
  }
  Patch patch(site.graph);
  const ValueId flat = patch.node(site.graph[flatten].name, Flatten{}, {map->source});
  patch.replace(gemm->result, emit(patch, std::move(merged), 2, flat, site.graph[site.node].name));
  return patch;
}

Graph flatten_linear_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const ValueId y = e.chance(0.3) ? e.batch_norm(x) : e.conv(x, {.out = 24, .kernel = 3});
  if (!must_fire) e.output(y);
  const Shape reshape{0, -1};
  const ValueId flat = e.chance(0.5)
                           ? e.node(Flatten{}, {y})
                           : e.node(Reshape{}, {y, e.constant(Tensor::of({2}, std::span<const int64_t>(reshape)))});
  e.output(e.gemm(flat, e.integer(1, 2)));
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"pool-first", "mean(w·x + b) = w·mean(x) + b", pool_first, pool_first_example},
    {"conv-pool", "mean(w∗x) over windows = (mean∗w)∗x, where no padding comes between", conv_pool, conv_pool_example},
    {"conv-global-pool", "mean(w∗x + b) over the image = (mean∗w)∗x + b", conv_global_pool, conv_global_pool_example},
    {"flatten-linear", "A·flatten(w∗x + b) = (A·W)·flatten(x) + A·flatten(b)", flatten_linear, flatten_linear_example},
};

}  // namespace

std::span<const Rule> pool_rules() {
  return kRules;
}

}  // namespace reducenet
