// How long a collapse takes, its per-region certificates included: medians over runs, for the networks named.
//
//   build/bench/collapse_speed [NAME …]      (default: reduce20 reduce56)

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
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

void measure_one(const char* name) {
  Graph graph = build(name, {});
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 0;
  }
  std::vector<double> merging, checking;
  size_t nodes = 0, regions = 0;
  double worst = 0;
  for (int run = 0; run < 11; ++run) {
    const auto start = Clock::now();
    const Collapsed collapsed = collapse(graph);
    const auto merged = Clock::now();
    const std::vector<RegionCheck> checks = check_regions(graph, collapsed);
    const auto checked = Clock::now();
    merging.push_back(milliseconds(merged - start));
    checking.push_back(milliseconds(checked - merged));
    nodes = collapsed.graph.nodes.size();
    regions = checks.size();
    for (const RegionCheck& check : checks) worst = std::max(worst, check.max_abs_error);
  }
  std::printf(
      "%s: %zu nodes -> %zu; collapse %.1f ms, certificates of %zu regions %.1f ms (largest error %.1e); medians of "
      "%zu\n",
      name, graph.nodes.size(), nodes, median(merging), regions, median(checking), worst, merging.size());
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<const char*> names(argv + 1, argv + argc);
  if (names.empty()) names = {"reduce20", "reduce56"};
  for (const char* name : names) measure_one(name);
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.kind());
}
