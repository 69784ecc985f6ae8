#include "frontier_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiment.h"
#include "records.h"
#include "table.h"

namespace reducenet::cli {
namespace {

using train::FrontierCell;

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
std::vector<Group> grouped(const std::vector<FrontierCell>& cells, const FrontierResults& results) {
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

Json point_of(const Group& group, const FrontierPlace& place) {
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
          {"command", place.command_of(group.name + "-s*")}};
}

/// The horizontal axes of the page; along a path, a series' points are joined.
const Json& axes() {
  static const Json axes = {
      latency_axis(),
      {{"key", "nonlinear"}, {"label", "non-linear layers"}, {"path", true}},
      {{"key", "mmacs"}, {"label", "million multiply-accumulates"}},
  };
  return axes;
}

/// Adds to each point the axes on whose front it is: where nothing costs as little and is as accurate.
void mark_front(Json& points) {
  for (Json& point : points) {
    Json front = Json::array();
    for (const Json& axis : axes()) {
      const std::string key = axis.at("key");
      const double cost = point.at(key), top1 = point.at("top1");
      const bool beaten = std::ranges::any_of(points, [&](const Json& other) {
        const double its_cost = other.at(key), its_top1 = other.at("top1");
        return its_cost <= cost && its_top1 >= top1 && (its_cost < cost || its_top1 > top1);
      });
      if (!beaten) front.push_back(key);
    }
    point["front"] = front;
  }
}

/// By activation, in the network's order, and at each step: what it was worth (a mean over seeds; null where the choice
/// ranks none) and in how many of the seeds it stayed. Null when no step is done.
Json worth_of(const std::vector<FrontierCell>& cells, const FrontierResults& results) {
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

}  // namespace

std::string FrontierPlace::command_of(const std::string& cells) const {
  std::string command = fmt::format("./reducenet frontier {}", recipe);
  if (!from.empty()) command += " --from " + std::filesystem::path(from).filename().string();
  return with_settings(command, settings) + fmt::format(" --data DATA --out DIR --only '{}'", cells);
}

FrontierResults read_results(const std::vector<FrontierCell>& cells, const FrontierPlace& place) {
  FrontierResults results;
  for (const FrontierCell& cell : cells) {
    Json result = read_json(place.result_of(cell.name));
    if (!result.is_null()) results[cell.name] = std::move(result);
  }
  return results;
}

std::map<std::string, std::string> failures(const std::vector<FrontierCell>& cells, const FrontierResults& results) {
  std::map<std::string, std::string> why;
  for (const FrontierCell& cell : cells) {
    if (const auto found = results.find(cell.name); found != results.end()) {
      if (found->second.contains("failed")) why[cell.name] = found->second.at("failed");
      continue;
    }
    for (const std::string& needed : needs(cell)) {
      if (why.contains(needed)) why[cell.name] = fmt::format("it needs {}, which failed", needed);
    }
  }
  return why;
}

Json report_frontier(const std::vector<FrontierCell>& cells, const FrontierPlace& place) {
  FrontierResults results = read_results(cells, place);
  Json pending = Json::array(), all = Json::array(), failed = Json::array();
  std::string note;
  const std::map<std::string, std::string> why = failures(cells, results);
  for (const FrontierCell& cell : cells) {
    if (const auto found = why.find(cell.name); found != why.end()) {
      failed.push_back({{"cell", cell.name}, {"why", found->second}});
      note += fmt::format(" {} failed: {}.", cell.name, found->second);
      results.erase(cell.name);
      continue;
    }
    const auto result = results.find(cell.name);
    if (result == results.end()) {
      pending.push_back(cell.name);
      continue;
    }
    // Training time of the whole way to a network.
    double seconds = result->second.at("train_seconds");
    const auto before = results.find(cell.after);
    if (cell.kind != FrontierCell::Kind::direct && before != results.end()) {
      seconds += before->second.at("train_seconds_in_all").get<double>();
    }
    result->second["train_seconds_in_all"] = seconds;
    all.push_back(result->second);
  }
  Json points = Json::array();
  for (const Group& group : grouped(cells, results)) points.push_back(point_of(group, place));
  mark_front(points);
  const Json worth = worth_of(cells, results);
  const Json json = {{"version", 1},     {"recipe", place.recipe}, {"points", points}, {"cells", all},
                     {"failed", failed}, {"pending", pending},     {"worth", worth}};
  write_json(place.out / "frontier.json", json);
  write_page(
      place.out / "index.html",
      {{"title", "Frontier of " + std::filesystem::path(place.recipe).stem().string()},
       {"note", fmt::format("{} of {} cells done. Accuracy of the deployed network on the test images, mean over "
                            "seeds; latency by the runtime, batch 1, one thread.{}",
                            all.size(), cells.size(), note)},
       {"x", axes()},
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
         {{"key", "train_minutes"}, {"label", "training, min"}, {"digits", 1}},
         {{"key", "front"}, {"label", "best for its"}}}},
       {"points", points},
       {"worth", worth}});
  return json;
}

std::string frontier_text(const Json& json, const FrontierPlace& place) {
  Table table({"series", "cell", "top-1 %", "lowest", "highest", "seeds", "non-linear", "layers", "ms", "epochs",
               "best for its"});
  for (const Json& p : json.at("points")) {
    table.add({p.at("series"), p.at("name"), fmt::format("{:.2f}", p.at("top1").get<double>()),
               fmt::format("{:.2f}", p.at("low").get<double>()), fmt::format("{:.2f}", p.at("high").get<double>()),
               std::to_string(p.at("seeds").size()), p.at("nonlinear").dump(), p.at("layers").dump(),
               milliseconds_text(p.at("ms")), p.at("epochs").dump(),
               fmt::format("{}", fmt::join(p.at("front").get<std::vector<std::string>>(), ", "))});
  }
  std::string text = table.str() + (place.out / "index.html").string() + "\n";
  for (const Json& f : json.at("failed")) {
    const std::string cell = f.at("cell");
    text += fmt::format("{} failed: {}\n", cell, f.at("why").get<std::string>());
    if (std::filesystem::exists(place.result_of(cell))) {
      text += fmt::format("  {}\n", how_to_retry(place.result_of(cell)));
    }
  }
  if (!json.at("pending").empty()) text += fmt::format("{} cells are still to be run\n", json.at("pending").size());
  return text;
}

}  // namespace reducenet::cli
