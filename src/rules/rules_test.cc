#include <gtest/gtest.h>

#include "collapse/driver.h"
#include "collapse/testing.h"
#include "reducenet/error.h"

namespace reducenet {

void PrintTo(const Rule& rule, std::ostream* out) {
  *out << rule.name;
}

namespace {

using testing::in_double;
using testing::relative_error;

class EveryRule : public ::testing::TestWithParam<Rule> {};

Collapsed apply_alone(const Rule& rule, const Graph& graph) {
  const CollapseOptions options;
  Driver driver(graph, {&rule, 1}, options);
  driver.run({.enlarge = !rule.at_borders, .dense = true, .borders = rule.at_borders, .reserve = true});
  return std::move(driver).finish();
}

TEST_P(EveryRule, FiresOnItsExamplesAndKeepsTheFunction) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Graph graph = in_double(GetParam().example(seed, true));
    const Collapsed result = apply_alone(GetParam(), graph);
    ASSERT_FALSE(result.steps.empty()) << "seed " << seed << "\n" << print(graph);
    EXPECT_NO_THROW(check(result.graph)) << print(result.graph);
    if (GetParam().at_borders) {
      EXPECT_LT(measure(result.graph).work, measure(graph).work);
    } else {
      EXPECT_LT(measure(result.graph), measure(graph));
    }
    ASSERT_LT(relative_error(graph, result.graph, seed), 1e-9) << "seed " << seed << "\n"
                                                               << print(graph) << print(result.graph);
  }
}

TEST_P(EveryRule, LeavesItsCounterExamplesAlone) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Graph graph = GetParam().example(seed, false);
    const Collapsed result = apply_alone(GetParam(), graph);
    ASSERT_TRUE(result.steps.empty()) << "seed " << seed << "\n" << print(graph) << print(result.graph);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, EveryRule, ::testing::ValuesIn(rules().begin(), rules().end()), [](const auto& info) {
  std::string name(info.param.name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace reducenet
