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

// mean(w·x + b) = w·mean(x) + b  for a 1×1 map: it then runs once instead of at every position.  Always exact.
Outcome pool_first(const Site& site) {
  const Node& node = site.graph[site.node];
  if (!std::holds_alternative<GlobalAveragePool>(node.op)) return NoMatch{};
  const auto map = view_of_producer(site, node.inputs[0]);
  if (!map || rank_of(site.graph, map->result) != 4 || !is_pointwise(*map)) return NoMatch{};
  if (positions(site.graph, map->result) <= 1) return NoMatch{};
  if (const auto why = other_readers(site, map->result)) return Refused{*why};
  Patch patch(site.graph);
  const ValueId mean = patch.node(node.name, GlobalAveragePool{}, {map->source});
  patch.replace(node.outputs[0], emit(patch, numbers_of(site.graph, *map), 4, mean, site.graph[map->node].name));
  return patch;
}

Graph pool_first_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const ConvChoice pointwise{.kernel = must_fire ? 1 : 2, .stride = 1, .padding = Padding{}};
  const ValueId y = must_fire && e.chance(0.4) ? e.batch_norm(x) : e.conv(x, pointwise);
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
    {"flatten-linear", "A·flatten(w∗x + b) = (A·W)·flatten(x) + A·flatten(b)", flatten_linear, flatten_linear_example},
};

}  // namespace

std::span<const Rule> pool_rules() {
  return kRules;
}

}  // namespace reducenet
