#include "prune.h"

#include <fmt/format.h>

#include <filesystem>

#include "certificate.h"
#include "classifier.h"
#include "progress.h"
#include "records.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "signals.h"
#include "table.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

Json sizes(const char* when, const Graph& graph) {
  return {{fmt::format("nodes_{}", when), graph.nodes.size()},
          {fmt::format("macs_{}", when), count_macs(graph)},
          {fmt::format("params_{}", when), count_parameters(graph)}};
}

/// What was cut, layer by layer: units of a family before and after, and the nodes that make them.
Json families_json(const PruneSubject& subject, const Cut& cut) {
  const Channels& channels = subject.channels();
  const auto count = static_cast<size_t>(channels.family_count());
  std::vector<std::vector<std::string>> makers(count);
  std::vector<int64_t> before(count), after(count);
  for (const ChannelUse& use : channels.uses) {
    if (use.role != ChannelUse::Role::makes || use.constant != subject.graph()[use.node].inputs[1]) continue;
    std::vector<int32_t> met;
    for (const Unit unit : use.units) {
      const int32_t family = channels.family[static_cast<size_t>(unit)];
      if (family < 0 || std::ranges::find(met, family) != met.end()) continue;
      met.push_back(family);
      makers[static_cast<size_t>(family)].push_back(subject.graph()[use.node].name);
    }
  }
  for (size_t unit = 1; unit < channels.family.size(); ++unit) {
    if (channels.family[unit] < 0) continue;
    ++before[static_cast<size_t>(channels.family[unit])];
    after[static_cast<size_t>(channels.family[unit])] += !cut[unit];
  }
  Json list = Json::array();
  for (size_t i = 0; i < count; ++i) {
    list.push_back({{"layers", makers[i]}, {"units_before", before[i]}, {"units_after", after[i]}});
  }
  return list;
}

std::string families_text(const Json& families) {
  Table table({"units", "left", "made by"});
  for (const Json& family : families) {
    std::string layers;
    for (const Json& layer : family.at("layers")) layers += (layers.empty() ? "" : ", ") + layer.get<std::string>();
    table.add({family.at("units_before").dump(), family.at("units_after").dump(), layers});
  }
  return table.str();
}

void refuse(const Certificate& certificate, const std::string& what) {
  if (certificate.verified) return;
  throw Error(ErrorKind::check_failed, what + ": " + certificate.why + "; nothing written");
}

/// Fine-tuned in the folder beside the result, where an interrupted run goes on.
std::optional<Graph> finetuned(const PruneOptions& options, const PruneTraining& training, const Graph& graph,
                               const StopOnSignal& guard) {
  Progress bar("fine-tuning");
  return training.finetune(
      graph, options, options.out + ".finetune",
      [&bar](double done, double total) { bar.update(static_cast<int64_t>(done), static_cast<int64_t>(total)); },
      &guard.requested());
}

}  // namespace

Result prune_once(const PruneOptions& options, const PruneTraining* training) {
  PruneSubject subject(options, training);
  const Criterion& criterion = find_criterion(options.criteria.at(0));
  std::optional<uint64_t> draw;
  if (options.draw) draw = static_cast<uint64_t>(*options.draw);
  const Subnetwork sub = subject.subnetwork(criterion, draw, std::string(criterion.name));

  Result result;
  result.json = {{"criterion", criterion.name}, {"ratio", options.ratio}};
  result.json.update(sizes("before", subject.graph()));
  result.json.update(sizes("after", sub.graph));
  result.json[options.blocks ? "blocks_before" : "units_before"] = subject.parts();
  result.json[options.blocks ? "blocks_after" : "units_after"] = sub.parts;
  result.json["search_seconds"] = sub.seconds;
  if (options.blocks) {
    for (size_t i = 0; i < sub.drops.size(); ++i) {
      if (sub.drops[i]) result.json["dropped"].push_back(subject.blocks()[i].name);
    }
    result.text = fmt::format("{} of {} blocks left\n", sub.parts, subject.parts());
  } else {
    const Certificate exact = verify(mask(subject.graph(), subject.channels(), sub.cut), sub.graph, {.samples = 4});
    refuse(exact, options.model + ": the cut network is not the one with those weights at zero");
    result.json.update(certificate_json(exact));
    result.json["families"] = families_json(subject, sub.cut);
    result.json["kept"] = Json::array();
    for (const KeptChannels& kept : subject.channels().kept) {
      result.json["kept"].push_back({{"node", kept.node}, {"op", kept.op}, {"why", kept.why}});
    }
    result.text = families_text(result.json["families"]) + certificate_text(exact);
  }

  Graph graph = sub.graph;
  const auto judge = [&](const char* key, const char* what, const Graph& judged) {
    if (options.data.empty()) return;
    result.json[key] = subject.top1(judged);
    result.text += fmt::format("top-1 {:.2f} % on {} held-out images, {}\n", 100 * result.json[key].get<double>(),
                               subject.held_out().count(), what);
  };
  judge("top1_before", "uncut", subject.graph());
  judge("top1", "cut", graph);
  if (options.bn_batches > 0) judge("top1_bn", "statistics estimated again", graph = subject.estimated(graph));
  if (options.finetune > 0) {
    const StopOnSignal guard;
    auto trained = finetuned(options, *training, graph, guard);
    result.json["interrupted"] = !trained;
    if (!trained) {
      warn("interrupted; the same command goes on");
      result.exit_code = 128 + guard.signal();
      return result;
    }
    judge("top1_finetuned", "fine-tuned", graph = std::move(*trained));
  }

  const Collapsed collapsed = collapse(graph, {.target = Target::plan});
  const Certificate merged = verify(graph, collapsed, {.samples = 2});
  refuse(merged, options.model + ": the collapse of the cut network does not hold");
  result.json["collapsed"] = {{"nodes", collapsed.graph.nodes.size()},
                              {"macs", count_macs(collapsed.graph)},
                              {"max_rel_error", merged.max_rel_error},
                              {"verified", merged.verified}};
  save(graph, options.out);
  result.json["out"] = options.out;
  result.text += fmt::format(
      "multiply-accumulates {} -> {}, parameters {} -> {}\ncollapses to {} nodes, verified\nwrote {}\n",
      human(static_cast<double>(count_macs(subject.graph()))), human(static_cast<double>(count_macs(graph))),
      human(static_cast<double>(count_parameters(subject.graph()))),
      human(static_cast<double>(count_parameters(graph))), collapsed.graph.nodes.size(), options.out);
  return result;
}

namespace {

void check(PruneOptions& options) {
  const auto require = [](bool holds, const std::string& why) {
    if (!holds) throw Error(ErrorKind::usage, "prune: " + why);
  };
  for (const std::string& name : options.criteria) find_criterion(name);
  if (options.criteria.empty()) options.criteria = {options.sample || options.blocks ? "random" : "l1"};
  if (!options.sample && options.out.empty()) options.sample = 20;
  if (options.out.empty()) options.out = "prune";
  require(options.sample || options.criteria.size() == 1, "several criteria belong to --sample");
  require(!options.blocks || options.criteria == std::vector<std::string>{"random"}, "blocks are only drawn at random");
  require(!options.data.empty() || (!options.sample && !needs_training(options)),
          "--sample, --bn-batches, --finetune and gradients need images: --data");
  require(!options.measure || options.sample, "--measure belongs to --sample");
  require(options.settings.empty() || options.finetune > 0, "--set belongs to --finetune");
}

}  // namespace

Action declare_prune_with(CLI::App& app, const PruneTraining* training) {
  auto o = std::make_shared<PruneOptions>();
  app.add_option("model", o->model, "Model file (.onnx, .safetensors), in its training form where it has one")
      ->required();
  app.add_option("-o,--out", o->out, "The cut model; with --sample, a folder for all results (prune)");
  app.add_option("--data", o->data,
                 "Labelled images. Sub-networks are judged on training images that are held out; the test images are "
                 "read once, for the best");
  add_skip_corrupt(app, o->skip_corrupt);
  app.add_option("--ratio", o->ratio, "Share of the multiply-accumulates that goes, at least (0.5)")
      ->check(CLI::Range(0.0, 0.99));
  std::string names;
  for (const Criterion& criterion : criteria()) names += (names.empty() ? "" : "|") + std::string(criterion.name);
  app.add_option("--criterion", o->criteria, "What goes first (l1; with --sample random); several for --sample")
      ->delimiter(',')
      ->option_text(names);
  app.add_flag("--per-layer", o->per_layer, "The same share of every layer, not one ranking over all");
  app.add_flag("--blocks", o->blocks, "Cut whole residual blocks, which the identity replaces, not channels");
  app.add_flag("--cut-reserved", o->reserved,
               "Channels that are reserved for a residual may go by themselves, not only with what they carry");
  app.add_option("--sample", o->sample, "Draw so many sub-networks by each criterion and measure them all")
      ->check(CLI::PositiveNumber);
  app.add_flag("--measure", o->measure, "Time sub-networks that are there already once more");
  app.add_option("--draw", o->draw, "Draw the sub-network of this number instead of cutting the lowest scores");
  app.add_option("--within", o->within, "Good is what is so near the best sub-network's accuracy (0.01)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--validation", o->validation, "Training images held out to judge by (a tenth, at most 5000)")
      ->check(CLI::PositiveNumber);
  app.add_option("--images", o->images, "So many of them (all)")->check(CLI::PositiveNumber);
  app.add_option("--bn-batches", o->bn_batches, "Estimate batch norm statistics again on so many batches (0)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--gradient-batches", o->batches, "Batches that taylor looks at (10)")->check(CLI::PositiveNumber);
  app.add_option("--finetune", o->finetune, "Train each sub-network for so many epochs (0)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--finetune-samples", o->finetune_samples, "Only the first so many of each criterion (all)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--lr", o->lr, "Learning rate of the fine-tuning, its peak (0.01)")->check(CLI::PositiveNumber);
  app.add_option("--set", o->settings, "section.key=value of the fine-tuning's recipe; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--seed", o->seed, "Of draws, of the order of images (0)")->check(CLI::NonNegativeNumber);
  app.add_option("--threads", o->threads, "Threads for judging and training (1); latency is of one")
      ->check(CLI::PositiveNumber);
  return [o, training] {
    PruneOptions options = *o;
    check(options);
    if (needs_training(options) && training == nullptr) become_trainer();
    return options.sample ? prune_samples(options, training) : prune_once(options, training);
  };
}

}  // namespace reducenet::cli
