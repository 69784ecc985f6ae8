#include "collapse/driver.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "collapse/cost_text.h"
#include "collapse/rounding.h"
#include "reducenet/error.h"
#include "rules/reason.h"
#include "rules/view.h"

namespace reducenet {
namespace {

int64_t work_of(const Graph& graph, NodeId id) {
  if (const auto map = view(graph, id)) return work_of(graph, *map);
  return count_macs(graph, graph[id]);
}

/// Elements of the constants that the node reads.
int64_t constants_of(const Graph& graph, NodeId id) {
  int64_t count = 0;
  for (const ValueId in : graph[id].inputs) {
    const Tensor* constant = graph.constant(in);
    count += constant ? constant->size() : 0;
  }
  return count;
}

double largest(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return std::numeric_limits<double>::max();
    case DType::f16:
      return 65504;
    case DType::bf16:
      return 0x1.FEp127;
    default:
      return std::numeric_limits<float>::max();
  }
}

/// A sum of k terms is k − 1 nodes.
int64_t nodes_in(const Node& node) {
  return std::holds_alternative<Variadic>(node.op) ? std::max<int64_t>(std::ssize(node.inputs) - 1, 1) : 1;
}

bool agree(const Shape& a, const Shape& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](int64_t x, int64_t y) { return x == y || x < 0 || y < 0; });
}

}  // namespace

Measure measure(const Graph& graph) {
  Measure total;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    total.nodes += nodes_in(graph.nodes[i]);
    total.work += work_of(graph, {static_cast<int32_t>(i)});
  }
  return total;
}

Driver::Driver(Graph graph, std::span<const Rule> rules, const CollapseOptions& options)
    : graph_(std::move(graph)),
      rules_(rules),
      options_(options),
      uses_(graph_),
      alive_(graph_.nodes.size(), true),
      queued_(graph_.nodes.size(), false) {
  for (const Value& value : graph_.values) value_names_.insert(value.name);
  for (const Node& node : graph_.nodes) node_names_.insert(node.name);
}

// One region after the other: of the constants in double, few live at a time.
void Driver::run(Freedom freedom, bool last) {
  freedom_ = freedom;
  const auto nodes_where = [&](auto wanted) {
    std::vector<NodeId> nodes;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (alive_[i] && wanted(i)) nodes.push_back({static_cast<int32_t>(i)});
    }
    return nodes;
  };
  // What may join regions, or make a constant that a merge inside one waits for.
  exhaust(nodes_where([&](size_t i) {
    const Node& node = graph_.nodes[i];
    const bool of_constants = std::ranges::all_of(node.inputs, [&](ValueId id) { return !id || graph_.constant(id); });
    return of_constants || !is_linear(graph_, node);
  }));
  std::vector<std::vector<NodeId>> regions;
  const std::vector<int64_t> numbers = linear_regions(graph_);
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!alive_[i] || numbers[i] < 0) continue;
    regions.resize(std::max(regions.size(), static_cast<size_t>(numbers[i]) + 1));
    regions[static_cast<size_t>(numbers[i])].push_back({static_cast<int32_t>(i)});
  }
  // The largest first: while its constants live in double, the fewest merged ones stand beside them.
  std::ranges::stable_sort(regions, std::greater<>(), [&](const std::vector<NodeId>& region) {
    return std::accumulate(region.begin(), region.end(), int64_t{0},
                           [&](int64_t sum, NodeId id) { return sum + constants_of(graph_, id); });
  });
  for (const std::vector<NodeId>& region : regions) {
    const size_t first = graph_.nodes.size();
    if (exhaust(region)) round_from(first, last);
  }
  while (exhaust(nodes_where([](size_t) { return true; }))) {
  }
}

bool Driver::exhaust(const std::vector<NodeId>& nodes) {
  const size_t first = graph_.nodes.size();
  bool fired = true, ever = false;
  while (fired) {  // a last sweep finds what no neighbour announced
    fired = false;
    for (const NodeId node : nodes) revisit(node);
    for (size_t i = first; i < graph_.nodes.size(); ++i) revisit({static_cast<int32_t>(i)});
    while (!queue_.empty()) {
      const NodeId node = queue_.front();
      queue_.pop_front();
      queued_[static_cast<size_t>(node.index)] = false;
      if (alive_[static_cast<size_t>(node.index)]) fired |= visit(node);
    }
    ever |= fired;
  }
  return ever;
}

void Driver::round_from(size_t first, bool all) {
  const auto joins = [&](NodeId node) { return node && is_linear(graph_, graph_[node]); };
  for (size_t i = first; i < graph_.nodes.size(); ++i) {
    if (!alive_[i]) continue;
    const Node& node = graph_.nodes[i];
    bool alone = true;
    for (const ValueId in : node.inputs) alone &= !in || !joins(uses_.producer_of(in));
    for (const ValueId out : node.outputs) {
      if (!out) continue;
      for (const NodeId reader : uses_.consumers_of(out)) alone &= !joins(reader);
    }
    if (!all && !alone) continue;
    for (const ValueId in : node.inputs) {
      if (!in || !graph_[in].constant || graph_[in].constant->dtype() != DType::f64) continue;
      graph_[in].constant = rounded(node, in, *graph_[in].constant, graph_[in].dtype);
    }
  }
}

bool Driver::visit(NodeId id) {
  refused_.erase(id.index);
  for (const Rule& rule : rules_) {
    if (!may_step()) return false;
    if (take(rule.name, id, rule.apply({graph_, uses_, id, freedom_}), false)) return true;
  }
  return false;
}

bool Driver::offer(std::string_view rule, NodeId id, const std::function<Outcome(const Site&)>& propose) {
  return may_step() && take(rule, id, propose({graph_, uses_, id, freedom_}), true);
}

void Driver::refuse(std::string_view rule, NodeId id, std::string why) {
  refused_[id.index].push_back({graph_[id].name, std::string(rule), std::move(why)});
}

bool Driver::take(std::string_view rule, NodeId id, Outcome outcome, bool weighed) {
  if (auto* refused = std::get_if<Refused>(&outcome)) refuse(rule, id, std::move(refused->why));
  auto* patch = std::get_if<Patch>(&outcome);
  if (!patch) return false;
  const std::string name = graph_[id].name, where = "rule " + std::string(rule) + " at node '" + name + "'";
  complete(*patch, where);
  const std::vector<NodeId> dead = dying(*patch);
  auto why = not_finite(*patch);
  if (!why && !weighed) why = too_costly(*patch, dead);
  if (why) {
    refuse(rule, id, std::move(*why));
    return false;
  }
  const std::string op = describe(graph_[id].op);
  std::string made;
  for (const Node& node : patch->nodes_) made += (made.empty() ? "" : ", ") + describe(node.op);
  const Measure change = apply(std::move(*patch), dead);
  const bool falls = freedom_.borders && change.work != 0 ? change.work < 0 : change < Measure{};
  if (!weighed && !falls) throw Error(ErrorKind::check_failed, where + " lowers no measure");
  steps_.push_back({std::string(rule), name, made.empty() ? op + " removed" : std::move(made)});
  return true;
}

void Driver::complete(Patch& patch, const std::string& where) const {
  const auto first = static_cast<int32_t>(graph_.values.size());
  const auto value = [&](ValueId id) -> const Value& {
    return id.index < first ? graph_[id] : patch.values_[static_cast<size_t>(id.index - first)];
  };
  const DType dtype = graph_[patch.replacements_.at(0).first].dtype;
  for (Value& made : patch.values_) {
    if (!made.constant || made.dtype == DType::f64) made.dtype = dtype;
  }
  for (const Node& node : patch.nodes_) {
    std::vector<std::optional<Shape>> shapes;
    std::vector<const Tensor*> constants;
    for (const ValueId in : node.inputs) {
      shapes.push_back(value(in).shape);
      constants.push_back(value(in).constant ? &*value(in).constant : nullptr);
    }
    patch.values_[static_cast<size_t>(node.outputs[0].index - first)].shape =
        output_shapes(node.op, shapes, constants, 1)[0];
  }
  for (const auto& [before, after] : patch.replacements_) {
    const auto &old_shape = graph_[before].shape, &new_shape = value(after).shape;
    if (old_shape && new_shape && !agree(*old_shape, *new_shape)) {
      throw Error(ErrorKind::check_failed, where + " would change the shape of '" + graph_[before].name + "' from " +
                                               to_string(*old_shape) + " to " + to_string(*new_shape));
    }
    if (value(after).dtype != graph_[before].dtype) {
      throw Error(ErrorKind::check_failed, where + " would change the dtype of '" + graph_[before].name + "'");
    }
  }
}

std::vector<NodeId> Driver::dying(const Patch& patch) const {
  std::unordered_set<int32_t> kept;  // values that live on
  for (const Node& node : patch.nodes_) {
    for (const ValueId in : node.inputs) kept.insert(in.index);
  }
  for (const auto& [before, after] : patch.replacements_) kept.insert(after.index);
  std::map<int32_t, size_t> left;  // uses that remain, where they differ from uses_
  std::vector<NodeId> dead, candidates;
  for (const auto& [before, after] : patch.replacements_) {
    left[before.index] = 0;
    candidates.push_back(uses_.producer_of(before));
  }
  const auto unused = [&](ValueId id) {
    if (!id) return true;
    const auto remaining = left.find(id.index);
    const bool replaced = std::any_of(patch.replacements_.begin(), patch.replacements_.end(),
                                      [&](const auto& pair) { return pair.first == id; });
    if (replaced) return true;
    const size_t count = remaining == left.end() ? uses_.consumers_of(id).size() : remaining->second;
    return count == 0 && !uses_.is_output[static_cast<size_t>(id.index)] && !kept.contains(id.index);
  };
  while (!candidates.empty()) {
    const NodeId id = candidates.back();
    candidates.pop_back();
    const auto& outputs = graph_[id].outputs;
    if (std::find(dead.begin(), dead.end(), id) != dead.end() || !std::all_of(outputs.begin(), outputs.end(), unused)) {
      continue;
    }
    dead.push_back(id);
    for (const ValueId in : graph_[id].inputs) {
      if (!in) continue;
      --left.try_emplace(in.index, uses_.consumers_of(in).size()).first->second;
      if (uses_.producer_of(in)) candidates.push_back(uses_.producer_of(in));
    }
  }
  return dead;
}

std::optional<std::string> Driver::not_finite(const Patch& patch) const {
  for (const Value& value : patch.values_) {
    if (!value.constant || value.constant->dtype() != DType::f64) continue;
    const double limit = largest(value.dtype);
    bool fits = true;
    for (const double v : value.constant->as<double>()) fits &= std::abs(v) <= limit;
    if (!fits) {
      return "the merged constant '" + value.name + "' " + std::string(reason::kNotFinite) + " " +
             std::string(to_string(value.dtype));
    }
  }
  return std::nullopt;
}

std::optional<std::string> Driver::too_costly(const Patch& patch, const std::vector<NodeId>& dead) const {
  if (options_.target != Target::plan || !options_.cost) return std::nullopt;
  const auto first = static_cast<int32_t>(graph_.values.size());
  double before = 0, after = 0;
  for (const NodeId id : dead) {
    const auto workload = workload_of(graph_, graph_[id]);
    if (!workload) return std::nullopt;
    before += options_.cost(*workload);
  }
  for (const Node& node : patch.nodes_) {
    const auto workload = workload_of(node, [&](ValueId id) {
      return operand_of(id.index < first ? graph_[id] : patch.values_[static_cast<size_t>(id.index - first)]);
    });
    if (!workload) return std::nullopt;
    after += options_.cost(*workload);
  }
  if (after <= before) return std::nullopt;
  return "merging " + std::string(reason::kCost) + " " + cost_text(after) + " instead of " + cost_text(before);
}

std::string Driver::unique(const std::string& stem, std::unordered_set<std::string>& taken) const {
  std::string name = stem;
  for (int i = 2; !taken.insert(name).second; ++i) name = stem + "." + std::to_string(i);
  return name;
}

Measure Driver::apply(Patch patch, const std::vector<NodeId>& dead) {
  Measure change;
  for (const NodeId id : dead) {
    change.nodes -= nodes_in(graph_[id]);
    change.work -= work_of(graph_, id);
  }
  const size_t first_value = graph_.values.size(), first_node = graph_.nodes.size();
  for (Value& value : patch.values_) {
    graph_.values.push_back(std::move(value));
  }
  uses_.producer.resize(graph_.values.size());
  uses_.consumers.resize(graph_.values.size());
  uses_.is_output.resize(graph_.values.size());
  for (Node& node : patch.nodes_) {
    const NodeId id{static_cast<int32_t>(graph_.nodes.size())};
    for (const ValueId in : node.inputs) uses_.consumers[static_cast<size_t>(in.index)].push_back(id);
    uses_.producer[static_cast<size_t>(node.outputs[0].index)] = id;
    graph_.nodes.push_back(std::move(node));
  }
  alive_.resize(graph_.nodes.size(), true);
  queued_.resize(graph_.nodes.size(), false);
  for (const NodeId id : dead) remove(id);
  for (size_t i = first_value; i < graph_.values.size(); ++i) {
    graph_.values[i].name = unique(graph_.values[i].name, value_names_);
  }
  for (const auto& [before, after] : patch.replacements_) {
    redirect(before, after, after.index >= static_cast<int32_t>(first_value));
  }
  for (size_t i = first_node; i < graph_.nodes.size(); ++i) {
    Node& node = graph_.nodes[i];
    node.name = unique(node.name, node_names_);
    change.nodes += nodes_in(node);
    change.work += work_of(graph_, {static_cast<int32_t>(i)});
    revisit({static_cast<int32_t>(i)});
  }
  for (size_t i = first_value; i < graph_.values.size(); ++i) revisit_around({static_cast<int32_t>(i)});
  return change;
}

void Driver::redirect(ValueId before, ValueId after, bool is_new) {
  const bool takes_name = is_new || is_pinned({graph_, uses_, {}}, before);
  auto& readers = uses_.consumers[static_cast<size_t>(before.index)];
  for (const NodeId reader : readers) {
    std::replace(graph_[reader].inputs.begin(), graph_[reader].inputs.end(), before, after);
    uses_.consumers[static_cast<size_t>(after.index)].push_back(reader);
  }
  readers.clear();
  std::replace(graph_.outputs.begin(), graph_.outputs.end(), before, after);
  Value &old_value = graph_[before], &new_value = graph_[after];
  if (uses_.is_output[static_cast<size_t>(before.index)]) {
    uses_.is_output[static_cast<size_t>(after.index)] = true;
    uses_.is_output[static_cast<size_t>(before.index)] = false;
    new_value.dim_names = old_value.dim_names;
  }
  if (takes_name) std::swap(old_value.name, new_value.name);
  revisit_around(after);
}

void Driver::remove(NodeId id) {
  Node& node = graph_[id];
  alive_[static_cast<size_t>(id.index)] = false;
  refused_.erase(id.index);
  node_names_.erase(node.name);
  for (const ValueId in : node.inputs) {
    if (!in) continue;
    auto& readers = uses_.consumers[static_cast<size_t>(in.index)];
    const auto found = std::find(readers.begin(), readers.end(), id);
    if (found != readers.end()) readers.erase(found);
    if (!graph_[in].constant) {
      revisit_around(in);
    } else if (readers.empty() && !uses_.is_output[static_cast<size_t>(in.index)]) {
      value_names_.erase(graph_[in].name);
      graph_[in].constant.reset();
    }
  }
}

void Driver::revisit(NodeId id) {
  if (!id || !alive_[static_cast<size_t>(id.index)] || queued_[static_cast<size_t>(id.index)]) return;
  queued_[static_cast<size_t>(id.index)] = true;
  queue_.push_back(id);
}

void Driver::revisit_around(ValueId value) {
  revisit(uses_.producer_of(value));
  if (graph_[value].constant) return;
  for (const NodeId reader : uses_.consumers_of(value)) revisit(reader);
}

Collapsed Driver::finish(bool in_double) && {
  if (!in_double) round_from(0, true);
  std::vector<Node> nodes;
  std::vector<Refusal> refused;
  for (size_t i = 0; i < graph_.nodes.size(); ++i) {
    if (alive_[i]) nodes.push_back(std::move(graph_.nodes[i]));
  }
  for (auto& [node, why] : refused_) refused.insert(refused.end(), why.begin(), why.end());
  graph_.nodes = std::move(nodes);
  sort_topologically(graph_);
  remove_dead(graph_);
  for (Value& value : graph_.values) {  // what no node reads: an output that is constant
    if (in_double || !value.constant || value.constant->dtype() != DType::f64) continue;
    value.constant = value.constant->cast(value.dtype);
  }
  return {std::move(graph_), std::move(steps_), std::move(refused), {}};
}

}  // namespace reducenet
