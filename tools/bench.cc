#include <fmt/format.h>

#include "dtype.h"
#include "reducenet/collapse.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"
#include "table.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model, dtype = "f32";
  PlanOptions plan;
  double seconds = 1;
  bool steps = false;
};

Result bench_model(const Options& options) {
  require_f32("bench", options.dtype);
  const Plan plan(settle(load(options.model)), options.plan);
  const BenchResult timing = bench(plan, options.seconds);
  Result result;
  result.json = {{"median_ms", timing.median_ms},       {"p90_ms", timing.p90_ms},
                 {"images_per_s", timing.images_per_s}, {"runs", timing.runs},
                 {"batch", options.plan.batch},         {"threads", options.plan.threads},
                 {"arena_bytes", plan.arena_bytes()}};
  result.text = fmt::format(
      "median {:.4g} ms  90 % {:.4g} ms  {:.4g} images/s  ({} runs, batch {}, {} threads, {:.2f} MiB of arena)\n",
      timing.median_ms, timing.p90_ms, timing.images_per_s, timing.runs, options.plan.batch, options.plan.threads,
      static_cast<double>(plan.arena_bytes()) / (1 << 20));
  if (options.steps) {
    Table table({"node", "kernel", "shape", "MACs"});
    for (const Plan::Step& step : plan.steps()) {
      table.add({step.node, step.kernel, step.shape, human(static_cast<double>(step.macs))});
      result.json["steps"].push_back(
          {{"node", step.node}, {"kernel", step.kernel}, {"shape", step.shape}, {"macs", step.macs}});
    }
    result.text += table.str();
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
  add_dtype(app, options->dtype);
  app.add_option("--tune", options->plan.tune,
                 "Choose kernels by timing them: none (by rule, deterministic; the default)")
      ->transform(CLI::CheckedTransformer(tunes))
      ->option_text("none|fast|full");
  app.add_option("--seconds", options->seconds, "How long to measure (1)")->check(CLI::PositiveNumber);
  app.add_flag("--steps", options->steps, "List the plan: node, kernel, shape, MACs");
  return [options] { return bench_model(*options); };
}

}  // namespace reducenet::cli
