#include <algorithm>
#include <numeric>

#include "rules/example.h"
#include "rules/merge.h"
#include "rules/reason.h"
#include "rules/rows.h"

// Channels side by side, as in GoogLeNet, DenseNet, RepGhost: a concatenation before or behind linear maps.

namespace reducenet {
namespace {

bool joins_channels(const Graph& graph, const Node& node) {
  const auto* op = std::get_if<Concat>(&node.op);
  const size_t rank = op ? rank_of(graph, node.outputs[0]) : 0;
  return (rank == 2 || rank == 4) && (op->axis == 1 || op->axis + static_cast<int64_t>(rank) == 1) &&
         std::all_of(node.inputs.begin(), node.inputs.end(),
                     [&](ValueId in) { return rank_of(graph, in) == rank && !graph.constant(in); });
}

bool is_layer(const View& map) {
  return map.is_conv() || map.is_gemm();
}

/// One input of a concatenation: a layer, or an activation of one.
struct Branch {
  ValueId input;
  std::optional<Activation> activation;
  View layer;
  std::optional<std::string> why;  ///< what keeps it from being merged
};

std::optional<Branch> read_branch(const Site& site, ValueId input) {
  ValueId made = input;
  Branch branch{input, std::nullopt, {}, other_readers(site, input)};
  const NodeId producer = site.uses.producer_of(input);
  const auto* op = producer ? std::get_if<Activation>(&site.graph[producer].op) : nullptr;
  if (op) {
    branch.activation = *op;
    made = site.graph[producer].inputs[0];
    if (!branch.why) branch.why = other_readers(site, made);
  }
  const auto layer = view_of_producer(site, made);
  if (!layer || !is_layer(*layer)) return std::nullopt;
  branch.layer = *layer;
  return branch;
}

bool fit(const Branch& a, const Branch& b) {
  return a.layer.source == b.layer.source && a.activation == b.activation;
}

// [A(w₁∗x + b₁); A(w₂∗x + b₂)] = A([w₁; w₂]∗x + [b₁; b₂])  for neighbours in a concatenation, A an activation or
// nothing.  Exact where the outputs lie over each other.
Outcome layers_of_one_input(const Site& site) {
  const Node& node = site.graph[site.node];
  if (!joins_channels(site.graph, node)) return NoMatch{};
  std::optional<std::string> why;
  for (size_t i = 0; i + 1 < node.inputs.size(); ++i) {
    const auto first = read_branch(site, node.inputs[i]), second = read_branch(site, node.inputs[i + 1]);
    if (!first || !second || !fit(*first, *second)) continue;
    if (first->why || second->why) {
      why = first->why ? first->why : second->why;
      continue;
    }
    const auto into = stack(first->layer.geometry, second->layer.geometry, image_size(site.graph, first->layer.source));
    if (!into) {
      why = "the branches that meet at " + label(site.graph, site.node) + " " + std::string(reason::kNotAligned);
      continue;
    }
    const int64_t before = work_of(site.graph, first->layer) + work_of(site.graph, second->layer);
    const int64_t after = into->weights() * positions(site.graph, node.outputs[0]);
    if (!site.may.enlarge && after > before) {
      why = too_costly(site, before, after);
      continue;
    }
    Patch patch(site.graph);
    const size_t rank = rank_of(site.graph, node.outputs[0]);
    LinearMap map = stack(numbers_of(site.graph, first->layer), numbers_of(site.graph, second->layer), *into);
    ValueId y = emit(patch, std::move(map), rank, first->layer.source, site.graph[first->layer.node].name);
    if (first->activation)
      y = patch.node(site.graph[site.uses.producer_of(first->input)].name, *first->activation, {y});
    if (node.inputs.size() > 2) {
      std::vector<ValueId> inputs = node.inputs;
      inputs[i] = y;
      inputs.erase(inputs.begin() + static_cast<int64_t>(i) + 1);
      y = patch.node(node.name, node.op, std::move(inputs));
    }
    patch.replace(node.outputs[0], y);
    return patch;
  }
  if (why) return Refused{*why};
  return NoMatch{};
}

Graph layers_of_one_input_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const bool image = e.chance(0.8), activation = e.chance(0.4);
  const ValueId x = image ? e.image() : e.vector();
  const int64_t stride = e.integer(1, 2), count = must_fire ? e.integer(2, 4) : 2;
  std::vector<ValueId> parts;
  const auto layer = [&] {
    const int64_t half = e.integer(0, 1);
    const Padding padding{half, half, half, half};
    return image ? e.conv(x, {.kernel = 2 * half + 1, .stride = stride, .dilation = 1, .padding = padding}) : e.gemm(x);
  };
  if (must_fire && e.chance(0.3)) parts.push_back(e.node(Activation{Activation::Kind::tanh}, {layer()}));
  for (int64_t i = 0; i < count; ++i) {
    const ValueId y = layer();
    parts.push_back(activation ? e.node(Activation{}, {y}) : y);
    if (!must_fire && i == 0) e.output(parts.back());
  }
  e.output(e.node(Concat{}, parts));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

/// One piece of a concatenation that a linear map reads: the map's share of it, taken through what makes the piece if
/// that is linear and nobody else needs it.
struct Piece {
  ValueId source;
  LinearMap map;
  int64_t work = 0;  ///< of the producer that `map` takes in
  bool took_in = false;
};

Piece read_piece(const Site& site, const View& reader, ValueId input, LinearMap share) {
  const auto producer = view_of_producer(site, input);
  const bool exact = producer && !producer->is_pad() && !other_readers(site, input) &&
                     !border_obstacle(site.graph, *producer, share.geometry, reader.node);
  if (!exact) return {input, std::move(share)};
  const int64_t work = work_of(site.graph, *producer);
  return {producer->source, compose(numbers_of(site.graph, *producer), share), work, true};
}

/// The view at the site, if it reads a concatenation that nothing else reads.
struct Joined {
  View map;
  const Node* concat;
};
std::optional<Joined> read_joined(const Site& site) {
  const auto map = view(site.graph, site.node);
  const NodeId producer = map && !map->is_pad() ? site.uses.producer_of(map->source) : NodeId{};
  if (!producer || !joins_channels(site.graph, site.graph[producer])) return std::nullopt;
  return Joined{*map, &site.graph[producer]};
}

// w∗[x₁; x₂] + b = w[:, 1]∗x₁ + w[:, 2]∗x₂ + b; each term takes in what makes xᵢ, and terms of one tensor add up.
// Where that saves nodes.
Outcome layer_of_pieces(const Site& site) {
  const auto joined = read_joined(site);
  if (!joined || !is_layer(joined->map) || joined->map.geometry.groups != 1) return NoMatch{};
  const auto worth = [&](ValueId in) {  // cheap test before any weight is read
    const auto producer = view_of_producer(site, in);
    return producer && !producer->is_pad();
  };
  const auto& inputs = joined->concat->inputs;
  if (std::none_of(inputs.begin(), inputs.end(), worth)) return NoMatch{};
  if (const auto why = other_readers(site, joined->map.source)) return Refused{*why};

  const LinearMap whole = numbers_of(site.graph, joined->map);
  const int64_t places = positions(site.graph, joined->map.result);
  const size_t rank = rank_of(site.graph, joined->map.result);
  std::vector<Piece> terms;
  int64_t first = 0, before = work_of(site.graph, joined->map), taken = 0;
  for (const ValueId in : inputs) {
    const int64_t count = (*site.graph[in].shape)[1];
    Piece piece = read_piece(site, joined->map, in, columns_of(whole, first, count));
    first += count;
    taken += piece.took_in;
    before += piece.work;
    const auto same =
        std::find_if(terms.begin(), terms.end(), [&](const Piece& t) { return t.source == piece.source; });
    const auto into = same == terms.end()
                          ? std::nullopt
                          : sum(same->map.geometry, piece.map.geometry, image_size(site.graph, piece.source));
    if (into) {
      same->map = sum(std::move(same->map), std::move(piece.map), *into);
    } else {
      terms.push_back(std::move(piece));
    }
  }
  const auto count = static_cast<int64_t>(terms.size());
  if (2 * count - 1 >= 2 + taken) return NoMatch{};  // maps and sums; concatenation, layer and what they took in
  int64_t after = 0;
  for (const Piece& term : terms) {
    if (rank == 2 && term.map.geometry.groups > 1) return NoMatch{};
    after += without_crops(term.map.geometry).weights() * places;
  }
  if (!site.may.enlarge && after > before) return Refused{too_costly(site, before, after)};

  for (size_t o = 0; o < whole.bias.size(); ++o) terms[0].map.bias[o] += whole.bias[o];
  Patch patch(site.graph);
  ValueId total;
  for (Piece& term : terms) {
    const ValueId y = emit(patch, std::move(term.map), rank, term.source, site.graph[site.node].name);
    total = total ? patch.node(joined->concat->name, Binary{}, {total, y}) : y;
  }
  patch.replace(joined->map.result, total);
  return patch;
}

Graph layer_of_pieces_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const bool image = e.chance(0.8);
  const ValueId x = image ? e.image() : e.vector();
  const auto piece = [&] { return image ? e.conv(x, {.kernel = 1, .stride = 1, .padding = Padding{}}) : e.gemm(x); };
  const auto act = [&](ValueId v) { return e.node(Activation{}, {v}); };
  std::vector<ValueId> parts;
  if (!must_fire) {
    parts = {act(piece()), act(piece())};
  } else if (e.chance(0.4)) {
    parts = {x, piece()};
  } else {
    for (int64_t i = e.integer(2, 3); i > 0; --i) parts.push_back(piece());
    if (e.chance(0.4)) parts.push_back(act(x));
  }
  const ValueId joined = e.node(Concat{}, parts);
  e.output(image ? e.conv(joined, {.kernel = e.integer(1, 2), .groups = 1, .padding = Padding{}}) : e.gemm(joined));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// f([x₁; x₂]) = [f₁(x₁); f₂(x₂)]  for maps of each channel (BN, Mul, Add, depthwise) behind layers that take in their
// shares.
Outcome channels_of_pieces(const Site& site) {
  const auto joined = read_joined(site);
  if (!joined || joined->map.geometry.groups == 1) return NoMatch{};
  const auto& inputs = joined->concat->inputs;
  const auto linear = [&](ValueId in) {
    const auto producer = view_of_producer(site, in);
    return producer && !producer->is_pad();
  };
  if (!std::all_of(inputs.begin(), inputs.end(), linear)) return NoMatch{};
  if (const auto why = other_readers(site, joined->map.source)) return Refused{*why};

  const LinearMap whole = numbers_of(site.graph, joined->map);
  const size_t rank = rank_of(site.graph, joined->map.result);
  Patch patch(site.graph);
  std::vector<ValueId> made;
  int64_t first = 0, before = work_of(site.graph, joined->map), after = 0;
  for (const ValueId in : inputs) {
    const int64_t count = (*site.graph[in].shape)[1];
    auto share = groups_of(whole, first, count);
    first += count;
    if (!share) return NoMatch{};
    const View producer = *view_of_producer(site, in);
    if (const auto why = other_readers(site, in)) return Refused{*why};
    if (const auto why = border_obstacle(site.graph, producer, share->geometry, site.node)) return Refused{*why};
    Piece piece = read_piece(site, joined->map, in, std::move(*share));
    if (rank == 2 && piece.map.geometry.groups > 1) return NoMatch{};
    before += piece.work;
    after += without_crops(piece.map.geometry).weights() * positions(site.graph, joined->map.result);
    made.push_back(emit(patch, std::move(piece.map), rank, piece.source, site.graph[producer.node].name));
  }
  if (!site.may.enlarge && after > before) return Refused{too_costly(site, before, after)};
  patch.replace(joined->map.result, patch.node(joined->concat->name, joined->concat->op, std::move(made)));
  return patch;
}

Graph channels_of_pieces_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const bool image = e.chance(0.8);
  const ValueId x = image ? e.image() : e.vector(), y = e.node(Activation{}, {x});
  const auto layer = [&](ValueId v) {
    return image ? e.conv(v, {.out = e.integer(2, 4), .kernel = 1, .stride = 1, .padding = Padding{}}) : e.gemm(v, 2);
  };
  std::vector<ValueId> parts{layer(x), layer(y)};
  if (!must_fire) parts.push_back(y);
  const ValueId joined = e.node(Concat{}, parts);
  e.output(e.chance(0.6) ? e.batch_norm(joined) : e.node(Unary{}, {joined}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"concat-layers", "[A(w₁∗x); A(w₂∗x)] = A([w₁; w₂]∗x)", layers_of_one_input, layers_of_one_input_example},
    {"layer-concat", "w∗[w₁∗x₁; x₂] = (w[:,1]∗w₁)∗x₁ + w[:,2]∗x₂", layer_of_pieces, layer_of_pieces_example},
    {"channels-concat", "s·[w₁∗x₁; w₂∗x₂] + t = [(s₁·w₁)∗x₁ + t₁; (s₂·w₂)∗x₂ + t₂]", channels_of_pieces,
     channels_of_pieces_example},
};

}  // namespace

std::span<const Rule> concat_rules() {
  return kRules;
}

}  // namespace reducenet
