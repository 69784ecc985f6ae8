// How long a collapse takes: loading, merging, the certificates of its regions; medians over runs, for the networks or
// model files named. First, the search alone: a graph of 1,000 nodes whose layers are tiny.
//
//   build/bench/collapse_speed [NAME|FILE …]      (default: reduce20 reduce56)
//   build/bench/collapse_speed --search           the search alone, as JSON

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/verify.h"

using namespace reducenet;
using Clock = std::chrono::steady_clock;

namespace {

double milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void measure_search(bool json) {
  constexpr int kRuns = 11;
  const Graph graph = faded(build("reduce", {.modules = 48, .widths = {2, 2, 2}, .height = 8, .width = 8}));
  const Graph merged = collapse(graph).graph;
  std::vector<double> all, plan, nothing;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = Clock::now();
    collapse(graph);
    const auto collapsed = Clock::now();
    collapse(graph, {.target = Target::plan});
    const auto planned = Clock::now();
    collapse(merged);
    all.push_back(milliseconds(collapsed - start));
    plan.push_back(milliseconds(planned - collapsed));
    nothing.push_back(milliseconds(Clock::now() - planned));
  }
  if (json) {
    std::printf(
        "{\"nodes_before\": %zu, \"nodes_after\": %zu, \"runs\": %d, \"module_ms\": %.2f, \"plan_ms\": %.2f, "
        "\"nothing_ms\": %.2f}\n",
        graph.nodes.size(), merged.nodes.size(), kRuns, median(all), median(plan), median(nothing));
    return;
  }
  std::printf("search: %zu nodes -> %zu in %.1f ms, by a plan in %.1f ms; nothing to find among %zu in %.1f ms\n",
              graph.nodes.size(), merged.nodes.size(), median(all), median(plan), merged.nodes.size(), median(nothing));
}

void measure_one(const std::string& name) {
  const bool is_file = std::filesystem::path(name).has_extension();
  const int runs = is_file ? 3 : 11;
  std::vector<double> loading, merging, checking;
  size_t before = 0, nodes = 0, regions = 0;
  double worst = 0;
  for (int run = 0; run < runs; ++run) {
    const auto start = Clock::now();
    const Graph graph = faded(is_file ? load(name) : build(name, {}));
    const auto loaded = Clock::now();
    const Collapsed collapsed = collapse(graph);
    const auto merged = Clock::now();
    const std::vector<RegionCheck> checks = check_regions(graph, collapsed);
    checking.push_back(milliseconds(Clock::now() - merged));
    merging.push_back(milliseconds(merged - loaded));
    loading.push_back(milliseconds(loaded - start));
    before = graph.nodes.size();
    nodes = collapsed.graph.nodes.size();
    regions = checks.size();
    for (const RegionCheck& check : checks) worst = std::max(worst, check.error_to_bound);
  }
  std::printf(
      "%s: %zu nodes -> %zu; %s %.1f ms, collapse %.1f ms, certificates of %zu regions %.1f ms (errors at most %.2g of "
      "what rounding explains); medians of %d\n",
      name.c_str(), before, nodes, is_file ? "load" : "build", median(loading), median(merging), regions,
      median(checking), worst, runs);
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> names(argv + 1, argv + argc);
  const bool search_only = names == std::vector<std::string>{"--search"};
  if (names.empty()) names = {"reduce20", "reduce56"};
  measure_search(search_only);
  if (search_only) return 0;
  for (const std::string& name : names) measure_one(name);
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.kind());
}
