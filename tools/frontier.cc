#include "train/frontier.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "experiment.h"
#include "progress.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "signals.h"
#include "table.h"
#include "train/folder_lock.h"
#include "train/weights.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

using train::FrontierCell;
namespace fs = std::filesystem;

struct Options {
  std::string recipe, data, from, only = "*";
  std::vector<std::string> settings;
  fs::path out = "frontier";
  ExperimentOptions run;
  bool list = false, page = false, measure = false;
};

fs::path result_of(const Options& options, const std::string& cell) {
  return options.out / "cells" / (cell + ".json");
}

fs::path model_of(const Options& options, const std::string& cell) {
  return options.out / cell / "model.safetensors";
}

bool chosen(const Options& options, const std::string& cell) {
  return fnmatch(options.only.c_str(), cell.c_str(), 0) == 0;
}

/// The cells to run: those chosen that have no result yet, and those they need that have left no model.
std::vector<const FrontierCell*> cells_to_run(const std::vector<FrontierCell>& cells, const Options& options) {
  std::set<std::string> needed;
  std::vector<const FrontierCell*> found;
  for (auto cell = cells.rbegin(); cell != cells.rend(); ++cell) {
    const bool done = fs::exists(result_of(options, cell->name));
    const bool wanted = chosen(options, cell->name) && !done;
    if (!wanted && !(needed.contains(cell->name) && !fs::exists(model_of(options, cell->name)))) continue;
    found.push_back(&*cell);
    needed.insert(cell->after);
    if (cell->recipe.distill.teacher == "self") needed.insert(cell->deep);
  }
  std::ranges::reverse(found);
  return found;
}

/// The cell as an experiment: with its teacher, and its start on disk.
Experiment experiment_of(const FrontierCell& cell, const Options& options) {
  Experiment experiment{cell.name, cell.recipe, options.out / cell.name, {}};
  if (!cell.deep.empty() && cell.recipe.distill.teacher == "self") {
    experiment.recipe.distill.teacher = model_of(options, cell.deep).string();
  }
  switch (cell.kind) {
    case FrontierCell::Kind::trunk:
    case FrontierCell::Kind::deep:
    case FrontierCell::Kind::step:
      experiment.from = cell.after.empty() ? fs::path(options.from) : model_of(options, cell.after);
      break;
    case FrontierCell::Kind::direct: {
      experiment.from = experiment.folder / "initial.safetensors";
      const fs::path pattern = model_of(options, cell.after);
      if (fs::exists(experiment.from)) break;
      fs::create_directories(experiment.folder);
      save(train::with_new_weights(load(pattern), static_cast<uint64_t>(cell.seed)), experiment.from);
      break;
    }
    case FrontierCell::Kind::control:
      break;
  }
  return experiment;
}

/// `cells`: a pattern.
std::string command_of(const Options& options, const std::string& cells) {
  std::string command = fmt::format("./reducenet frontier {}", options.recipe);
  if (!options.from.empty()) command += " --from " + fs::path(options.from).filename().string();
  for (const std::string& setting : options.settings) command += fmt::format(" --set '{}'", setting);
  return command + fmt::format(" --data DATA --out DIR --only '{}'", cells);
}

/// One curve: mean and spread over seeds at each of its points.
struct Group {
  std::string label, name;
  std::vector<Json> cells;
};

double mean_of(const std::vector<Json>& cells, const char* key) {
  double sum = 0;
  for (const Json& cell : cells) sum += cell.at(key).is_null() ? 0 : cell.at(key).get<double>();
  return sum / static_cast<double>(cells.size());
}

/// Cells by label and point, seeds together. Of a control's learning rates only the best on held-out images is left.
std::vector<Group> grouped(const std::vector<FrontierCell>& cells, const std::map<std::string, Json>& results) {
  std::vector<Group> groups;
  std::map<std::string, size_t> known;
  std::map<std::string, std::pair<double, size_t>> best;  // of each control: validation top-1, group
  for (const FrontierCell& cell : cells) {
    const auto found = results.find(cell.name);
    if (found == results.end() || cell.kind == FrontierCell::Kind::trunk) continue;
    const std::string key = cell.name.substr(0, cell.name.rfind("-s"));
    const auto [place, fresh] = known.try_emplace(key, groups.size());
    if (fresh) groups.push_back({cell.label, key, {}});
    groups[place->second].cells.push_back(found->second);
  }
  std::vector<Group> kept;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].cells.front().at("kind") != "control") continue;
    const double top1 = mean_of(groups[i].cells, "val_top1");
    const auto [place, fresh] = best.try_emplace(groups[i].label, top1, i);
    if (!fresh && top1 > place->second.first) place->second = {top1, i};
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto control = best.find(groups[i].label);
    if (groups[i].cells.front().at("kind") == "control" && control->second.second != i) continue;
    kept.push_back(std::move(groups[i]));
  }
  return kept;
}

Json point_of(const Group& group, const Options& options) {
  Json tops = Json::array();
  for (const Json& cell : group.cells) tops.push_back(cell.at("deployed_top1"));
  const Json& first = group.cells.front();
  double low = 1, high = 0;
  for (const Json& top : tops) low = std::min(low, top.get<double>()), high = std::max(high, top.get<double>());
  return {{"series", group.label},
          {"name", group.name},
          {"top1", 100 * mean_of(group.cells, "deployed_top1")},
          {"low", 100 * low},
          {"high", 100 * high},
          {"seeds", tops},
          {"nonlinear", first.at("nonlinear")},
          {"layers", first.at("layers")},
          {"ms", mean_of(group.cells, "ms")},
          {"mmacs", first.at("macs").get<double>() / 1e6},
          {"kparams", first.at("params").get<double>() / 1e3},
          {"epochs", first.at("epochs")},
          {"train_minutes", mean_of(group.cells, "train_seconds_in_all") / 60},
          {"lr", first.at("lr")},
          {"command", command_of(options, group.name + "-s*")}};
}

/// By activation, in the network's order, and at each step: what it was worth (a mean over seeds; null where the choice
/// ranks none) and in how many of the seeds it stayed. Null when no step is done.
Json worth_of(const std::vector<FrontierCell>& cells, const std::map<std::string, Json>& results) {
  struct Sum {
    double importance = 0;
    bool ranked = true;
    int64_t kept = 0, seeds = 0;
  };
  std::vector<std::string> steps, nodes;
  std::map<std::pair<std::string, std::string>, Sum> sums;  // by node, step
  std::string meaning;
  const auto place = [](std::vector<std::string>& names, const std::string& name) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  };
  for (const FrontierCell& cell : cells) {
    const auto found = results.find(cell.name);
    if (cell.kind != FrontierCell::Kind::step || found == results.end() || !found->second.contains("selection"))
      continue;
    const std::string step = fmt::format("k{}", cell.survivors);
    place(steps, step);
    const Json& selection = found->second.at("selection");
    meaning = selection.at("importance");
    for (const Json& candidate : selection.at("candidates")) {
      const std::string node = candidate.at("node");
      place(nodes, node);
      Sum& sum = sums[{node, step}];
      const Json& importance = candidate.at("importance");
      sum.ranked &= !importance.is_null();
      sum.importance += importance.is_null() ? 0 : importance.get<double>();
      sum.kept += candidate.at("survives").get<bool>();
      ++sum.seeds;
    }
  }
  if (nodes.empty()) return nullptr;
  Json rows = Json::array();
  for (const std::string& node : nodes) {
    Json at = Json::array();
    for (const std::string& step : steps) {
      const auto sum = sums.find({node, step});
      if (sum == sums.end()) {
        at.push_back(nullptr);  // it had gone before
        continue;
      }
      const auto& [importance, ranked, kept, seeds] = sum->second;
      at.push_back({{"importance", ranked ? Json(importance / static_cast<double>(seeds)) : Json()},
                    {"kept", kept},
                    {"seeds", seeds}});
    }
    rows.push_back({{"node", node}, {"at", at}});
  }
  return {{"importance", meaning}, {"steps", steps}, {"rows", rows}};
}

/// frontier.json and index.html from the cells that are done.
Json write_results(const std::vector<FrontierCell>& cells, const Options& options) {
  std::map<std::string, Json> results;
  Json pending = Json::array(), all = Json::array();
  for (const FrontierCell& cell : cells) {
    Json result = read_json(result_of(options, cell.name));
    if (result.is_null()) {
      pending.push_back(cell.name);
      continue;
    }
    // Training time of the whole way to a network.
    double seconds = result.at("train_seconds");
    if (cell.kind != FrontierCell::Kind::direct && results.contains(cell.after)) {
      seconds += results.at(cell.after).at("train_seconds_in_all").get<double>();
    }
    result["train_seconds_in_all"] = seconds;
    all.push_back(result);
    results[cell.name] = std::move(result);
  }
  Json points = Json::array();
  for (const Group& group : grouped(cells, results)) points.push_back(point_of(group, options));
  const Json worth = worth_of(cells, results);
  const Json json = {{"version", 1}, {"recipe", options.recipe}, {"points", points},
                     {"cells", all}, {"pending", pending},       {"worth", worth}};
  write_json(options.out / "frontier.json", json);
  write_page(
      options.out / "index.html",
      {{"title", "Frontier of " + fs::path(options.recipe).stem().string()},
       {"note", fmt::format("{} of {} cells done. Accuracy of the deployed network on the test images, mean over "
                            "seeds; latency by the runtime, batch 1, one thread.",
                            all.size(), cells.size())},
       {"x",
        {{{"key", "ms"}, {"label", "milliseconds, batch 1, one thread"}},
         {{"key", "nonlinear"}, {"label", "non-linear layers"}},
         {{"key", "mmacs"}, {"label", "million multiply-accumulates"}}}},
       {"y", {{{"key", "top1"}, {"label", "top-1, %"}}}},
       {"columns",
        {{{"key", "series"}, {"label", "series"}},
         {{"key", "name"}, {"label", "cell"}},
         {{"key", "top1"}, {"label", "top-1, %"}, {"digits", 2}},
         {{"key", "nonlinear"}, {"label", "non-linear"}},
         {{"key", "layers"}, {"label", "layers"}},
         {{"key", "ms"}, {"label", "ms"}, {"digits", 3}},
         {{"key", "mmacs"}, {"label", "M MACs"}, {"digits", 2}},
         {{"key", "kparams"}, {"label", "k params."}, {"digits", 1}},
         {{"key", "epochs"}, {"label", "epochs"}},
         {{"key", "train_minutes"}, {"label", "training, min"}, {"digits", 1}}}},
       {"points", points},
       {"worth", worth}});
  return json;
}

std::string text_of(const Json& json, const Options& options) {
  Table table({"series", "cell", "top-1 %", "lowest", "highest", "seeds", "non-linear", "layers", "ms", "epochs"});
  for (const Json& p : json.at("points")) {
    table.add({p.at("series"), p.at("name"), fmt::format("{:.2f}", p.at("top1").get<double>()),
               fmt::format("{:.2f}", p.at("low").get<double>()), fmt::format("{:.2f}", p.at("high").get<double>()),
               std::to_string(p.at("seeds").size()), p.at("nonlinear").dump(), p.at("layers").dump(),
               fmt::format("{:.3f}", p.at("ms").get<double>()), p.at("epochs").dump()});
  }
  std::string text = table.str() + (options.out / "index.html").string() + "\n";
  if (!json.at("pending").empty()) text += fmt::format("{} cells are still to be run\n", json.at("pending").size());
  return text;
}

const char* name_of(FrontierCell::Kind kind) {
  switch (kind) {
    case FrontierCell::Kind::trunk:
      return "trunk";
    case FrontierCell::Kind::deep:
      return "deep";
    case FrontierCell::Kind::step:
      return "step";
    case FrontierCell::Kind::direct:
      return "direct";
    case FrontierCell::Kind::control:
      return "control";
  }
  return "";
}

using OnStep = std::function<void(const FrontierCell&, const train::Progress&)>;

/// A cell's folder, for this process alone; gone again where nothing was written. FolderBusy: another has it.
class CellFolder {
 public:
  explicit CellFolder(const fs::path& folder) : folder_(folder), lock_(folder) {}
  ~CellFolder() {
    std::error_code error;
    if (fs::remove(folder_, error)) fs::remove(folder_.parent_path(), error);
  }
  CellFolder(const CellFolder&) = delete;
  CellFolder& operator=(const CellFolder&) = delete;

 private:
  fs::path folder_;
  train::FolderLock lock_;
};

/// Trains and measures the first cell that no other process trains, nor one that it needs; its result is then on disk,
/// unless it was interrupted. Null: none is free.
const FrontierCell* run_first_free(const std::vector<const FrontierCell*>& pending, const Options& options,
                                   const OnStep& on_step) {
  const auto ready = [&](const std::string& cell) { return cell.empty() || fs::exists(model_of(options, cell)); };
  for (const FrontierCell* cell : pending) {
    if (!ready(cell->after) || (cell->recipe.distill.teacher == "self" && !ready(cell->deep))) continue;
    std::optional<CellFolder> folder;
    try {
      folder.emplace(options.out / cell->name);
    } catch (const train::FolderBusy&) {
      continue;
    }
    if (fs::exists(result_of(options, cell->name)) && fs::exists(model_of(options, cell->name))) continue;  // by now
    ExperimentOptions run = options.run;
    run.locked = true;
    run.on_step = [&](const train::Progress& p) { on_step(*cell, p); };
    const std::optional<Json> figures = run_experiment(experiment_of(*cell, options), run);
    if (!figures) return cell;
    Json json = {{"cell", cell->name},
                 {"kind", name_of(cell->kind)},
                 {"series", cell->label},
                 {"seed", cell->seed},
                 {"survivors", cell->survivors},
                 {"epochs", cell->epochs},
                 {"lr", cell->recipe.optimizer.lr},
                 {"command", command_of(options, cell->name)}};
    json.update(*figures);
    write_json(result_of(options, cell->name), json);
    return cell;
  }
  return nullptr;
}

/// `done`, `total`: epochs of the grid before the cell, and in all. A stage beside training has the bar for itself.
void show(Progress& bar, const FrontierCell& cell, const train::Progress& p, double done, double total) {
  if (!p.stage.empty()) return bar.update(p.step, p.steps, cell.name + "  " + p.stage, p.seconds_left);
  constexpr double scale = 1000;
  const auto steps = static_cast<double>(p.steps), epochs = static_cast<double>(p.epochs);
  const double epochs_left = std::max(1e-9, epochs * static_cast<double>(p.steps - p.step) / steps);
  const double seconds_left = p.seconds_left * (1 + (total - done - epochs) / epochs_left);
  bar.update(
      static_cast<int64_t>((done + epochs * static_cast<double>(p.step) / steps) * scale),
      static_cast<int64_t>(total * scale),
      fmt::format("{}  epoch {}/{}  loss {:.3f}  λ {:.2f}", cell.name, p.epoch + 1, p.epochs, p.loss, p.fade.mean),
      p.step < p.steps ? seconds_left : 0);
}

/// Until every chosen cell has its result, from this process or another. False: interrupted before.
bool train_grid(const std::vector<FrontierCell>& cells, const Options& options) {
  Progress bar("frontier");
  Options with_bar = options;
  with_bar.run.on_message = [&bar](const std::string& message) { bar.line(message); };
  double done = 0;  // epochs trained here
  bool waiting = false;
  while (!*options.run.stop) {
    const std::vector<const FrontierCell*> pending = cells_to_run(cells, options);
    if (pending.empty()) return true;
    double total = done;
    for (const FrontierCell* cell : pending) total += static_cast<double>(cell->recipe.train.epochs);
    const FrontierCell* ran = run_first_free(
        pending, with_bar,
        [&](const FrontierCell& cell, const train::Progress& progress) { show(bar, cell, progress, done, total); });
    if (ran) {
      const Json json = read_json(result_of(options, ran->name));
      if (json.is_null()) return false;
      bar.line(fmt::format("{}: {:.2f} % deployed, {} non-linear, {:.3f} ms", ran->name,
                           100 * json.at("deployed_top1").get<double>(), json.at("nonlinear").dump(),
                           json.at("ms").get<double>()));
      done += static_cast<double>(ran->recipe.train.epochs);
      write_results(cells, options);
    } else {
      if (!waiting) bar.line(fmt::format("{}: waiting for another process, which trains it", pending.front()->name));
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    waiting = !ran;
  }
  return cells_to_run(cells, options).empty();
}

/// Times what is deployed, one cell after another.
void measure_again(const std::vector<FrontierCell>& cells, const Options& options) {
  for (const FrontierCell& cell : cells) {
    const fs::path model = options.out / cell.name / "deployed.safetensors";
    Json result = read_json(result_of(options, cell.name));
    if (result.is_null() || !fs::exists(model) || !chosen(options, cell.name)) continue;
    result.update(measure_latency(load(model)));
    write_json(result_of(options, cell.name), result);
  }
}

Result frontier(Options options) {
  train::Recipe recipe = train::load_recipe(options.recipe);
  if (!options.data.empty()) recipe.data.path = options.data;
  for (const std::string& setting : options.settings) train::set(recipe, setting);
  std::vector<FrontierCell> cells;
  try {
    cells = train::frontier_cells(recipe);
  } catch (const Error& error) {
    throw Error(error.kind(), options.recipe + ": " + error.what());
  }
  Result result;
  if (options.list) {
    for (const FrontierCell& cell : cells) {
      const bool done = fs::exists(result_of(options, cell.name));
      result.json["cells"].push_back({{"cell", cell.name}, {"epochs", cell.recipe.train.epochs}, {"done", done}});
      result.text += fmt::format("{:32} {:4} epochs{}\n", cell.name, cell.recipe.train.epochs, done ? "  done" : "");
    }
    return result;
  }
  if (options.measure) measure_again(cells, options);
  const StopOnSignal guard;
  options.run.stop = &guard.requested();
  const bool interrupted = !options.page && !options.measure && !train_grid(cells, options);
  result.json = write_results(cells, options);
  result.json["interrupted"] = interrupted;
  result.text = text_of(result.json, options);
  if (interrupted) {
    warn("interrupted; the same command goes on");
    result.exit_code = 128 + guard.signal();
  }
  return result;
}

}  // namespace

Action declare_frontier(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("recipe", options->recipe, "Recipe (.toml) with a table [frontier]")->required();
  app.add_option("--from", options->from,
                 "Model whose weights the deep network begins with; with model.arch = import, the network itself");
  app.add_option("--out", options->out, "Folder for cells, models, frontier.json and index.html (frontier)");
  app.add_option("--data", options->data, "Images, over the recipe's data.path");
  app.add_option("--set", options->settings, "section.key=value, over the recipe; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--only", options->only,
                 "Run only cells whose name matches this pattern (k9-*, *-s0), and what they need");
  app.add_flag("--list", options->list, "List the grid, and stop");
  app.add_flag("--page", options->page, "Run nothing: write frontier.json and index.html from the cells that are done");
  app.add_flag("--measure", options->measure,
               "Train nothing: time the deployed models of finished cells again, on a quiet machine");
  app.add_option("--device", options->run.device, "Where to train (cpu)")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--cache", options->run.cache, "Folder for decoded images");
  return [options] { return frontier(*options); };
}

}  // namespace reducenet::cli
