#pragma once

#include <compare>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "reducenet/cost.h"
#include "reducenet/graph.h"

namespace reducenet {

struct NoMatch {};
/// The pattern is there, and merging it would not be exact (or not allowed); `why` says so to a person.
struct Refused {
  std::string why;
};

/// What a rule proposes: constants and nodes to add, and which existing values they stand for. The driver alone applies
/// it.
class Patch {
 public:
  explicit Patch(const Graph& graph) : graph_(&graph) {}

  /// A new constant; its id can be used as an input of nodes added to this patch.
  /// float64 constants are rounded to the dtype of the replaced value, once, when the collapse ends.
  ValueId constant(std::string_view stem, Tensor value);
  /// A new node; returns its only output.
  ValueId node(std::string_view stem, Op op, std::vector<ValueId> inputs);
  /// Every use of `before` becomes a use of `after` (an existing or a new value).
  void replace(ValueId before, ValueId after);

 private:
  friend class Driver;
  const Graph* graph_;
  std::vector<Value> values_;  // ids continue after the graph's own
  std::vector<Node> nodes_;
  std::vector<std::pair<ValueId, ValueId>> replacements_;
};

using Outcome = std::variant<NoMatch, Refused, Patch>;

/// What rules may do beyond making a network smaller.
struct Freedom {
  bool enlarge = false;  ///< merge convolutions even where multiply-accumulates rise
  bool dense = false;    ///< turn convolutions before a matrix into a part of that matrix
  bool borders =
      false;  ///< merge across zero padding and put the border right, at the price of nodes; not with enlarge
  bool reserve = false;  ///< pass residuals through activations in channels of their own; multiply-accumulates rise
};

/// What a rule sees. It cannot mutate anything.
struct Site {
  const Graph& graph;
  const Uses& uses;
  NodeId node;
  Freedom may;
};

/// A rewrite rule. `formula` is its algebra in one line; `example` builds the i-th random instance in which it must
/// fire (must_fire) or must refuse or not match (otherwise).
struct Rule {
  std::string_view name, formula;
  Outcome (*apply)(const Site&);
  Graph (*example)(uint64_t seed, bool must_fire);
  bool at_borders = false;  ///< fires only where borders may change; lowers multiplications, if need be for more nodes
};

/// The one table, in the order in which the driver tries them.
std::span<const Rule> rules();

/// How far to go: `plan` what pays by cost; `module` one conv a module; `conv` the backbone as one conv; `single` one
/// affine map.
enum class Target { plan, module, conv, single };

struct CollapseOptions {
  Target target = Target::module;
  int64_t stop_after = -1;  ///< apply at most so many patches (for bisecting); −1: all
  bool borders = false;     ///< also Freedom::borders, where multiply-accumulates fall; a plan weighs that anyway
  bool reserve = false;     ///< also Freedom::reserve; within a plan, where its cost does not rise
  Cost cost;                ///< what Target::plan lowers; none: multiply-accumulates
};

/// What every patch lowers, compared in this order: nodes (a sum of k terms counts as k − 1), then multiplications for
/// one sample (unknown dimensions count as 1). The number of nodes bounds every sequence of patches. Where borders may
/// change, multiplications come first, and no patch raises them.
struct Measure {
  int64_t nodes = 0, work = 0;
  auto operator<=>(const Measure&) const = default;
};
Measure measure(const Graph& graph);

/// One line of the log: `rule @ node`, and what it made.
struct Step {
  std::string rule, node, result;
};
struct Refusal {
  std::string node, rule, why;
};

/// Nodes of the original network that other nodes of the collapsed one replace. Values keep their names: `inputs` name
/// the same tensors in both, and so does `output`, unless `made`, a constant or a value that had this name before,
/// takes its place. What is not executed (Opaque) is in no region: those make its inputs.
struct Region {
  std::vector<std::string> before, after;  ///< names of nodes
  std::vector<std::string> inputs;
  std::string output, made;
};

struct Collapsed {
  Graph graph;
  std::vector<Step> steps;
  std::vector<Refusal> refused;
  std::vector<Region> regions;
};

/// Throws Error(unsupported), with the remedy, naming a node that means something else while training: batch
/// normalisation by the batch's own statistics, dropping at random.
void require_inference(const Graph& graph);

/// Settles finished fades, then applies rules until none fires. The result is the same function (see verify.h for the
/// proof on the spot). Constants come back in the dtype the model had. Throws Error(unsupported), naming the nodes that
/// stand in the way, when `target` is conv or single and cannot be exact.
Collapsed collapse(const Graph& graph, const CollapseOptions& options = {});

/// The graph with every λ that a schedule moves at 0.
Graph faded(Graph graph);
/// Fades as ordinary ops: at λ = 0 the input that takes the fade's place, and nothing is left of what only the other
/// one needs; a fade of two inputs at any other λ is a weighted sum. An activation's halfway through its fade stays.
/// Convolutions whose weights are computed from constants alone get them as constants.
Graph settle(const Graph& graph);

}  // namespace reducenet
