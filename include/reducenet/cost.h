#pragma once

#include <functional>
#include <string>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

/// One node as an engine sees it: the op and the shapes of what it reads and makes. Unknown dimensions count as 1.
struct Workload {
  struct Operand {
    Shape shape;
    bool constant = false;  ///< a weight, known when the network is loaded
    friend bool operator==(const Operand&, const Operand&) = default;
  };
  Op op;
  std::vector<Operand> inputs;  ///< in the op's order, absent ones left out
  Shape output;
};

/// Nothing when the value's shape is not known.
std::optional<Workload::Operand> operand_of(const Value& value);
/// The node's workload; nothing when the shape of its output is not known.
std::optional<Workload> workload_of(const Graph& graph, const Node& node);
/// The same with what `operand` knows of each value.
std::optional<Workload> workload_of(const Node& node,
                                    const std::function<std::optional<Workload::Operand>(ValueId)>& operand);
/// Text that is equal for equal workloads: "Conv s2 p1 | 1x64x56x56 | w128x64x3x3". A bias does not count: engines add
/// it on the way.
std::string key_of(const Workload& workload);
/// Multiply-accumulates of one run.
int64_t count_macs(const Workload& workload);
/// A graph of this one node with random weights, to be timed. Throws Error(unsupported) for an Opaque op.
Graph graph_of(const Workload& workload);

/// What running a workload once costs, in any unit: MACs, milliseconds on a named engine, a user's table.
using Cost = std::function<double(const Workload&)>;

/// Multiply-accumulates.
double macs_cost(const Workload& workload);
/// Σ over the nodes whose workload is known.
double total_cost(const Graph& graph, const Cost& cost);

}  // namespace reducenet
