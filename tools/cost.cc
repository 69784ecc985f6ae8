#include "cost.h"

#include <fmt/format.h>

#include <algorithm>

#include "reducenet/collapse.h"
#include "reducenet/error.h"

namespace reducenet::cli {
namespace {

constexpr int64_t kMostNotes = 8;

bool has_open_sizes(const Graph& graph) {
  return std::ranges::any_of(graph.inputs, [&](ValueId id) {
    const auto& shape = graph[id].shape;
    return !shape || std::any_of(shape->begin() + std::min<int64_t>(1, std::ssize(*shape)), shape->end(),
                                 [](int64_t dim) { return dim < 0; });
  });
}

}  // namespace

void add_engine(CLI::App& app, CostOptions& options, const std::string& what) {
  const std::map<std::string, Engine> engines{{"reducenet", Engine::reducenet}, {"onnxruntime", Engine::onnxruntime}};
  app.add_option("--engine", options.engine, what)
      ->transform(CLI::CheckedTransformer(engines))
      ->option_text("reducenet|onnxruntime")
      ->each([&options](const std::string&) { options.engine_named = true; });
}

ChosenCost::ChosenCost(const CostOptions& options) : measure_(options.cost), options_(options) {
  if (measure_.empty()) measure_ = options.engine_named ? "measured" : "macs";
  if (measure_ == "macs") {
    if (options.engine_named) throw Error(ErrorKind::usage, "--engine is for --cost measured");
  } else if (measure_ == "measured") {
    watch_ = std::make_unique<Stopwatch>(MeasureOptions{
        .engine = options.engine, .threads = options.threads, .cache = default_cache(options.engine, options.threads)});
    cost_ = watch_->cost();
  } else {
    CostTable table = load_costs(measure_);
    if (options.engine_named && table.engine != name_of(options.engine)) {
      throw Error(ErrorKind::usage,
                  fmt::format("{} holds costs of {}, not of {}", measure_, table.engine, name_of(options.engine)));
    }
    cost_ = table_cost(std::move(table), [count = interpolated_](const std::string& message) {
      if (++*count <= kMostNotes) warn(message);
    });
  }
}

Json ChosenCost::finish(const Graph& before, const Graph& after) {
  Json json{{"measure", measure_}, {"unit", measure_ == "macs" ? "MACs" : "ms"}};
  if (watch_) {
    json["engine"] = std::string(name_of(options_.engine));
    json["threads"] = options_.threads;
  }
  const bool open = has_open_sizes(before);
  const Cost cost = cost_ ? cost_ : macs_cost;
  json["before"] = open ? Json() : Json(total_cost(settle(before), cost));
  json["after"] = open ? Json() : Json(total_cost(after, cost));
  if (watch_) {
    watch_->save();
    json["workloads"] = watch_->asked().entries.size();
    json["measured_now"] = watch_->measured();
  } else if (measure_ != "macs") {
    json["interpolated"] = *interpolated_;
    if (*interpolated_ > kMostNotes) warn(fmt::format("{} costs were interpolated in all", *interpolated_));
  }
  return json;
}

CostTable measure_costs(const Graph& graph, Engine engine, int threads) {
  Stopwatch watch({.engine = engine, .threads = threads, .cache = {}});
  total_cost(graph, watch.cost());
  collapse(graph, {.target = Target::plan, .cost = watch.cost()});
  return watch.asked();
}

}  // namespace reducenet::cli
