#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "cost.h"
#include "dtype.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"
#include "table.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model;
  PlanOptions plan;
  double seconds = 1;
  bool steps = false;
  CostOptions cost;
  std::string emit_cost;
};

/// $XDG_CACHE_HOME/reducenet/kernels.tsv, or under ~/.cache; empty where neither is known.
std::filesystem::path tuning_cache() {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  if (cache && *cache) return std::filesystem::path(cache) / "reducenet/kernels.tsv";
  return home && *home ? std::filesystem::path(home) / ".cache/reducenet/kernels.tsv" : std::filesystem::path();
}

Result bench_model(const Options& options) {
  if (options.cost.engine_named && options.emit_cost.empty()) {
    throw Error(ErrorKind::usage, "--engine is for --emit-cost");
  }
  const Graph graph = settle(load_to_run(options.model));
  const Plan plan(options.plan.dtype == DType::i8 ? calibrated_for_timing(graph) : graph, options.plan);
  double error = 0;
  for (const Plan::Step& step : plan.steps()) error += step.error * step.error;
  const BenchResult timing = bench(plan, options.seconds);
  Result result;
  result.json = {{"median_ms", timing.median_ms},       {"p90_ms", timing.p90_ms},
                 {"images_per_s", timing.images_per_s}, {"runs", timing.runs},
                 {"batch", options.plan.batch},         {"threads", options.plan.threads},
                 {"arena_bytes", plan.arena_bytes()},   {"added_error", std::sqrt(error)}};
  result.text = fmt::format(
      "median {:.4g} ms  90 % {:.4g} ms  {:.4g} images/s  ({} runs, batch {}, {} threads, {:.2f} MiB of arena, "
      "added error about {:.1e})\n",
      timing.median_ms, timing.p90_ms, timing.images_per_s, timing.runs, options.plan.batch, options.plan.threads,
      static_cast<double>(plan.arena_bytes()) / (1 << 20), std::sqrt(error));
  if (options.steps) {
    Table table({"node", "kernel", "shape", "MACs", "added error"});
    for (const Plan::Step& step : plan.steps()) {
      table.add({step.node, step.kernel, step.shape, human(static_cast<double>(step.macs)),
                 step.error > 0 ? fmt::format("{:.1e}", step.error) : ""});
      result.json["steps"].push_back({{"node", step.node},
                                      {"kernel", step.kernel},
                                      {"shape", step.shape},
                                      {"macs", step.macs},
                                      {"added_error", step.error}});
    }
    result.text += table.str();
  }
  if (!options.emit_cost.empty()) {
    const CostTable table = measure_costs(graph, options.cost.engine, options.plan.threads);
    save_costs(table, options.emit_cost);
    result.json["costs"] = table.entries.size();
    result.text += fmt::format("{} costs of {} on {}, {} threads: wrote {}\n", table.entries.size(), table.engine,
                               table.device, table.threads, options.emit_cost);
  }
  return result;
}

}  // namespace

Action declare_bench(CLI::App& app) {
  auto options = std::make_shared<Options>();
  const std::map<std::string, Tune> tunes{{"none", Tune::none}, {"fast", Tune::fast}, {"full", Tune::full}};
  app.add_option("model", options->model, "Model file (.onnx, .safetensors)")->required();
  app.add_option("--threads", options->plan.threads, "Threads (1)")->check(CLI::PositiveNumber);
  app.add_option("--batch", options->plan.batch, "Images at once (1)")->check(CLI::PositiveNumber);
  add_dtype(app, options->plan.dtype);
  app.add_option("--tune", options->plan.tune,
                 "Choose kernels by timing them: none (by rule, deterministic; the default)")
      ->transform(CLI::CheckedTransformer(tunes))
      ->option_text("none|fast|full");
  options->plan.tuning_cache = tuning_cache();
  app.add_option("--tolerance", options->plan.tolerance,
                 "What fast kernels may add to the rounding of the result, over its largest value (1e-5)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--seconds", options->seconds, "How long to measure (1)")->check(CLI::PositiveNumber);
  app.add_option("--emit-cost", options->emit_cost,
                 "Write what every layer costs on this machine, and every layer that a plan would weigh: for collapse "
                 "--cost FILE");
  add_engine(app, options->cost, "Whose costs --emit-cost takes: reducenet (the default) or onnxruntime");
  app.add_flag("--steps", options->steps, "List the plan: node, kernel, shape, MACs");
  return [options] { return bench_model(*options); };
}

}  // namespace reducenet::cli
