#include "collapse/planner.h"

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>

#include "collapse/adjoint.h"
#include "collapse/blocks.h"
#include "collapse/cost_text.h"
#include "collapse/single.h"
#include "collapse/sizes.h"
#include "reducenet/error.h"
#include "rules/reason.h"
#include "rules/view.h"

namespace reducenet {
namespace {

constexpr OpenSizes kNominal{1, 224, 224};
constexpr int64_t kMostDenseWeights = int64_t{1} << 28;
constexpr size_t kMostCrossed = 4;               // blocks that are merged across zero padding together
constexpr double kDenseWeight = 4;               // of a multiply-accumulate in a dense matrix, where they are counted
constexpr double kMostDenseArithmetic = 0x1p34;  // multiply-accumulates to compute a dense matrix

/// Rules that make one layer of several: the plan's business until it is made.
constexpr std::string_view kPlanned[] = {"conv-conv", "gemm-gemm", "flatten-linear"};

/// Shapes by name of value, with open heights and widths at the nominal size; empty when there are none. The driver's
/// graph as it is now: merges make values of their own.
using NominalShapes = std::unordered_map<std::string, Shape>;

NominalShapes nominal_shapes(const Driver& driver) {
  const Graph& graph = driver.graph();
  const bool open = std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](ValueId id) {
    const auto& shape = graph[id].shape;
    return shape && std::any_of(shape->begin() + std::min<int64_t>(1, std::ssize(*shape)), shape->end(),
                                [](int64_t dim) { return dim < 0; });
  });
  NominalShapes shapes;
  if (!open) return shapes;
  Graph ordered = graph;
  ordered.nodes.clear();
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (driver.is_alive({static_cast<int32_t>(i)})) ordered.nodes.push_back(graph.nodes[i]);
  }
  sort_topologically(ordered);
  const Graph sized = with_fitting_sizes(ordered, kNominal);
  for (const Value& value : sized.values) {
    if (value.shape) shapes.emplace(value.name, *value.shape);
  }
  return shapes;
}

enum class Form { keep, rewrite, layer, dense };

/// What one run of blocks may become.
struct Option {
  double cost = std::numeric_limits<double>::infinity();
  int64_t nodes = 0;
  Form form = Form::keep;

  bool operator<(const Option& other) const { return std::pair(cost, nodes) < std::pair(other.cost, other.nodes); }
};

/// A block as the plan sees it.
struct Link {
  std::optional<Graph> rewritten;  ///< a block of several nodes after every enlarging rule
  std::optional<View> view;        ///< of the only node, here or in `rewritten`
  bool has_bias = false;
  Option alone;
};

/// The parts of a chain and their forms.
struct Choice {
  size_t first, last;  ///< blocks, half open
  Option option;
  std::optional<Graph> matrix;  ///< of a dense one
};

class ChainPlanner {
 public:
  ChainPlanner(Driver& driver, const Cost& cost, bool counted, const NominalShapes& nominal, const Chain& chain)
      : driver_(driver), graph_(driver.graph()), cost_(cost), counted_(counted), nominal_(nominal), chain_(chain) {
    for (const LinearBlock& block : chain) links_.push_back(make_link(block));
    compose_all();
  }

  /// True when something was merged.
  bool run() {
    bool merged = false;
    std::vector<Choice> choices = choose();
    while (!compute_matrices(choices)) choices = choose();
    for (auto last = choices.rbegin(); last != choices.rend(); ++last) {  // what an earlier part makes is renamed later
      const Choice& choice = *last;
      if (choice.option.form == Form::keep) continue;
      const NodeId at = driver_.uses().producer_of(chain_[choice.last - 1].to);
      merged |= driver_.offer(name_of(choice.option.form), at, [&](const Site& site) { return propose(site, choice); });
    }
    if (!merged) explain(choices);
    return merged;
  }

 private:
  static std::string_view name_of(Form form) {
    switch (form) {
      case Form::keep:
      case Form::rewrite:
        return "plan-rewrite";
      case Form::layer:
        return "plan-chain";
      case Form::dense:
        return "plan-affine";
    }
    return "";
  }

  const std::optional<Shape>& shape_of(ValueId value) const {
    const std::optional<Shape>& own = graph_[value].shape;
    if (nominal_.empty()) return own;
    auto& known = shapes_[value.index];
    if (!known) {
      const auto found = nominal_.find(graph_[value].name);
      known = found == nominal_.end() ? own : found->second;
    }
    return known;
  }

  double cost_of(const Graph& graph, const Node& node) const {
    const auto workload = workload_of(node, [&](ValueId id) {
      Value value = graph[id];
      if (&graph == &graph_ && !value.constant) value.shape = shape_of(id);
      return operand_of(value);
    });
    return workload ? cost_(*workload) : 0;
  }

  Option sum_of(const Graph& graph, const std::vector<const Node*>& nodes, Form form) const {
    Option option{0, static_cast<int64_t>(nodes.size()), form};
    for (const Node* node : nodes) option.cost += cost_of(graph, *node);
    return option;
  }

  Link make_link(const LinearBlock& block) const {
    Link link;
    std::vector<const Node*> nodes;
    for (const NodeId id : block.nodes) nodes.push_back(&graph_[id]);
    link.alone = sum_of(graph_, nodes, Form::keep);
    if (block.nodes.size() == 1) {
      link.view = view(graph_, block.nodes[0]);
      if (link.view) link.has_bias = biased(graph_, *link.view);
    } else {
      rewrite(block, link);
    }
    return link;
  }

  static bool biased(const Graph& graph, const View& view) {
    const std::vector<double> bias = bias_of(graph, view);
    return std::any_of(bias.begin(), bias.end(), [](double b) { return b != 0; });
  }

  /// What every rule makes of the blocks with more freedom than the driver has; nothing when none fires.
  std::optional<Graph> collapsed(std::span<const LinearBlock> blocks, Freedom freedom) const {
    Driver driver(cut_out(graph_, blocks), rules(), {});
    driver.run(freedom);
    Collapsed collapsed = std::move(driver).finish();
    return collapsed.steps.empty() ? std::nullopt : std::optional(std::move(collapsed.graph));
  }

  Option sum_of(const Graph& made, Form form) const {
    std::vector<const Node*> nodes;
    for (const Node& node : made.nodes) nodes.push_back(&node);
    return sum_of(made, nodes, form);
  }

  /// Sums of branches: what the rules make of them when they may enlarge, or cross padding.
  void rewrite(const LinearBlock& block, Link& link) const {
    for (const Freedom freedom : {Freedom{.enlarge = true}, Freedom{.borders = true}}) {
      if (freedom.borders && !nominal_.empty()) break;
      auto made = collapsed({&block, 1}, freedom);
      if (!made) continue;
      const bool one = made->nodes.size() == 1 && view(*made, {0});
      const Option option = one ? Option{layer_cost(view(*made, {0})->geometry, block.from, block.to), 1, Form::rewrite}
                                : sum_of(*made, Form::rewrite);
      if (!one && !nominal_.empty()) continue;
      const bool better = option < link.alone;
      if (better) link.alone = option;
      if (better || (one && !link.rewritten)) link.rewritten = std::move(made);
      if (one) break;
    }
    if (!link.rewritten) return;
    if (link.rewritten->nodes.size() == 1) link.view = view(*link.rewritten, {0});
    if (link.view) link.has_bias = biased(*link.rewritten, *link.view);
  }

  /// Blocks between which zero padding lies, merged all the same; nothing where that cannot pay.
  const Graph* crossing(size_t i, size_t j) {
    const auto [found, fresh] = crossings_.try_emplace({i, j});
    std::optional<Graph>& made = found->second;
    if (!fresh) return made ? &*made : nullptr;
    if (j - i > kMostCrossed || !nominal_.empty() || rank_of(graph_, chain_[i].from) != 4) return nullptr;
    std::optional<Geometry> whole;
    double apart = 0;
    for (size_t k = i; k < j; ++k) {
      if (!links_[k].view) return nullptr;
      whole = whole ? compose(*whole, links_[k].view->geometry) : links_[k].view->geometry;
      apart += links_[k].alone.cost;
    }
    if (layer_cost(*whole, chain_[i].from, chain_[j - 1].to) >= apart) return nullptr;  // without its border even
    made = collapsed(std::span(chain_).subspan(i, j - i), {.borders = true});
    return made ? &*made : nullptr;
  }

  /// geometry_[i][j] of blocks i … j−1 as one layer, where some order of merging is exact at every border.
  void compose_all() {
    const size_t n = links_.size();
    geometry_.assign(n + 1, std::vector<std::optional<Geometry>>(n + 1));
    for (size_t i = 0; i < n; ++i) {
      if (links_[i].view) geometry_[i][i + 1] = links_[i].view->geometry;
    }
    for (size_t length = 2; length <= n; ++length) {
      for (size_t i = 0; i + length <= n; ++i) {
        for (size_t k = i + 1; k < i + length && !geometry_[i][i + length]; ++k) join(i, k, i + length);
      }
    }
  }

  void join(size_t i, size_t k, size_t j) {
    const auto &first = geometry_[i][k], &second = geometry_[k][j];
    if (!first || !second || !borders_agree(i, k, *first, *second)) return;
    const Geometry whole = compose(*first, *second);
    if (rank_of(graph_, chain_[j - 1].to) == 2 && whole.groups > 1) return;
    geometry_[i][j] = whole;
  }

  bool borders_agree(size_t i, size_t k, const Geometry& first, const Geometry& second) const {
    const ImageSize size = image_size(graph_, chain_[i].from);
    bool reads_padding = false;
    for (size_t axis = 0; axis < 2; ++axis) {
      const Border border = border_between(first.axes[axis], second.axes[axis], size[axis]);
      if (!border.zeros_agree) return false;
      reads_padding |= border.reads_padding;
    }
    return !reads_padding ||
           std::none_of(links_.begin() + static_cast<int64_t>(i), links_.begin() + static_cast<int64_t>(k),
                        [](const Link& link) { return link.has_bias; });
  }

  double layer_cost(const Geometry& composed, ValueId from, ValueId to) const {
    const Geometry g = without_crops(composed);
    const auto &x = shape_of(from), &y = shape_of(to);
    if (!x || !y) return std::numeric_limits<double>::infinity();
    const auto closed = [](Shape shape) {
      for (int64_t& dim : shape) dim = dim < 0 ? 1 : dim;
      return shape;
    };
    Workload workload{Gemm{.trans_b = true}, {{closed(*x)}, {{g.out, g.in}, true}}, closed(*y)};
    if (x->size() == 4) {
      const Axis &rows = g.axes[0], &columns = g.axes[1];
      workload.op = Conv2d{.stride = {rows.stride, columns.stride},
                           .padding = {rows.begin, columns.begin, rows.end, columns.end},
                           .dilation = {rows.dilation, columns.dilation},
                           .groups = g.groups};
      workload.inputs[1].shape = {g.out, g.in / g.groups, rows.kernel, columns.kernel};
    }
    return cost_(workload);
  }

  /// One matrix for everything between, where all sizes are fixed.
  Option dense_option(size_t i, size_t j) const {
    const auto &x = graph_[chain_[i].from].shape, &y = graph_[chain_[j - 1].to].shape;
    const auto fixed = [](const std::optional<Shape>& shape) {
      return shape && shape->size() >= 2 &&
             std::all_of(shape->begin() + 1, shape->end(), [](int64_t dim) { return dim > 0; });
    };
    if (no_dense_ || !fixed(x) || !fixed(y) || !is_float(graph_[chain_[i].from].dtype)) return {};
    const int64_t inputs = element_count({x->begin() + 1, x->end()});
    const int64_t outputs = element_count({y->begin() + 1, y->end()});
    if (outputs > kMostDenseWeights / inputs) return {};
    double arithmetic = 0;
    for (size_t k = i; k < j; ++k) {
      for (const NodeId id : chain_[k].nodes) {
        if (!adjoint_obstacle(graph_, id).empty()) return {};
        arithmetic += static_cast<double>(outputs) * static_cast<double>(count_macs(graph_, graph_[id]));
      }
    }
    if (arithmetic > kMostDenseArithmetic) return {};
    const int64_t batch = std::max<int64_t>((*x)[0], 1);
    const Shape flat{batch, inputs}, made{batch, outputs};
    Option option{cost_({Gemm{.trans_b = true}, {{flat}, {{outputs, inputs}, true}}, made}), 1, Form::dense};
    if (counted_) option.cost *= kDenseWeight;
    if (x->size() != 2) {
      Shape whole = *x;
      whole[0] = batch;
      option.cost += cost_({Flatten{}, {{whole}}, flat});
      option.nodes += 1;
    }
    if (y->size() != 2) {
      Shape whole = *y;
      whole[0] = batch;
      option.cost += cost_({Reshape{}, {{made}, {{std::ssize(whole)}, true}}, whole});
      option.nodes += 1;
    }
    return option;
  }

  Option best_of(size_t i, size_t j) {
    Option best = j == i + 1 ? links_[i].alone : Option{};
    if (j > i + 1 && geometry_[i][j]) {
      best = std::min(best, {layer_cost(*geometry_[i][j], chain_[i].from, chain_[j - 1].to), 1, Form::layer});
    }
    if (j > i + 1 && !geometry_[i][j]) {
      if (const Graph* crossed = crossing(i, j)) best = std::min(best, sum_of(*crossed, Form::rewrite));
    }
    const bool is_matrix = geometry_[i][j] && rank_of(graph_, chain_[i].from) == 2;
    return is_matrix ? best : std::min(best, dense_option(i, j));
  }

  std::vector<Choice> choose() {
    const size_t n = chain_.size();
    std::vector<Option> best(n + 1);
    std::vector<Choice> last(n + 1);
    best[0] = {0, 0, Form::keep};
    for (size_t j = 1; j <= n; ++j) {
      for (size_t i = j; i-- > 0;) {  // what is kept comes first: it wins a tie
        const Option part = best_of(i, j);
        const Option whole{best[i].cost + part.cost, best[i].nodes + part.nodes, part.form};
        if (whole < best[j]) {
          best[j] = whole;
          last[j] = {i, j, part, std::nullopt};
        }
      }
    }
    std::vector<Choice> choices;
    for (size_t j = n; j > 0; j = last[j].first) choices.push_back(last[j]);
    std::reverse(choices.begin(), choices.end());
    return choices;
  }

  /// False when one is no map of each sample by itself after all; then no dense form is an option.
  bool compute_matrices(std::vector<Choice>& choices) {
    for (Choice& choice : choices) {
      if (choice.option.form != Form::dense) continue;
      const Graph part = cut_out(graph_, std::span(chain_).subspan(choice.first, choice.last - choice.first));
      try {
        choice.matrix = to_single(part, part);
      } catch (const Error&) {
        no_dense_ = true;
        return false;
      }
    }
    return true;
  }

  LinearMap numbers_of(size_t i) const {
    const Link& link = links_[i];
    return reducenet::numbers_of(link.rewritten ? *link.rewritten : graph_, *link.view);
  }

  Outcome propose(const Site& site, const Choice& choice) {
    const ValueId from = chain_[choice.first].from, to = chain_[choice.last - 1].to;
    Patch patch(site.graph);
    switch (choice.option.form) {
      case Form::keep:
        return NoMatch{};
      case Form::rewrite:
        patch.replace(to, graft(patch, rewritten(choice), from));
        return patch;
      case Form::layer: {
        LinearMap map = numbers_of(choice.first);
        for (size_t i = choice.first + 1; i < choice.last; ++i) map = compose(map, numbers_of(i));
        patch.replace(to, emit(patch, std::move(map), rank_of(graph_, to), from, name_after(choice)));
        return patch;
      }
      case Form::dense:
        patch.replace(to, graft(patch, *choice.matrix, from));
        return patch;
    }
    return NoMatch{};
  }

  const Graph& rewritten(const Choice& choice) const {
    if (choice.last == choice.first + 1) return *links_[choice.first].rewritten;
    return *crossings_.at({choice.first, choice.last});
  }

  /// The name that the merged node carries: of the last layer with weights, otherwise of the last node.
  std::string name_after(const Choice& choice) const {
    for (size_t i = choice.last; i > choice.first; --i) {
      const auto& nodes = chain_[i - 1].nodes;
      const auto map = nodes.size() == 1 ? links_[i - 1].view : std::nullopt;
      if (map && (map->is_conv() || map->is_gemm())) return graph_[nodes[0]].name;
    }
    return graph_[chain_[choice.last - 1].nodes.back()].name;
  }

  /// Adds the nodes of `part` to the patch, reading `from`; returns the output.
  ValueId graft(Patch& patch, const Graph& part, ValueId from) const {
    std::unordered_map<int32_t, ValueId> made{{part.inputs[0].index, from}};
    for (const Node& node : part.nodes) {
      const ValueId data = node.inputs.at(0);
      const auto known = made.find(data.index);
      if (std::holds_alternative<Flatten>(node.op) && known != made.end() && known->second == from &&
          rank_of(graph_, from) == 2) {
        made[node.outputs[0].index] = from;
        continue;
      }
      std::vector<ValueId> inputs;
      for (const ValueId id : node.inputs) {
        if (!id) {
          inputs.push_back(id);
          continue;
        }
        const auto [found, fresh] = made.try_emplace(id.index);
        if (fresh) found->second = patch.constant(part[id].name, part[id].constant.value());
        inputs.push_back(found->second);
      }
      made[node.outputs[0].index] = patch.node(node.name, node.op, std::move(inputs));
    }
    return made.at(part.outputs[0].index);
  }

  /// Why neighbours that could be one layer are not.
  void explain(const std::vector<Choice>& choices) {
    for (size_t k = 1; k < choices.size(); ++k) {
      const Choice &a = choices[k - 1], &b = choices[k];
      if (!geometry_[a.first][b.last]) continue;
      const double together = layer_cost(*geometry_[a.first][b.last], chain_[a.first].from, chain_[b.last - 1].to);
      const NodeId node = chain_[b.last - 1].nodes.back();
      driver_.refuse("plan", node,
                     "one layer with " + label(graph_, chain_[a.last - 1].nodes.back()) + " " +
                         std::string(reason::kCost) + " " + cost_text(together) + " instead of " +
                         cost_text(a.option.cost + b.option.cost));
    }
  }

  Driver& driver_;
  const Graph& graph_;
  const Cost& cost_;
  bool counted_;
  const NominalShapes& nominal_;
  const Chain& chain_;
  bool no_dense_ = false;
  std::vector<Link> links_;
  std::vector<std::vector<std::optional<Geometry>>> geometry_;
  std::map<std::pair<size_t, size_t>, std::optional<Graph>> crossings_;  // by first and last block
  mutable std::unordered_map<int32_t, std::optional<Shape>> shapes_;     // nominal, by value index
};

/// A chain that an earlier merge has not touched.
bool is_current(const Driver& driver, const Chain& chain) {
  const auto alive = [&](ValueId value) {
    const NodeId producer = driver.uses().producer_of(value);
    return !producer || driver.is_alive(producer);
  };
  return alive(chain.front().from) && std::all_of(chain.begin(), chain.end(), [&](const LinearBlock& block) {
           return alive(block.to) && std::all_of(block.nodes.begin(), block.nodes.end(),
                                                 [&](NodeId node) { return driver.is_alive(node); });
         });
}

bool plan_once(Driver& driver, const Cost& cost, bool counted, const NominalShapes& nominal) {
  bool merged = false;
  for (const Chain& chain : find_chains(driver)) {
    if (chain.size() == 1 && chain[0].nodes.size() == 1 &&
        !count_macs(driver.graph(), driver.graph()[chain[0].nodes[0]]))
      continue;
    if (is_current(driver, chain)) merged |= ChainPlanner(driver, cost, counted, nominal, chain).run();
  }
  return merged;
}

}  // namespace

void plan(Driver& driver, const Cost& cost, bool counted) {
  std::vector<Rule> folding;
  for (const Rule& rule : rules()) {
    if (std::find(std::begin(kPlanned), std::end(kPlanned), rule.name) == std::end(kPlanned)) folding.push_back(rule);
  }
  driver.use(folding);
  driver.run({});
  driver.use(rules());
  while (plan_once(driver, cost, counted, nominal_shapes(driver))) driver.run({});
}

double planned_cost(const Graph& graph, const Cost& cost) {
  try {
    return total_cost(with_fitting_sizes(graph, kNominal), cost);
  } catch (const Error&) {
    return total_cost(graph, cost);
  }
}

}  // namespace reducenet
