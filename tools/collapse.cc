#include "reducenet/collapse.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "certificate.h"
#include "classifier.h"
#include "explain.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "table.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model, out, data, cost = "macs", engine = "reducenet";
  Target target = Target::module;
  int64_t stop_after = -1, samples = 0, images = 16;
  bool explain = false;
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

Result collapse_model(const Options& options) {
  if (options.cost != "macs" || options.engine != "reducenet") {
    throw Error(ErrorKind::unsupported, "collapse: costs are counted in MACs only: --cost macs --engine reducenet");
  }
  const Graph before = load(options.model);
  require_inference(before);
  const Collapsed collapsed =
      collapse(before, {.target = options.target, .stop_after = options.stop_after, .cost = {}});
  VerifyOptions verify_options{
      .samples = options.samples > 0 ? options.samples : affordable_samples(before), .seed = 0, .real_inputs = {}};
  if (!options.data.empty()) {
    const Preprocessing preprocessing = preprocessing_of(before);
    const ImageSet images = load_for(preprocessing, options.data, Split::test);
    verify_options.real_inputs.push_back(real_input(preprocessing, images, options.images));
  }
  const Certificate certificate = verify(before, collapsed, verify_options);
  if (certificate.verified) save(collapsed.graph, options.out);

  Result result;
  result.json = size_json("before", before);
  result.json.update(size_json("after", collapsed.graph));
  result.json.update(certificate_json(certificate));
  result.json["refused"] = Json::array();
  for (const Refusal& refusal : collapsed.refused) {
    result.json["refused"].push_back({{"node", refusal.node}, {"rule", refusal.rule}, {"why", refusal.why}});
  }
  result.json["out"] = certificate.verified ? Json(options.out) : Json();
  if (options.explain) {
    const std::vector<Explanation> lines = explain(before, collapsed);
    Table table({"node", "op", "what became of it"});
    for (const Explanation& line : lines) {
      table.add({line.node, line.op, line.fate});
      result.json["explain"].push_back({{"node", line.node}, {"op", line.op}, {"fate", line.fate}});
    }
    result.text += table.str() + "\n";
  } else {
    std::map<std::string, int64_t> applied;
    for (const Step& step : collapsed.steps) ++applied[step.rule];
    for (const auto& [rule, count] : applied) result.text += fmt::format("{} × {}\n", count, rule);
    if (!collapsed.refused.empty()) {
      result.text += fmt::format("{} merges refused (--explain says why)\n", collapsed.refused.size());
    }
  }
  result.text += size_table(before, collapsed.graph).str() + certificate_text(certificate);
  result.text += certificate.verified ? fmt::format("wrote {}\n", options.out) : std::string("nothing written\n");
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
  app.add_option("--cost", options->cost, "What a plan minimises: macs")->option_text("macs");
  app.add_option("--engine", options->engine, "Whose latency counts: reducenet")->option_text("reducenet");
  app.add_option("--data", options->data, "Labelled images: the certificate covers real inputs as well");
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
