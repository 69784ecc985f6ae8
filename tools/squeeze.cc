#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "experiment.h"
#include "progress.h"
#include "reducenet/collapse.h"
#include "reducenet/data.h"
#include "reducenet/error.h"
#include "reducenet/runtime.h"
#include "signals.h"
#include "table.h"
#include "train/graphs.h"
#include "train/sources.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string recipe, data;
  std::vector<std::string> settings;
  fs::path out = "squeeze";
  ExperimentOptions run;
};

/// A network that was tried, over all seeds.
struct Tried {
  std::vector<int64_t> widths;
  int64_t expansion = 1;
  double val_top1 = 0, ms = 0, macs = 0, seconds = 0;
  std::vector<Json> cells;
  std::string verdict;
  std::string failed;  ///< which seed came to nothing, and why: nothing else is known then
};

struct Interrupted {};

class Squeeze {
 public:
  Squeeze(train::Recipe recipe, const Options& options) : recipe_(std::move(recipe)), options_(options) {}

  /// Widens the middle, then the ends. Throws Interrupted.
  void go();
  Json json() const;
  const std::vector<Tried>& tried() const { return tried_; }
  const std::string& why() const { return why_; }

 private:
  std::vector<int64_t> widths(double multiple) const;
  train::Recipe recipe_of(const std::vector<int64_t>& widths, int64_t expansion, int64_t seed) const;
  /// Deep, as its training begins.
  Graph network(const std::vector<int64_t>& widths, int64_t expansion) const;
  /// What to say when the network that `network` is deployed as takes too long.
  std::optional<std::string> over_budget(const std::vector<int64_t>& widths, int64_t expansion, const Graph& network);
  /// Index of the best middle at these ends; none when the first is over the budget.
  std::optional<size_t> widen_middle(const std::vector<int64_t>& widths);
  Tried train(const std::vector<int64_t>& widths, int64_t expansion);
  Json train_seed(const std::vector<int64_t>& widths, int64_t expansion, int64_t seed);
  std::string command_of(const Tried& tried) const;
  bool over_time() const { return recipe_.squeeze.hours > 0 && seconds_ > 3600 * recipe_.squeeze.hours; }

  train::Recipe recipe_;
  const Options& options_;
  ImageSet images_;                       ///< the test images, for their form alone
  std::map<int64_t, double> ms_by_macs_;  ///< what is deployed of different middles is mostly one network
  std::vector<Tried> tried_;
  size_t chosen_ = 0;
  double seconds_ = 0;
  std::string why_;
};

std::vector<int64_t> Squeeze::widths(double multiple) const {
  std::vector<int64_t> found;
  for (const int64_t width : recipe_.model.options.widths) {
    found.push_back(std::max<int64_t>(1, std::llround(static_cast<double>(width) * multiple)));
  }
  return found;
}

train::Recipe Squeeze::recipe_of(const std::vector<int64_t>& widths, int64_t expansion, int64_t seed) const {
  train::Recipe recipe = recipe_;
  recipe.frontier = {};
  recipe.squeeze = {};
  recipe.model.options.widths = widths;
  recipe.model.options.expansion = expansion;
  recipe.train.seed = seed;
  return recipe;
}

Graph Squeeze::network(const std::vector<int64_t>& widths, int64_t expansion) const {
  train::Recipe recipe = recipe_of(widths, expansion, recipe_.squeeze.seeds.at(0));
  recipe.select = {};
  return train::build_network(recipe, {}, {}, images_);
}

std::optional<std::string> Squeeze::over_budget(const std::vector<int64_t>& widths, int64_t expansion,
                                                const Graph& network) {
  if (recipe_.squeeze.milliseconds <= 0) return std::nullopt;
  const Graph deployed = collapse(faded(network), {.target = Target::plan}).graph;
  const auto [ms, fresh] = ms_by_macs_.try_emplace(count_macs(deployed));
  if (fresh) ms->second = bench(Plan(deployed, {.batch = 1, .threads = 1}), 0.5).median_ms;
  if (ms->second <= recipe_.squeeze.milliseconds) return std::nullopt;
  return fmt::format("widths {}, expansion {} would take {} ms: over the budget of {} ms", fmt::join(widths, ", "),
                     expansion, milliseconds_text(ms->second), recipe_.squeeze.milliseconds);
}

Json Squeeze::train_seed(const std::vector<int64_t>& widths, int64_t expansion, int64_t seed) {
  const std::string name = fmt::format("w{}-e{}-s{}", fmt::join(widths, "-"), expansion, seed);
  const fs::path result = result_file(options_.out, name);
  const train::Recipe recipe = recipe_of(widths, expansion, seed);
  Json json = read_figures(result, recipe);
  if (!json.is_null()) return json;
  Progress bar(name);
  ExperimentOptions run = options_.run;
  run.on_message = [&bar](const std::string& message) { bar.line(message); };
  run.on_step = [&bar](const train::Progress& p) {
    if (!p.stage.empty()) return bar.update(p.step, p.steps, p.stage, p.seconds_left);
    bar.update(p.step, p.steps,
               fmt::format("epoch {}/{}  loss {:.3f}  λ {:.2f}", p.epoch + 1, p.epochs, p.loss, p.fade.mean),
               p.seconds_left);
  };
  const std::optional<Json> figures = run_experiment({name, recipe, options_.out / name, {}}, run);
  if (!figures) throw Interrupted{};
  json = {{"cell", name}, {"seed", seed}, {"widths", widths}, {"expansion", expansion}};
  json.update(*figures);
  write_json(result, json);
  bar.line(json.contains("failed")
               ? fmt::format("{} failed: {}", name, json.at("failed").get<std::string>())
               : fmt::format("{}: validation {:.2f} %", name, 100 * json.at("val_top1").get<double>()));
  return json;
}

Tried Squeeze::train(const std::vector<int64_t>& widths, int64_t expansion) {
  Tried tried{.widths = widths, .expansion = expansion};
  for (const int64_t seed : recipe_.squeeze.seeds) {
    tried.cells.push_back(train_seed(widths, expansion, seed));
    const Json& cell = tried.cells.back();
    if (cell.contains("failed")) {
      const auto name = cell.at("cell").get<std::string>();
      tried.failed = fmt::format("{} failed: {} {}", name, cell.at("failed").get<std::string>(),
                                 how_to_retry(result_file(options_.out, name)));
      return tried;
    }
    const auto share = 1 / static_cast<double>(recipe_.squeeze.seeds.size());
    tried.val_top1 += share * cell.at("val_top1").get<double>();
    tried.ms += share * cell.at("ms").get<double>();
    tried.macs = cell.at("macs").get<double>();
    tried.seconds += cell.at("train_seconds").get<double>();
  }
  seconds_ += tried.seconds;
  return tried;
}

std::optional<size_t> Squeeze::widen_middle(const std::vector<int64_t>& widths) {
  const size_t first = tried_.size();
  size_t best = first;
  int64_t parameters = 0;
  for (const int64_t expansion : recipe_.squeeze.expansions) {
    const Graph deep = network(widths, expansion);
    const int64_t before = std::exchange(parameters, count_parameters(deep));
    std::optional<std::string> stop =
        parameters == before ? "there is no middle to widen" : over_budget(widths, expansion, deep);
    Tried next;
    if (!stop) {
      next = train(widths, expansion);
      if (!next.failed.empty()) stop = next.failed;
    }
    if (!next.failed.empty() && tried_.empty()) {
      throw Error(ErrorKind::check_failed, "squeeze: " + next.failed);
    }
    if (stop && tried_.size() == first) {
      why_ = *stop;
      return std::nullopt;
    }
    if (stop) {
      tried_.back().verdict += "; " + *stop;
      break;
    }
    const bool better = tried_.size() == first || next.val_top1 >= tried_[best].val_top1 + recipe_.squeeze.gain;
    next.verdict = tried_.size() == first ? "first at these ends"
                   : better               ? "the wider middle helps"
                                          : "the middle is wide enough";
    if (better) best = tried_.size();
    tried_.push_back(std::move(next));
    if (!better || over_time()) break;
  }
  return best;
}

void Squeeze::go() {
  const train::Recipe::Squeeze& squeeze = recipe_.squeeze;
  if (recipe_.data.validation == 0)
    throw Error(ErrorKind::usage, "squeeze: it needs held-out images: set data.validation");
  if (squeeze.expansions.empty() || squeeze.ends.empty() || squeeze.seeds.empty()) {
    throw Error(ErrorKind::usage, "squeeze.expansions, squeeze.ends and squeeze.seeds must not be empty");
  }
  images_ = train::load_split(recipe_, {.cache = options_.run.cache}, Split::test);
  for (const double end : squeeze.ends) {
    const std::optional<size_t> best = widen_middle(widths(end));
    if (!best && tried_.empty()) throw Error(ErrorKind::usage, "squeeze: " + why_);
    if (!best) return;
    if (*best > 0 && tried_[*best].val_top1 < tried_[chosen_].val_top1 + squeeze.gain) {
      why_ = "wider ends no longer help";
      return;
    }
    chosen_ = *best;
    if (over_time()) {
      why_ = fmt::format("{} hours of training are spent", squeeze.hours);
      return;
    }
  }
  why_ = "every width of squeeze.ends was tried";
}

std::string Squeeze::command_of(const Tried& tried) const {
  return with_settings("./reducenet train " + options_.recipe, options_.settings) +
         fmt::format(
             " --set 'model.widths=[{}]' --set model.expansion={} --set train.seed={} --data DATA "
             "--out DIR",
             fmt::join(tried.widths, ", "), tried.expansion,
             recipe_.squeeze.seeds.size() == 1 ? std::to_string(recipe_.squeeze.seeds[0]) : "SEED");
}

Json Squeeze::json() const {
  Json points = Json::array();
  for (size_t i = 0; i < tried_.size(); ++i) {
    const Tried& t = tried_[i];
    const bool chosen = !why_.empty() && i == chosen_;
    double low = 1, high = 0;
    Json seeds = Json::array();
    for (const Json& cell : t.cells) {
      const double top1 = cell.at("val_top1");
      seeds.push_back(top1);
      low = std::min(low, top1), high = std::max(high, top1);
    }
    Json point = {{"series", fmt::format("ends {}", fmt::join(t.widths, ", "))},
                  {"name", fmt::format("w{}-e{}", fmt::join(t.widths, "-"), t.expansion)},
                  {"step", i + 1},
                  {"expansion", t.expansion},
                  {"top1", 100 * t.val_top1},
                  {"low", 100 * low},
                  {"high", 100 * high},
                  {"seeds", seeds},
                  {"ms", t.ms},
                  {"mmacs", t.macs / 1e6},
                  {"train_minutes", t.seconds / 60},
                  {"verdict", t.verdict + (chosen ? "; chosen" : "")},
                  {"command", command_of(t)}};
    points.push_back(std::move(point));
  }
  Json json = {{"version", 1}, {"recipe", options_.recipe}, {"stopped", why_}, {"points", points}};
  if (!why_.empty() && !tried_.empty()) {
    // The test images: read for the one network that held-out images chose.
    Json tops = Json::array();
    for (const Json& cell : tried_[chosen_].cells) tops.push_back(cell.at("deployed_top1"));
    json["chosen"] = {{"name", points.at(chosen_).at("name")}, {"deployed_top1", tops}};
  }
  return json;
}

Result squeeze(Options options) {
  train::Recipe recipe = train::load_recipe(options.recipe);
  if (!options.data.empty()) recipe.data.path = options.data;
  for (const std::string& setting : options.settings) train::set(recipe, setting);
  const StopOnSignal guard;
  options.run.stop = &guard.requested();
  Squeeze run(recipe, options);
  bool interrupted = false;
  try {
    run.go();
  } catch (const Interrupted&) {
    interrupted = true;
  }
  Result result{.json = run.json()};
  write_json(options.out / "squeeze.json", result.json);
  write_page(options.out / "index.html",
             {{"title", "Squeeze of " + fs::path(options.recipe).stem().string()},
              {"note", "Accuracy on held-out images, mean over seeds. " + run.why()},
              {"x",
               {{{"key", "expansion"}, {"label", "width of the middle, as a multiple of the ends"}, {"path", true}},
                latency_axis(),
                {{"key", "step"}, {"label", "step"}, {"path", true}}}},
              {"y", {{{"key", "top1"}, {"label", "top-1 on held-out images, %"}}}},
              {"columns",
               {{{"key", "step"}, {"label", "step"}},
                {{"key", "series"}, {"label", "ends"}},
                {{"key", "expansion"}, {"label", "expansion"}},
                {{"key", "top1"}, {"label", "held-out top-1, %"}, {"digits", 2}},
                {{"key", "ms"}, {"label", "ms"}, {"digits", 3}},
                {{"key", "mmacs"}, {"label", "M MACs"}, {"digits", 2}},
                {{"key", "train_minutes"}, {"label", "training, min"}, {"digits", 1}},
                {{"key", "verdict"}, {"label", "verdict"}}}},
              {"points", result.json.at("points")}});
  Table table({"step", "ends", "expansion", "held-out top-1 %", "ms", "M MACs", "minutes", "verdict"});
  for (const Json& p : result.json.at("points")) {
    table.add({p.at("step").dump(), p.at("series").get<std::string>().substr(5), p.at("expansion").dump(),
               fmt::format("{:.2f}", p.at("top1").get<double>()), milliseconds_text(p.at("ms")),
               fmt::format("{:.2f}", p.at("mmacs").get<double>()),
               fmt::format("{:.1f}", p.at("train_minutes").get<double>()), p.at("verdict")});
  }
  result.text =
      table.str() + (run.why().empty() ? "" : run.why() + "\n") + (options.out / "index.html").string() + "\n";
  if (interrupted) {
    warn("interrupted; the same command goes on");
    result.exit_code = 128 + guard.signal();
  }
  return result;
}

}  // namespace

Action declare_squeeze(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("recipe", options->recipe, "Recipe (.toml); its table [squeeze] says what is tried")->required();
  app.add_option("--out", options->out, "Folder for cells, models, squeeze.json and index.html (squeeze)");
  app.add_option("--data", options->data, "Images, over the recipe's data.path");
  app.add_option("--set", options->settings, "section.key=value, over the recipe; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--device", options->run.device, "Where to train (cpu)")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--cache", options->run.cache, "Folder for decoded images");
  return [options] { return squeeze(*options); };
}

}  // namespace reducenet::cli
