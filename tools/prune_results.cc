#include "prune_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "records.h"
#include "table.h"

namespace reducenet::cli {
namespace {

namespace fs = std::filesystem;

std::string percent(const Json& share, int digits = 2) {
  return fmt::format("{:.{}f}", 100 * share.get<double>(), digits);
}

}  // namespace

double best_of(const Json& points, const char* stage) {
  double best = -1;
  for (const Json& point : points) best = std::max(best, point.value(stage, -1.0));
  return best;
}

Json summary_of(const std::vector<Json>& points, const std::string& criterion, double within) {
  Json json = {{"criterion", criterion}};
  double search = 0, scoring = 0;
  int64_t count = 0;
  std::vector<double> ms;
  for (const Json& p : points) {
    if (p.at("series") != criterion) continue;
    search += p.at("search_seconds").get<double>();
    scoring += p.at("score_seconds").get<double>();
    ms.push_back(p.at("ms"));
    ++count;
  }
  if (count == 0) return json;
  std::ranges::sort(ms);
  json["samples"] = count;
  json["score_seconds"] = scoring;
  json["search_seconds"] = search;
  json["median_ms"] = ms[ms.size() / 2];
  for (const PruneStage& stage : kPruneStages) {
    std::vector<double> top1;
    for (const Json& p : points) {
      if (p.at("series") == criterion && p.contains(stage.key)) top1.push_back(p.at(stage.key));
    }
    if (top1.empty()) continue;
    double mean = 0;
    for (const double t : top1) mean += t / static_cast<double>(top1.size());
    const double least = best_of(points, stage.key) - within;
    const auto good = std::ranges::count_if(top1, [&](double t) { return t >= least; });
    json[stage.key] = {{"first", top1.front()},
                       {"mean", mean},
                       {"min", *std::ranges::min_element(top1)},
                       {"max", *std::ranges::max_element(top1)},
                       {"count", top1.size()},
                       {"yield", static_cast<double>(good) / static_cast<double>(top1.size())}};
  }
  return json;
}

std::string prune_text(const Json& json) {
  const Json &whole = json.at("whole"), &best = json.at("best");
  Table table({"criterion", "stage", "sub-networks", "best %", "mean %", "worst %",
               fmt::format("yield within {:g} %", 100 * json.at("within").get<double>()), "search s", "median ms"});
  for (const Json& c : json.at("criteria")) {
    for (const PruneStage& stage : kPruneStages) {
      if (!c.contains(stage.key)) continue;
      const Json& s = c.at(stage.key);
      table.add({c.at("criterion"), stage.label, s.at("count").dump(), percent(s.at("max")), percent(s.at("mean")),
                 percent(s.at("min")), percent(s.at("yield"), 0) + " %",
                 fmt::format("{:.2f}", c.at("score_seconds").get<double>() + c.at("search_seconds").get<double>()),
                 milliseconds_text(c.at("median_ms"))});
    }
  }
  std::string text =
      fmt::format("whole network: {} %, {} ms\n", percent(whole.at("top1")), milliseconds_text(whole.at("ms"))) +
      table.str();
  if (!best.is_null()) {
    text +=
        fmt::format("best: {}, {} % on held-out images, {} % on {} test images\n", best.at("name").get<std::string>(),
                    percent(best.at("held_out_top1")), percent(best.at("test_top1")), best.at("test_images").dump());
  }
  return text + (fs::path(json.at("out").get<std::string>()) / "index.html").string() + "\n";
}

void write_prune_page(const Json& json) {
  const Json& settings = json.at("settings");
  Json points = json.at("points"), axes = Json::array(), columns = Json::array();
  columns.push_back({{"key", "name"}, {"label", "sub-network"}});
  for (const PruneStage& stage : kPruneStages) {
    if (best_of(json.at("points"), stage.key) < 0) continue;
    const Json axis = {{"key", stage.key}, {"label", fmt::format("top-1 on held-out images, %: {}", stage.label)}};
    axes.insert(axes.begin(), axis);
    columns.push_back({{"key", stage.key}, {"label", fmt::format("{}, %", stage.label)}, {"digits", 2}});
    // From best to worst: where a curve falls off is its yield.
    for (const Json& summary : json.at("criteria")) {
      const Json& criterion = summary.at("criterion");
      std::vector<Json*> ranked;
      for (Json& p : points) {
        if (p.at("series") == criterion && p.contains(stage.key)) ranked.push_back(&p);
      }
      std::ranges::stable_sort(ranked, std::greater<>(), [&](const Json* p) { return p->at(stage.key).get<double>(); });
      for (size_t i = 0; i < ranked.size(); ++i) (*ranked[i])["rank"] = i + 1;
    }
  }
  for (Json& p : points) {
    for (const PruneStage& stage : kPruneStages) {
      if (p.contains(stage.key)) p[stage.key] = 100 * p[stage.key].get<double>();
    }
    p["mmacs"] = p.at("macs").get<double>() / 1e6;
  }
  for (const auto& [key, label, digits] :
       {std::tuple{"ms", "ms", 3}, {"mmacs", "M MACs", 2}, {"parts", "parts left", 0}}) {
    columns.push_back({{"key", key}, {"label", label}, {"digits", digits}});
  }
  write_page(
      fs::path(json.at("out").get<std::string>()) / "index.html",
      {{"title", "Sub-networks of " + settings.at("model").get<std::string>()},
       {"note", fmt::format("{:g} % of the multiply-accumulates are cut, or more. Accuracy on {} training images that "
                            "were held out; the whole network has {} %.",
                            100 * settings.at("ratio").get<double>(), json.at("held_out_images").get<int64_t>(),
                            percent(json.at("whole").at("top1")))},
       {"x",
        {{{"key", "rank"}, {"label", "rank among the criterion's sub-networks"}, {"path", true}},
         latency_axis(),
         {{"key", "mmacs"}, {"label", "million multiply-accumulates"}}}},
       {"y", axes},
       {"columns", columns},
       {"points", points}});
}

}  // namespace reducenet::cli
