#pragma once

#include <memory>
#include <string>

#include "cli.h"
#include "reducenet/engines.h"

namespace reducenet::cli {

/// --cost macs|measured|FILE, --engine, --cost-threads.
struct CostOptions {
  std::string cost;  ///< empty: not asked for
  Engine engine = Engine::reducenet;
  int threads = 1;
  bool engine_named = false;
};
void add_engine(CLI::App& app, CostOptions& options, const std::string& what);

/// A cost as the command line asks for it.
class ChosenCost {
 public:
  /// Error(unsupported) says what an engine needs, Error(usage) what does not fit together.
  explicit ChosenCost(const CostOptions& options);
  /// None: multiply-accumulates.
  const Cost& cost() const { return cost_; }
  /// Remembers what was measured, and tells what a table lacked. `before` and `after` are totals by this measure, where
  /// the sizes of the network are fixed.
  Json finish(const Graph& before, const Graph& after);

 private:
  std::string measure_;
  Cost cost_;
  std::unique_ptr<Stopwatch> watch_;
  CostOptions options_;
  std::shared_ptr<int64_t> interpolated_ = std::make_shared<int64_t>(0);
};

/// Milliseconds of every node of the network, and of every layer that a plan would weigh for it.
CostTable measure_costs(const Graph& graph, Engine engine, int threads);

}  // namespace reducenet::cli
