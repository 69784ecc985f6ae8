#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "reducenet/builder.h"
#include "runtime/narrow.h"

namespace reducenet {
namespace {

/// Costs of a chain's layers by the narrow form of what they read and write, and of a conversion into it.
struct ChainCosts {
  std::vector<double> floats, reads, both;
  double conversion;

  /// Of the chain where the layers `wanted` names are narrow: one that feeds a narrow one stores narrow.
  double of(const std::vector<bool>& wanted) const {
    double sum = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const bool feeds = i + 1 < wanted.size() && wanted[i + 1];
      sum += !wanted[i] ? floats[i] : feeds ? both[i] : reads[i];
      if (wanted[i] && (i == 0 || !wanted[i - 1])) sum += conversion;
    }
    return sum;
  }
};

TEST(Narrow, FindsTheLayersOfAChainThatPay) {
  constexpr size_t kLayers = 9;
  GraphBuilder b("chain");
  ValueId x = b.input("x", {1, 16, 4, 4});
  for (size_t i = 0; i < kLayers; ++i) {
    const std::string number = std::to_string(i);
    x = b.activation("relu" + number, b.conv(number, x, 16, {1, 1}, {}, true), {Activation::Kind::relu});
  }
  b.output(x);
  const Program lowered = lower(std::move(b).finish(), 1);
  ASSERT_EQ(lowered.steps.size(), kLayers);
  std::mt19937_64 random(17);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::set<std::vector<bool>> seen;
  for (int trial = 0; trial < 200; ++trial) {
    ChainCosts costs{{}, {}, {}, uniform(random)};
    for (size_t i = 0; i < kLayers; ++i) {
      costs.floats.push_back(1 + uniform(random));
      costs.both.push_back(1 + uniform(random));
      costs.reads.push_back(costs.both.back() + (uniform(random) - 0.5) * costs.conversion);
    }
    for (const DType dtype : {DType::i8, DType::bf16}) {
      const Layout narrow = dtype == DType::i8 ? Layout::bytes : Layout::halves;
      Program program = lowered;
      mark_narrow(program, dtype, nullptr);
      keep_what_pays(program, dtype,
                     {[&](const Step& step) {
                        const size_t i = std::stoul(step.node);
                        if (!step.in_layout) return costs.floats[i];
                        return (step.out_layout == narrow ? costs.both : costs.reads)[i];
                      },
                      [&](const Shape&, Layout, Layout to) {
                        EXPECT_EQ(to, narrow);
                        return costs.conversion;
                      }});
      std::vector<bool> found;
      for (const Step& step : program.steps) found.push_back(step.in_layout == narrow);
      double least = costs.of(found);
      for (size_t choice = 0; choice < size_t{1} << kLayers; ++choice) {
        std::vector<bool> wanted(kLayers);
        for (size_t i = 0; i < kLayers; ++i) wanted[i] = choice >> i & 1;
        least = std::min(least, costs.of(wanted));
      }
      EXPECT_NEAR(costs.of(found), least, 1e-12) << "trial " << trial;
      seen.insert(found);
    }
  }
  EXPECT_GT(seen.size(), 50u);
}

}  // namespace
}  // namespace reducenet
