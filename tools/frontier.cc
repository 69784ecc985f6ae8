#include "train/frontier.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "experiment.h"
#include "frontier_report.h"
#include "progress.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "signals.h"
#include "train/folder_lock.h"
#include "train/recipe_check.h"
#include "train/weights.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

using train::FrontierCell;
namespace fs = std::filesystem;

struct Options : FrontierPlace {
  std::string data, only = "*";
  ExperimentOptions run;
  bool list = false, page = false, measure = false;
};

fs::path model_of(const Options& options, const std::string& cell) {
  return options.out / cell / "model.safetensors";
}

bool chosen(const Options& options, const std::string& cell) {
  return fnmatch(options.only.c_str(), cell.c_str(), 0) == 0;
}

/// The cells to run: those chosen that have no result yet, and those they need that have left no model; but none that
/// has failed, or needs one that has.
std::vector<const FrontierCell*> cells_to_run(const std::vector<FrontierCell>& cells, const Options& options) {
  std::set<std::string> needed;
  std::vector<const FrontierCell*> found;
  const std::map<std::string, std::string> failed = failures(cells, read_results(cells, options));
  for (auto cell = cells.rbegin(); cell != cells.rend(); ++cell) {
    if (failed.contains(cell->name)) continue;
    const bool done = fs::exists(options.result_of(cell->name));
    const bool wanted = chosen(options, cell->name) && !done;
    if (!wanted && !(needed.contains(cell->name) && !fs::exists(model_of(options, cell->name)))) continue;
    found.push_back(&*cell);
    needed.merge(needs(*cell));
  }
  std::ranges::reverse(found);
  return found;
}

/// The cell's recipe with its teacher: the finished deep network, where a network would teach itself.
train::Recipe recipe_of(const FrontierCell& cell, const Options& options) {
  train::Recipe recipe = cell.recipe;
  if (!cell.deep.empty() && recipe.distill.teacher == "self") {
    recipe.distill.teacher = model_of(options, cell.deep).string();
  }
  return recipe;
}

/// What the cell's weights come from, on disk once that is there; empty: nothing.
fs::path start_of(const FrontierCell& cell, const Options& options) {
  if (!cell.after.empty()) return model_of(options, cell.after);
  return cell.kind == FrontierCell::Kind::control ? fs::path() : fs::path(options.from);
}

/// Error(usage), naming the cell, when the recipe of a cell that is to run does not hold: known before the cells in
/// front of it have trained for hours.
void check_cells(const std::vector<FrontierCell>& cells, const Options& options) {
  for (const FrontierCell* cell : cells_to_run(cells, options)) {
    try {
      train::check_recipe(recipe_of(*cell, options), {.from = start_of(*cell, options)});
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("cell '{}': {}", cell->name, error.what()));
    }
  }
}

/// The cell as an experiment, its start on disk.
Experiment experiment_of(const FrontierCell& cell, const Options& options) {
  Experiment experiment{cell.name, recipe_of(cell, options), options.out / cell.name, start_of(cell, options)};
  if (cell.kind != FrontierCell::Kind::direct) return experiment;
  experiment.from = experiment.folder / "initial.safetensors";
  if (fs::exists(experiment.from)) return experiment;
  fs::create_directories(experiment.folder);
  save(train::with_new_weights(load(start_of(cell, options)), static_cast<uint64_t>(cell.seed)), experiment.from);
  return experiment;
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

/// Trains and measures the first cell that no other process trains, nor one that it needs; its result, or that it
/// failed and why, is then on disk, unless it was interrupted. Null: none is free.
const FrontierCell* run_first_free(const std::vector<const FrontierCell*>& pending, const Options& options,
                                   const OnStep& on_step) {
  const auto ready = [&](const std::string& cell) { return fs::exists(model_of(options, cell)); };
  for (const FrontierCell* cell : pending) {
    if (!std::ranges::all_of(needs(*cell), ready)) continue;
    std::optional<CellFolder> folder;
    try {
      folder.emplace(options.out / cell->name);
    } catch (const train::FolderBusy&) {
      continue;
    }
    if (fs::exists(options.result_of(cell->name)) && fs::exists(model_of(options, cell->name))) continue;  // by now
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
                 {"command", options.command_of(cell->name)}};
    json.update(*figures);
    write_json(options.result_of(cell->name), json);
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
      const Json json = read_json(options.result_of(ran->name));
      if (json.is_null()) return false;
      bar.line(json.contains("failed") ? fmt::format("{} failed: {}", ran->name, json.at("failed").get<std::string>())
                                       : fmt::format("{}: {:.2f} % deployed, {} non-linear, {} ms", ran->name,
                                                     100 * json.at("deployed_top1").get<double>(),
                                                     json.at("nonlinear").dump(), milliseconds_text(json.at("ms"))));
      done += static_cast<double>(ran->recipe.train.epochs);
      report_frontier(cells, options);
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
    Json result = read_json(options.result_of(cell.name));
    if (result.is_null() || !fs::exists(model) || !chosen(options, cell.name)) continue;
    result.update(measure_latency(load(model)));
    write_json(options.result_of(cell.name), result);
  }
}

/// The chosen cells, and those that would run because a chosen one needs them.
Result list_of(const std::vector<FrontierCell>& cells, const Options& options) {
  const std::vector<const FrontierCell*> pending = cells_to_run(cells, options);
  Result result;
  for (const FrontierCell& cell : cells) {
    const bool needed = !chosen(options, cell.name);
    const bool runs = std::ranges::find(pending, &cell) != pending.end();
    if (needed && !runs) continue;
    const bool done = !runs && fs::exists(options.result_of(cell.name));
    result.json["cells"].push_back(
        {{"cell", cell.name}, {"epochs", cell.recipe.train.epochs}, {"done", done}, {"needed", needed}});
    const char* mark = needed ? "  needed" : done ? "  done" : "";
    result.text += fmt::format("{:32} {:4} epochs{}\n", cell.name, cell.recipe.train.epochs, mark);
  }
  return result;
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
  if (std::ranges::none_of(cells, [&](const FrontierCell& cell) { return chosen(options, cell.name); })) {
    throw Error(ErrorKind::usage, "--only " + options.only + ": no cell of the grid is called so; --list names them");
  }
  if (options.list) return list_of(cells, options);
  Result result;
  for (const FrontierCell& cell : cells) read_figures(options.result_of(cell.name), recipe_of(cell, options));
  if (options.measure) measure_again(cells, options);
  const bool trains = !options.page && !options.measure;
  if (trains) check_cells(cells, options);
  const StopOnSignal guard;
  options.run.stop = &guard.requested();
  const bool interrupted = trains && !train_grid(cells, options);
  result.json = report_frontier(cells, options);
  result.json["interrupted"] = interrupted;
  result.text = frontier_text(result.json, options);
  if (trains && std::ranges::any_of(result.json.at("failed"), [&](const Json& failed) {
        return chosen(options, failed.at("cell").get<std::string>());
      })) {
    result.exit_code = 1;
  }
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
  app.add_flag("--list", options->list, "List the grid, or with --only what would run, and stop");
  app.add_flag("--page", options->page, "Run nothing: write frontier.json and index.html from the cells that are done");
  app.add_flag("--measure", options->measure,
               "Train nothing: time the deployed models of finished cells again, on a quiet machine");
  app.add_option("--device", options->run.device, "Where to train (cpu)")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--cache", options->run.cache, "Folder for decoded images");
  return [options] { return frontier(*options); };
}

}  // namespace reducenet::cli
