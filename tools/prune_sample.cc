#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "classifier.h"
#include "progress.h"
#include "prune.h"
#include "prune_results.h"
#include "records.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/verify.h"
#include "signals.h"

namespace reducenet::cli {
namespace {

namespace fs = std::filesystem;

struct Interrupted {};

/// What a folder's results depend on; another command may not go on in it.
Json settings_of(const PruneOptions& o) {
  return {{"model", fs::path(o.model).filename().string()},
          {"data", fs::path(o.data).filename().string()},
          {"ratio", o.ratio},
          {"cut", o.blocks ? "blocks" : "channels"},
          {"per_layer", o.per_layer},
          {"cut_reserved", o.reserved},
          {"validation", o.validation},
          {"images", o.images},
          {"bn_batches", o.bn_batches},
          {"gradient_batches", o.batches},
          {"finetune", o.finetune},
          {"finetune_samples", o.finetune_samples},
          {"lr", o.lr},
          {"settings", o.settings},
          {"seed", o.seed}};
}

/// Of the collapsed network, batch 1, one thread.
double milliseconds(const Graph& graph, double seconds) {
  return measure_latency(collapse(graph, {.target = Target::plan}).graph, seconds).at("ms");
}

class Sampling {
 public:
  Sampling(const PruneOptions& options, const PruneTraining* training)
      : options_(options), training_(training), subject_(options, training), bar_("sub-networks") {}

  /// Throws Interrupted.
  void go(const std::atomic<bool>& stop);
  Json json();

 private:
  fs::path folder() const { return options_.out; }
  Json measure(const Criterion& criterion, int64_t index);
  void finish_best();

  const PruneOptions& options_;
  const PruneTraining* training_;
  PruneSubject subject_;
  Progress bar_;
  std::vector<Json> points_;
  const std::atomic<bool>* stop_ = nullptr;
  Json best_, whole_;
};

std::string command_of(const PruneOptions& o, std::string_view criterion, const Json& draw) {
  std::string text =
      fmt::format("./reducenet prune {} -o sub.safetensors --ratio {} --criterion {}", o.model, o.ratio, criterion);
  if (draw.is_number()) text += fmt::format(" --draw {}", draw.get<int64_t>());
  if (o.per_layer) text += " --per-layer";
  if (o.blocks) text += " --blocks";
  if (o.reserved) text += " --cut-reserved";
  return text;
}

Json Sampling::measure(const Criterion& criterion, int64_t index) {
  const std::string name = fmt::format("{}-{}", criterion.name, index);
  const fs::path file = folder() / "cells" / (name + ".json");
  if (Json known = read_json(file); !known.is_null()) {
    if (!options_.measure) return known;
    known["ms"] = milliseconds(load(folder() / "models" / (name + ".safetensors")), 0.2);
    write_json(file, known);
    return known;
  }
  // The first of a criterion that ranks is what it ranks first; the others, and all of "random", are drawn.
  std::optional<uint64_t> draw;
  if (index > 0 || criterion.name == "random") draw = static_cast<uint64_t>(options_.seed + index);
  const double scored = subject_.score(criterion);
  const Subnetwork sub = subject_.subnetwork(criterion, draw, name);
  Json json = {{"name", name},
               {"series", criterion.name},
               {"draw", draw ? Json(*draw) : Json()},
               {"parts", sub.parts},
               {"search_seconds", sub.seconds},
               {"score_seconds", scored},
               {"top1_cut", subject_.top1(sub.graph)}};
  Graph graph = sub.graph;
  if (options_.bn_batches > 0) {
    graph = subject_.estimated(graph);
    json["top1_bn"] = subject_.top1(graph);
  }
  if (options_.finetune > 0 && (options_.finetune_samples < 0 || index < options_.finetune_samples)) {
    auto trained = training_->finetune(
        graph, options_, (folder() / name).string(),
        [&](double done, double total) {
          bar_.update(static_cast<int64_t>(done), static_cast<int64_t>(total), name + ", fine-tuning");
        },
        stop_);
    if (!trained) throw Interrupted{};
    graph = std::move(*trained);
    json["top1_finetuned"] = subject_.top1(graph);
  }
  json["macs"] = count_macs(graph);
  json["params"] = count_parameters(graph);
  json["ms"] = milliseconds(graph, 0.2);
  json["command"] = command_of(options_, criterion.name, json["draw"]);
  fs::create_directories(folder() / "models");
  save(graph, folder() / "models" / (name + ".safetensors"));
  write_json(file, json);
  return json;
}

void Sampling::go(const std::atomic<bool>& stop) {
  stop_ = &stop;
  const fs::path file = folder() / "settings.json";
  const Json settings = settings_of(options_), before = read_json(file);
  if (!before.is_null() && before != settings) {
    for (const auto& [key, value] : settings.items()) {
      if (before.value(key, Json()) != value) {
        throw Error(ErrorKind::usage,
                    fmt::format("{} holds results of another command: {} was {}, is {}", folder().string(), key,
                                before.value(key, Json()).dump(), value.dump()));
      }
    }
  }
  write_json(file, settings);
  whole_ = read_json(folder() / "whole.json");
  if (!whole_.is_null() && options_.measure) {
    whole_["ms"] = milliseconds(subject_.graph(), 0.5);
    write_json(folder() / "whole.json", whole_);
  }
  if (whole_.is_null()) {
    whole_ = {{"top1", subject_.top1(subject_.graph())},
              {"macs", count_macs(subject_.graph())},
              {"params", count_parameters(subject_.graph())},
              {"parts", subject_.parts()},
              {"ms", milliseconds(subject_.graph(), 0.5)}};
    write_json(folder() / "whole.json", whole_);
  }
  const int64_t total = static_cast<int64_t>(options_.criteria.size()) * *options_.sample;
  for (int64_t index = 0; index < *options_.sample; ++index) {
    for (const std::string& name : options_.criteria) {
      if (stop) throw Interrupted{};
      points_.push_back(measure(find_criterion(name), index));
      bar_.update(static_cast<int64_t>(points_.size()), total, name);
    }
  }
  finish_best();
}

/// The best on held-out images at its last stage meets the test images.
void Sampling::finish_best() {
  const char* stage = "top1_cut";
  for (const PruneStage& s : kPruneStages) stage = best_of(points_, s.key) >= 0 ? s.key : stage;
  const auto best = std::ranges::max_element(points_, {}, [&](const Json& p) { return p.value(stage, -1.0); });
  const std::string name = best->at("name");
  best_ = read_json(folder() / "best.json");
  if (!best_.is_null() && best_.at("name") == name) return;
  const Graph graph = load(folder() / "models" / (name + ".safetensors"));
  const Collapsed collapsed = collapse(graph, {.target = Target::plan});
  const ImageSet test = load_for(preprocessing_of(graph), options_.data, Split::test, options_.skip_corrupt);
  const Certificate certificate = verify(graph, collapsed, {.samples = 2, .real_inputs = real_inputs(graph, test, 4)});
  if (!certificate.verified) {
    throw Error(ErrorKind::check_failed, name + ": the collapse is not certified: " + certificate.why);
  }
  save(collapsed.graph, folder() / "best.onnx");
  save(collapsed.graph, folder() / "best.safetensors");
  Classifier classifier(collapsed.graph, 32, options_.threads);
  const Evaluation evaluated = evaluate_images(classifier, test);
  best_ = {{"name", name},
           {"stage", stage},
           {"held_out_top1", best->at(stage)},
           {"test_top1", evaluated.top1},
           {"test_images", evaluated.n},
           {"max_rel_error", certificate.max_rel_error}};
  write_json(folder() / "best.json", best_);
}

Json Sampling::json() {
  Json json = {{"settings", settings_of(options_)},
               {"within", options_.within},
               {"held_out_images", subject_.held_out().count()},
               {"machine", machine()},
               {"whole", whole_},
               {"criteria", Json::array()}};
  for (const std::string& criterion : options_.criteria) {
    json["criteria"].push_back(summary_of(points_, criterion, options_.within));
  }
  json["best"] = best_;
  json["points"] = points_;
  json["out"] = options_.out;
  return json;
}

}  // namespace

Result prune_samples(const PruneOptions& options, const PruneTraining* training) {
  const StopOnSignal guard;
  Sampling sampling(options, training);
  bool interrupted = false;
  try {
    sampling.go(guard.requested());
  } catch (const Interrupted&) {
    interrupted = true;
  }
  Result result{.json = sampling.json()};
  result.json["interrupted"] = interrupted;
  write_json(fs::path(options.out) / "prune.json", result.json);
  write_prune_page(result.json);
  result.text = prune_text(result.json);
  if (interrupted) {
    warn("interrupted; the same command goes on");
    result.exit_code = 128 + guard.signal();
  }
  return result;
}

}  // namespace reducenet::cli
