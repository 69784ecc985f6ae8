#include "collapse/random_graph.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <ranges>

#include "collapse/driver.h"
#include "collapse/planner.h"
#include "collapse/region.h"
#include "collapse/shrink.h"
#include "collapse/testing.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/verify.h"
#include "rules/merge.h"
#include "rules/reason.h"

namespace reducenet {
namespace {

using testing::RandomGraph;
using testing::Shrinker;

bool is_full_run() {
  const char* full = std::getenv("REDUCENET_FULL");
  return full && full == std::string_view("1");
}

/// What is wrong with a collapse of the graph: another function, an invariant, a measure that rises, a region that does
/// not hold; empty when nothing is.
std::string fault(const Graph& graph, const Collapsed& result, bool measured) {
  try {
    check(result.graph);
    const double error = testing::relative_error(graph, result.graph, 1);
    if (!(error < 1e-9)) return "the outputs differ by " + std::to_string(error);
    if (measured && measure(result.graph) > measure(graph)) return "the measure rises";
    for (const RegionCheck& region : check_regions(graph, result)) {
      if (region.holds()) continue;
      return region.name + ": error " + std::to_string(region.error_to_bound) + " of the bound, superposition " +
             std::to_string(region.superposition_error);
    }
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

/// One way to collapse.
struct Way {
  const char* name;
  bool linear;  ///< of linear networks
  CollapseOptions options;
  bool may_decline = false;
  std::optional<Freedom> may;  ///< only the rules, given this freedom

  Collapsed run(const Graph& graph) const {
    if (!may) return collapse(graph, options);
    Driver driver(settle(graph), rules(), options);
    driver.run(*may);
    Collapsed result = std::move(driver).finish();
    result.regions = find_regions(graph, result.graph);
    return result;
  }
};

/// Prices of no pattern, that stand for what a device measures: 1 to 1000 for each workload.
double uneven_cost(const Workload& workload) {
  return 1 + static_cast<double>(std::hash<std::string>()(key_of(workload)) % 1000);
}

const std::vector<Way>& ways() {
  static const std::vector<Way> all = {
      {"module", false, {}},
      {"borders", false, {.borders = true}},
      {"reserve", false, {.reserve = true}},
      {"enlarge", false, {}, false, Freedom{.enlarge = true}},
      {"dense", false, {}, false, Freedom{.dense = true}},
      {"plan", false, {.target = Target::plan}},
      {"plan by prices", false, {.target = Target::plan, .cost = uneven_cost}},
      {"conv", true, {.target = Target::conv}, true},
      {"single", true, {.target = Target::single}},
  };
  return all;
}

class Count {
 public:
  void add(const Collapsed& result) {
    for (const Step& step : result.steps) ++fired_[step.rule];
    for (const Refusal& refusal : result.refused) {
      bool known = false;
      for (const std::string_view reason : reason::kAll) {
        if (refusal.why.find(reason) == std::string::npos) continue;
        ++reasons_[reason];
        known = true;
      }
      EXPECT_TRUE(known) << refusal.rule << ": " << refusal.why;
    }
  }

  /// Prints every count; in the full run each must be at least `least`.
  void report(int64_t least) const {
    const auto line = [&](std::string_view what, const auto& counts, std::string_view key) {
      const auto found = counts.find(key);
      const int64_t count = found == counts.end() ? 0 : found->second;
      std::cout << "  " << what << " '" << key << "': " << count << "\n";
      EXPECT_GE(count, least) << what << " '" << key << "'";
    };
    for (const Rule& rule : rules()) line("fired", fired_, rule.name);
    for (const std::string_view reason : reason::kAll) line("refused", reasons_, reason);
  }

 private:
  std::map<std::string, int64_t, std::less<>> fired_;
  std::map<std::string_view, int64_t> reasons_;
};

/// Collapses; nothing when that is declined as unsupported. Any other error is a fault.
std::optional<Collapsed> collapse_if_possible(const Graph& graph, const Way& way) {
  try {
    return way.run(graph);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    return std::nullopt;
  }
}

/// The oracle evaluates the graph at the sizes of the test.
bool is_valid(const Graph& graph) {
  try {
    evaluate(graph, testing::random_inputs(graph, 1));
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Collapses the graph, and says what is wrong; `result` is empty where that is declined.
std::string fault(const Graph& graph, const Way& way, std::optional<Collapsed>& result) {
  try {
    result = collapse_if_possible(graph, way);
    if (!result) return {};
    const Cost cost = way.options.cost ? way.options.cost : macs_cost;
    if (way.options.target == Target::plan &&
        planned_cost(result->graph, cost) > planned_cost(settle(graph), cost) * (1 + 1e-12)) {
      return "the plan costs more";
    }
    return fault(graph, *result, way.options.target == Target::module && !way.options.borders);
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// Refusals of what no oracle evaluates: random dropping, masks that are read, constants past the largest number.
void count_refusals_alone(uint64_t seed, Count& count) {
  Example e(seed);
  const ValueId x = e.conv(e.image());
  const auto large = [&] { return e.constant(Tensor::filled({1}, 1e30)); };
  e.output(e.node(Dropout{.training = true}, {x}));
  const ValueId dropped = e.node(Dropout{}, {x});
  e.output(e.conv(dropped, {.kernel = 1}));
  const Binary mul{Binary::Kind::mul};
  e.output(e.node(mul, {e.node(mul, {e.node(Activation{}, {x}), large()}), large()}));
  Graph graph = std::move(e).finish();
  const ValueId mask = graph.add_value({.name = "mask", .dtype = DType::boolean, .shape = graph[x].shape});
  for (Node& node : graph.nodes) {
    if (node.outputs[0] == dropped) node.outputs.push_back(mask);
  }
  graph.outputs.push_back(mask);
  const Collapsed result = collapse(graph);
  EXPECT_EQ(result.graph.nodes.size(), graph.nodes.size()) << print(result.graph);
  count.add(result);
}

TEST(RandomGraphs, CollapseExactly) {
  const uint64_t graphs = is_full_run() ? 10000 : 300;
  Count count;
  std::map<std::string, int64_t> collapsed, declined;
  for (uint64_t seed = 0; seed < graphs; ++seed) {
    const Graph networks[] = {testing::in_double(RandomGraph(seed, false).build()),
                              testing::in_double(RandomGraph(seed, true).build())};
    for (const Graph& graph : networks) ASSERT_TRUE(is_valid(graph)) << "seed " << seed << "\n" << print(graph);
    for (const Way& way : ways()) {
      const Graph& graph = networks[way.linear ? 1 : 0];
      std::optional<Collapsed> result;
      const std::string wrong = fault(graph, way, result);
      if (!wrong.empty()) {
        std::optional<Collapsed> made;
        const Shrinker shrinker(
            [&](const Graph& smaller) { return is_valid(smaller) && !fault(smaller, way, made).empty(); });
        const Graph small = shrinker.shrink(graph);
        const std::string cause = fault(small, way, made);
        FAIL() << "seed " << seed << ", " << way.name << ": " << wrong << "\n"
               << print(graph) << "shrunk: " << cause << "\n"
               << print(small) << (made ? print(made->graph) : std::string());
      }
      if (result) {
        ++collapsed[way.name];
        count.add(*result);
      } else {
        ++declined[way.name];
        ASSERT_TRUE(way.may_decline) << "seed " << seed << ", " << way.name << "\n" << print(graph);
      }
    }
    if (seed % 50 == 0) count_refusals_alone(seed, count);
  }
  for (const Way& way : ways()) {
    std::cout << "  " << way.name << ": " << collapsed[way.name] << " collapsed, " << declined[way.name]
              << " declined\n";
    EXPECT_GT(collapsed[way.name], 0);
  }
  count.report(is_full_run() ? 100 : 0);
}

// A rule that forgets the border: it merges any two convolutions in a row.
Outcome forgets_the_border(const Site& site) {
  const auto second = view(site.graph, site.node);
  const auto first = second ? view_of_producer(site, second->source) : std::nullopt;
  if (!first || !first->is_conv() || !second->is_conv() || other_readers(site, second->source)) return NoMatch{};
  Patch patch(site.graph);
  LinearMap map = compose(numbers_of(site.graph, *first), numbers_of(site.graph, *second));
  patch.replace(second->result, emit(patch, std::move(map), 4, first->source, "merged"));
  return patch;
}

TEST(RandomGraphs, AFailureShrinksToItsCause) {
  constexpr Rule kBroken{"broken", "", forgets_the_border, nullptr};
  const auto fails = [&](const Graph& graph) {
    const CollapseOptions options;
    Driver driver(graph, {&kBroken, 1}, options);
    driver.run({.enlarge = true});
    const Collapsed result = std::move(driver).finish();
    return !(testing::relative_error(graph, result.graph, 1) < 1e-9);
  };
  int64_t failures = 0;
  for (uint64_t seed = 0; seed < 200 && failures < 10; ++seed) {
    const Graph graph = testing::in_double(RandomGraph(seed, false).build());
    if (!fails(graph)) continue;
    ++failures;
    const Graph small = Shrinker(fails).shrink(graph);
    EXPECT_TRUE(fails(small));
    EXPECT_LE(small.nodes.size(), 3u) << print(graph) << "shrunk:\n" << print(small);
    for (const Node& node : small.nodes) EXPECT_TRUE(std::holds_alternative<Conv2d>(node.op)) << print(small);
  }
  EXPECT_EQ(failures, 10);
}

}  // namespace
}  // namespace reducenet
