#include "reducenet/collapse.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "certificate.h"
#include "classifier.h"
#include "cost.h"
#include "explain.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "table.h"
#include "verbs.h"
#include "verify_files.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model, out, data;
  CostOptions cost;
  std::optional<Target> target;
  int64_t stop_after = -1, samples = 0, images = 16;
  bool borders = false, reserve = false, explain = false, skip_corrupt = false;
};

Json size_json(const char* when, const Graph& graph) {
  return {{fmt::format("nodes_{}", when), graph.nodes.size()},
          {fmt::format("macs_{}", when), count_macs(graph)},
          {fmt::format("params_{}", when), count_parameters(graph)},
          {fmt::format("nonlinear_{}", when), count_nonlinear(graph)}};
}

Table size_table(const Graph& before, const Graph& after) {
  Table table({"", "nodes", "MACs", "parameters", "non-linear"});
  for (const auto& [name, graph] : {std::pair{"before", &before}, {"after", &after}}) {
    table.add({name, std::to_string(graph->nodes.size()), human(static_cast<double>(count_macs(*graph))),
               human(static_cast<double>(count_parameters(*graph))), std::to_string(count_nonlinear(*graph))});
  }
  return table;
}

/// Random inputs for the whole-network check: 8, or as many as about four billion multiplications allow.
int64_t affordable_samples(const Graph& graph) {
  return std::clamp<int64_t>(4'000'000'000 / std::max<int64_t>(count_macs(graph), 1), 1, 8);
}

/// A file, if there is one, that goes when its scope ends, by an error too.
struct RemovedAtEnd {
  std::filesystem::path path;
  ~RemovedAtEnd() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

/// The certificate; where the oracle lacks an op, another reading of the files, or ONNX Runtime if it is there.
Certificate certify(const Options& options, const Graph& before, const Collapsed& collapsed) {
  VerifyOptions verify_options{
      .samples = options.samples > 0 ? options.samples : affordable_samples(before), .seed = 0, .real_inputs = {}};
  if (!options.data.empty()) {
    verify_options.real_inputs = real_inputs(
        before, load_for(preprocessing_of(before), options.data, Split::test, options.skip_corrupt), options.images);
  }
  Certificate certificate = verify(before, collapsed, verify_options);
  const std::filesystem::path model = options.model, out = options.out;
  if (certificate.not_run.empty() || model.extension() != ".onnx" || out.extension() != ".onnx") return certificate;
  const std::filesystem::path candidate = out.string() + ".candidate.onnx";
  const RemovedAtEnd model_file{candidate}, weights_file{candidate.string() + ".data"};
  try {
    save(collapsed.graph, candidate);
    Certificate whole = verify_files(model, candidate, "auto", verify_options);
    whole.regions = std::move(certificate.regions);
    whole.region_seconds = certificate.region_seconds;
    whole.judge_regions();
    certificate = std::move(whole);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    certificate.not_run = error.what();  // names what the oracle lacks, too
  }
  return certificate;
}

class Clock {
 public:
  /// Seconds since the last call.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// The steps in a few lines.
std::string summary(const Collapsed& collapsed) {
  std::map<std::string, int64_t> applied;
  for (const Step& step : collapsed.steps) ++applied[step.rule];
  std::string text;
  for (const auto& [rule, count] : applied) text += fmt::format("{} × {}\n", count, rule);
  if (!collapsed.refused.empty()) {
    text += fmt::format("{} merges refused (--explain says why)\n", collapsed.refused.size());
  }
  return text;
}

Result collapse_model(const Options& options) {
  const bool priced = !options.cost.cost.empty() || options.cost.engine_named;
  const Target target = options.target.value_or(priced ? Target::plan : Target::module);
  if (priced && target != Target::plan) throw Error(ErrorKind::usage, "--cost and --engine belong to --to plan");
  if ((options.borders || options.reserve) && target != Target::plan && target != Target::module) {
    throw Error(ErrorKind::usage, "--borders and --reserve belong to --to module and --to plan");
  }
  Clock clock;
  ChosenCost cost(options.cost);
  Graph before = load(options.model);
  require_inference(before);
  Json seconds{{"load", clock.lap()}};
  const Collapsed collapsed = collapse(before, {.target = target,
                                                .stop_after = options.stop_after,
                                                .borders = options.borders,
                                                .reserve = options.reserve,
                                                .cost = cost.cost()});
  seconds["collapse"] = clock.lap();
  const Certificate certificate = certify(options, before, collapsed);
  seconds["regions"] = certificate.region_seconds;
  seconds["samples"] = certificate.sample_seconds;
  clock.lap();

  Result result;
  result.json = size_json("before", before);
  result.json.update(size_json("after", collapsed.graph));
  result.json.update(certificate_json(certificate));
  result.json["steps"] = collapsed.steps.size();
  if (options.stop_after > 0 && !collapsed.steps.empty()) {
    const Step& last = collapsed.steps.back();
    result.json["last_step"] = {{"rule", last.rule}, {"node", last.node}, {"result", last.result}};
    result.text += fmt::format("last step: {} at '{}': {}\n", last.rule, last.node, last.result);
  }
  result.json["refused"] = Json::array();
  for (const Refusal& refusal : collapsed.refused) {
    result.json["refused"].push_back({{"node", refusal.node}, {"rule", refusal.rule}, {"why", refusal.why}});
  }
  if (options.explain) {
    Table table({"node", "op", "what became of it"});
    for (const Explanation& line : explain(before, collapsed, certificate)) {
      table.add({line.node, line.op, line.fate});
      result.json["explain"].push_back({{"node", line.node}, {"op", line.op}, {"fate", line.fate}});
    }
    result.text += table.str() + "\n";
  } else {
    result.text += summary(collapsed);
  }
  result.text += size_table(before, collapsed.graph).str();
  if (target == Target::plan) {
    const Json& price = result.json["cost"] = cost.finish(before, collapsed.graph);
    if (price["before"].is_number()) {
      result.text +=
          fmt::format("cost {:.4g} -> {:.4g} {} ({})\n", price["before"].get<double>(), price["after"].get<double>(),
                      price["unit"].get<std::string>(), price["measure"].get<std::string>());
    }
  }
  before = {};  // its weights are not needed any more
  clock.lap();
  if (certificate.verified) save(collapsed.graph, options.out);
  seconds["save"] = clock.lap();
  result.text += certificate_text(certificate);
  result.text +=
      fmt::format("load {:.2f} s, collapse {:.2f} s, regions {:.2f} s, whole network {:.2f} s, save {:.2f} s\n",
                  seconds["load"].get<double>(), seconds["collapse"].get<double>(), seconds["regions"].get<double>(),
                  seconds["samples"].get<double>(), seconds["save"].get<double>());
  result.text += certificate.verified ? fmt::format("wrote {}\n", options.out) : std::string("nothing written\n");
  result.json["out"] = certificate.verified ? Json(options.out) : Json();
  result.json["seconds"] = std::move(seconds);
  result.exit_code = certificate.verified ? 0 : static_cast<int>(ErrorKind::check_failed);
  return result;
}

}  // namespace

Action declare_collapse(CLI::App& app) {
  auto options = std::make_shared<Options>();
  const std::map<std::string, Target> targets{
      {"plan", Target::plan}, {"module", Target::module}, {"conv", Target::conv}, {"single", Target::single}};
  app.add_option("model", options->model, "Model file (.onnx, .safetensors)")->required();
  app.add_option("-o,--out", options->out, "Where to write the collapsed model; the extension is the format")
      ->required();
  app.add_option(
         "--to", options->target,
         "How far: plan (what pays by cost), module (one conv a module; the default), conv (the backbone as one "
         "conv), single (one affine map)")
      ->transform(CLI::CheckedTransformer(targets))
      ->option_text("plan|module|conv|single");
  app.add_option("--cost", options->cost.cost,
                 "What a plan lowers: macs (the default), measured (milliseconds on this machine, remembered), or a "
                 "table that bench --emit-cost wrote, anywhere. Implies --to plan")
      ->option_text("macs|measured|FILE");
  add_engine(app, options->cost, "Whose milliseconds count: reducenet (the default) or onnxruntime (through python3)");
  app.add_option("--cost-threads", options->cost.threads, "Threads of the engine while it is measured (1)")
      ->check(CLI::PositiveNumber);
  app.add_flag(
      "--borders", options->borders,
      "Also merge two layers between which zero padding lies: a bias before the padding becomes a constant for "
      "each place, and other borders are computed apart, in strips, where that saves a fifth of the MACs. More "
      "nodes; sizes must be fixed. A plan weighs this anyway");
  app.add_flag("--reserve", options->reserve,
               "Also remove residuals over activations: channels of the block's layers are reserved for its input "
               "(RMNet). Fewer nodes, more MACs; within a plan, only where its cost does not rise");
  app.add_option("--data", options->data, "Labelled images: the certificate covers real inputs as well");
  add_skip_corrupt(app, options->skip_corrupt);
  app.add_option("--images", options->images, "How many of them (16)")->check(CLI::PositiveNumber);
  app.add_option("--samples", options->samples,
                 "Random inputs of the certificate (8; fewer for networks of over 500 million MACs)")
      ->check(CLI::PositiveNumber);
  app.add_option("--stop-after", options->stop_after, "Apply so many patches at most (for bisecting)")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--explain", options->explain, "One line per node: merged by which rule into what, or why not");
  return [options] { return collapse_model(*options); };
}

}  // namespace reducenet::cli
