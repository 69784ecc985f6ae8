#include "rules/merge.h"

#include <algorithm>
#include <cmath>

#include "rules/reason.h"

namespace reducenet {
namespace {

bool is_vector_map_without_gemm(const Geometry& geometry, size_t rank) {
  return rank == 2 && geometry.groups > 1;
}

/// Read-only views of the maps from `source` to a term, in order.
struct Path {
  ValueId source;
  Geometry geometry;
  std::vector<View> maps;
  int64_t work = 0;
};

struct Term {
  double sign;
  ValueId value;
  std::vector<Path> paths;  ///< from shortest (the value itself) to longest
  ValueId beyond;           ///< source of the map that the longest path could not take in, if any,
  std::string why;          ///< and the reason
};

bool is_sum(const Op& op) {
  const auto* sum = std::get_if<Variadic>(&op);
  return sum && sum->kind == Variadic::Kind::sum;
}

/// Add, Sub or Sum whose inputs are data of the output's own shape.
bool adds_equals(const Site& site, NodeId id) {
  const Node& node = site.graph[id];
  const auto* op = std::get_if<Binary>(&node.op);
  const bool binary = op && (op->kind == Binary::Kind::add || op->kind == Binary::Kind::sub);
  if (!binary && !(is_sum(node.op) && node.inputs.size() > 1)) return false;
  const auto& shape = site.graph[node.outputs[0]].shape;
  return shape && std::all_of(node.inputs.begin(), node.inputs.end(),
                              [&](ValueId in) { return !site.graph.constant(in) && site.graph[in].shape == shape; });
}

bool is_inner(const Site& site, ValueId value) {
  const NodeId producer = site.uses.producer_of(value);
  return producer && site.uses.has_single_use(value) && adds_equals(site, producer);
}

void collect_terms(const Site& site, NodeId id, double sign, std::vector<Term>& terms) {
  const Node& node = site.graph[id];
  const auto* op = std::get_if<Binary>(&node.op);
  const bool minus = op && op->kind == Binary::Kind::sub;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const double term_sign = i == 1 && minus ? -sign : sign;
    const bool inner = is_inner(site, node.inputs[i]);
    if (inner && (term_sign > 0 || !is_sum(site.graph[site.uses.producer_of(node.inputs[i])].op))) {
      collect_terms(site, site.uses.producer_of(node.inputs[i]), term_sign, terms);
    } else {
      terms.push_back({.sign = term_sign, .value = node.inputs[i]});
    }
  }
}

void find_paths(const Site& site, Term& term) {
  const auto channels = (*site.graph[term.value].shape)[1];
  term.paths.push_back({term.value, identity_geometry(channels), {}});
  while (true) {
    const Path& last = term.paths.back();
    const auto map = view_of_producer(site, last.source);
    if (!map) {
      const NodeId producer = site.uses.producer_of(last.source);
      if (producer && std::holds_alternative<AveragePool>(site.graph[producer].op)) {
        term.beyond = site.graph[producer].inputs[0];
        term.why = label(site.graph, producer) + " " + std::string(reason::kMeanOfInside);
      }
      return;
    }
    const NodeId reader = last.maps.empty() ? site.node : last.maps.front().node;
    auto why = other_readers(site, last.source);
    if (!why) why = border_obstacle(site.graph, *map, last.geometry, reader);
    if (why) {
      term.beyond = map->source;
      term.why = *why;
      return;
    }
    Path longer{map->source, compose(map->geometry, last.geometry), {*map}, last.work + work_of(site.graph, *map)};
    longer.maps.insert(longer.maps.end(), last.maps.begin(), last.maps.end());
    term.paths.push_back(std::move(longer));
  }
}

LinearMap numbers_of(const Graph& graph, const Path& path, double sign) {
  LinearMap map = path.maps.empty() ? identity_map(path.geometry.in) : numbers_of(graph, path.maps.front());
  for (size_t i = 1; i < path.maps.size(); ++i) map = compose(map, numbers_of(graph, path.maps[i]));
  if (sign < 0) {
    for (double& w : map.weight) w = -w;
    for (double& b : map.bias) b = -b;
  }
  return map;
}

/// The name that the merged node carries: that of the last convolution on a path, otherwise of the last map.
std::string name_after(const Site& site, const Path& path) {
  for (auto map = path.maps.rbegin(); map != path.maps.rend(); ++map) {
    if (map->is_conv() || map->is_gemm()) return site.graph[map->node].name;
  }
  return site.graph[path.maps.empty() ? site.node : path.maps.back().node].name;
}

/// Two terms become one; the others are added to it as they are: by one Sum if the site's node is one.
Patch merged(const Site& site, const std::vector<Term>& terms, size_t i, size_t j, const Path& a, const Path& b,
             const Geometry& into) {
  Patch patch(site.graph);
  LinearMap map = sum(numbers_of(site.graph, a, terms[i].sign), numbers_of(site.graph, b, terms[j].sign), into);
  const ValueId result = site.graph[site.node].outputs[0];
  ValueId total =
      emit(patch, std::move(map), rank_of(site.graph, result), a.source, name_after(site, a.maps.empty() ? b : a));
  std::vector<ValueId> added{total};
  for (size_t k = 0; k < terms.size(); ++k) {
    if (k != i && k != j && terms[k].sign > 0) added.push_back(terms[k].value);
  }
  const std::string& name = site.graph[site.node].name;
  if (added.size() > 2 && is_sum(site.graph[site.node].op)) {
    total = patch.node(name, Variadic{}, std::move(added));
  } else {
    for (size_t k = 1; k < added.size(); ++k) total = patch.node(name, Binary{}, {total, added[k]});
  }
  for (size_t k = 0; k < terms.size(); ++k) {
    if (k == i || k == j || terms[k].sign > 0) continue;
    total = patch.node(name, Binary{Binary::Kind::sub}, {total, terms[k].value});
  }
  patch.replace(result, total);
  return patch;
}

/// s·b + t is zero where it is no more than what rounding left of terms that cancel: a branch that subtracts its batch
/// norm's shift before it pads has no bias.
void drop_rounding(LinearMap& map, const LinearMap& first, const LinearMap& scale, double unit) {
  for (size_t o = 0; o < map.bias.size(); ++o) {
    const double terms = std::abs(scale.weight[o] * first.bias[o]) + std::abs(scale.bias[o]);
    if (std::abs(map.bias[o]) <= unit * terms) map.bias[o] = 0;
  }
}

}  // namespace

std::string too_costly(const Site& site, int64_t before, int64_t after) {
  return "merging " + std::string(reason::kWork) + " at " + label(site.graph, site.node) + " from " +
         std::to_string(before) + " to " + std::to_string(after);
}

Outcome merge_chain(const Site& site, Accepts accepts_first, Accepts accepts_second) {
  const auto second = view(site.graph, site.node);
  if (!second || !((*second).*accepts_second)()) return NoMatch{};
  const auto first = view_of_producer(site, second->source);
  if (!first || !((*first).*accepts_first)()) return NoMatch{};
  return merge_pair(site, *first, *second);
}

Outcome merge_pair(const Site& site, const View& first, const View& second) {
  const size_t rank = rank_of(site.graph, second.result);
  const Geometry geometry = without_crops(compose(first.geometry, second.geometry));
  if (is_vector_map_without_gemm(geometry, rank)) return NoMatch{};
  if (const auto why = other_readers(site, second.source)) return Refused{*why};
  if (const auto why = border_obstacle(site.graph, first, second.geometry, site.node)) return Refused{*why};
  const int64_t before = work_of(site.graph, first) + work_of(site.graph, second);
  const int64_t after = geometry.weights() * positions(site.graph, second.result);
  if (!site.may.enlarge && after > before) return Refused{too_costly(site, before, after)};

  Patch patch(site.graph);
  const bool named_after_second = second.is_conv() || second.is_gemm() || !(first.is_conv() || first.is_gemm());
  const std::string& name = site.graph[named_after_second ? second.node : first.node].name;
  const LinearMap w1 = numbers_of(site.graph, first), w2 = numbers_of(site.graph, second);
  LinearMap map = compose(w1, w2);
  if (second.is_scale()) drop_rounding(map, w1, w2, rounding_of(site.graph[second.result].dtype));
  patch.replace(second.result, emit(patch, std::move(map), rank, first.source, name));
  return patch;
}

Outcome merge_behind(const Site& site, Accepts second) {
  for (const Accepts first : {&View::is_conv, &View::is_gemm, &View::is_scale, &View::is_batch_norm}) {
    Outcome outcome = merge_chain(site, first, second);
    if (!std::holds_alternative<NoMatch>(outcome)) return outcome;
  }
  return NoMatch{};
}

Outcome merge_before(const Site& site, Accepts first) {
  Outcome outcome = merge_chain(site, first, &View::is_conv);
  return std::holds_alternative<NoMatch>(outcome) ? merge_chain(site, first, &View::is_gemm) : outcome;
}

Outcome merge_terms(const Site& site, bool residual) {
  const ValueId result = site.graph[site.node].outputs.empty() ? ValueId{} : site.graph[site.node].outputs[0];
  if (!result || !adds_equals(site, site.node)) return NoMatch{};
  const size_t rank = rank_of(site.graph, result);
  if ((rank != 2 && rank != 4) || !is_float(site.graph[result].dtype)) return NoMatch{};
  const auto& readers = site.uses.consumers_of(result);
  const bool variadic = is_sum(site.graph[site.node].op);
  if (!variadic && site.uses.has_single_use(result) && adds_equals(site, readers[0])) {
    return NoMatch{};  // the outer sum's matter
  }

  std::vector<Term> terms;
  collect_terms(site, site.node, 1, terms);
  for (Term& term : terms) find_paths(site, term);
  std::optional<std::string> why;
  for (size_t i = 0; i < terms.size(); ++i) {
    for (size_t j = i + 1; j < terms.size(); ++j) {
      for (const Path& a : terms[i].paths) {
        for (const Path& b : terms[j].paths) {
          if (a.source != b.source || (a.maps.empty() && b.maps.empty())) continue;
          if ((a.maps.empty() || b.maps.empty()) != residual) continue;
          const auto into = sum(a.geometry, b.geometry, image_size(site.graph, a.source));
          if (!into) {
            why = "the branches that meet at " + label(site.graph, site.node) + " " + std::string(reason::kNotAligned);
            continue;
          }
          if (is_vector_map_without_gemm(*into, rank)) continue;
          const int64_t before = a.work + b.work, after = into->weights() * positions(site.graph, result);
          if (!site.may.enlarge && after > before) {
            why = too_costly(site, before, after);
            continue;
          }
          return merged(site, terms, i, j, a, b, *into);
        }
      }
    }
  }
  for (const Term& blocked : terms) {
    for (const Term& other : terms) {
      for (const Path& path : other.paths) {
        if (!why && blocked.beyond && path.source == blocked.beyond && path.maps.empty() == residual) why = blocked.why;
      }
    }
  }
  if (why) return Refused{*why};
  return NoMatch{};
}

}  // namespace reducenet
