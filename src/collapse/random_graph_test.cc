#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "collapse/testing.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/verify.h"
#include "rules/example.h"

namespace reducenet {
namespace {

/// Random networks of images: chains, branches that meet in sums and (unless all is to be linear) several readers,
/// shared weights and non-linear ops between; half of them end in pool or flatten and matrices.
class RandomGraph {
 public:
  RandomGraph(uint64_t seed, bool linear) : e_(seed), linear_(linear) {}

  Graph build() && {
    ValueId x = e_.image();
    const int64_t blocks = e_.integer(1, 4);
    for (int64_t i = 0; i < blocks; ++i) {
      x = e_.chance(0.4) ? sum(x) : layers(x, e_.integer(1, 4));
      if (!linear_ && e_.chance(0.3))
        x = e_.node(Activation{e_.chance(0.5) ? Activation::Kind::relu : Activation::Kind::tanh}, {x});
      if (!linear_) e_.maybe_read_again(x);
    }
    e_.output(e_.chance(linear_ ? 0.98 : 0.5) ? head(x) : x);
    return std::move(e_).finish();
  }

 private:
  bool is_small(ValueId x) { return e_.shape(x)[2] < 4 || e_.shape(x)[3] < 4; }

  ValueId layer(ValueId x) {
    const auto margin = [&] { return e_.chance(0.7) ? e_.integer(0, 2) : -1; };
    switch (e_.integer(0, 10)) {
      case 0:
      case 1:
        return e_.batch_norm(x, e_.chance(0.8));
      case 2:
        return e_.scale(x);
      case 3:
        return e_.conv(x, {.kernel = 1, .stride = 1, .padding = Padding{}});
      case 4:
        return e_.conv(x, {.out = e_.channels(x), .groups = e_.channels(x)});
      case 5:
        if (is_small(x)) return x;
        return e_.node(Pad{.begin = {0, 0, margin(), margin()}, .end = {0, 0, margin(), margin()}}, {x});
      case 6:
        return identity(x);
      case 7:
        return e_.conv_transpose(x);
      default:
        return is_small(x) ? e_.conv(x, {.kernel = 1, .stride = 1})
                           : e_.conv(x, e_.chance(0.4) ? ConvChoice{.padding = Padding{}} : ConvChoice{});
    }
  }

  ValueId identity(ValueId x) {
    switch (e_.integer(0, 4)) {
      case 0:
        return e_.node(Identity{}, {x});
      case 1:
        return e_.node(Dropout{}, {x});
      case 2:
        return e_.node(Fade{.activation = {Activation::Kind::gelu}, .lambda = 0}, {x});
      case 3:
        return e_.node(Activation{Activation::Kind::leaky_relu, 1}, {x});
      default:
        return e_.node(PRelu{}, {x, e_.constant(Tensor::filled({1}, 1))});
    }
  }

  ValueId layers(ValueId x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      x = layer(x);
      if (!linear_ && e_.chance(0.05)) e_.maybe_read_again(x);
    }
    return x;
  }

  /// Two to four branches of one input, made to agree in shape by what each ends with.
  ValueId sum(ValueId x) {
    const int64_t out = e_.chance(0.6) ? e_.channels(x) : e_.integer(1, 6), stride = e_.chance(0.7) ? 1 : 2;
    ValueId total = branch(x, out, stride);
    for (int64_t i = e_.integer(1, 3); i > 0; --i) {
      const ValueId next = branch(x, out, stride);
      total = e_.chance(0.5) ? e_.add(total, next) : e_.add(next, total);
    }
    return total;
  }

  ValueId branch(ValueId x, int64_t out, int64_t stride) {
    const bool same = out == e_.channels(x) && stride == 1;
    if (same && e_.chance(0.3)) return e_.chance(0.5) ? x : e_.batch_norm(x);
    if (out == e_.channels(x) && e_.chance(0.2)) {
      return e_.node(AveragePool{.kernel = {3, 3},
                                 .stride = {stride, stride},
                                 .padding = {1, 1, 1, 1},
                                 .count_include_pad = e_.chance(0.7)},
                     {x});
    }
    if (e_.chance(0.3)) x = e_.conv(x, {.kernel = 1, .stride = 1, .padding = Padding{}, .bias = e_.chance(0.3)});
    const int64_t half = e_.integer(0, 2), dilation = e_.integer(1, 2), reach = half * dilation;
    ValueId y = e_.conv(x, {.out = out,
                            .kernel = 2 * half + 1,
                            .stride = stride,
                            .dilation = dilation,
                            .padding = Padding{reach, reach, reach, reach}});
    if (e_.chance(0.5)) y = e_.batch_norm(y);
    if (!linear_ && e_.chance(0.15)) y = e_.node(Activation{}, {y});
    if (e_.chance(0.3)) y = e_.conv(y, {.out = out, .kernel = 1, .stride = 1, .padding = Padding{}});
    return e_.chance(0.2) ? e_.scale(y) : y;
  }

  ValueId head(ValueId x) {
    if (e_.chance(0.5)) x = e_.node(GlobalAveragePool{}, {x});
    if (e_.chance(0.3)) x = e_.scale(x);
    x = e_.gemm(e_.node(Flatten{}, {x}), e_.integer(2, 5));
    if (e_.chance(0.3)) x = e_.batch_norm(x);
    if (e_.chance(0.3)) x = e_.add(x, e_.gemm(x, e_.channels(x)));
    return e_.chance(0.5) ? e_.gemm(x) : x;
  }

  Example e_;
  bool linear_;
};

uint64_t graphs_to_try() {
  const char* full = std::getenv("REDUCENET_FULL");
  return full && full == std::string_view("1") ? 10000 : 400;
}

class RandomGraphs : public ::testing::Test {
 protected:
  /// Collapses every graph and compares it with the oracle in double; counts what fired and what was refused.
  void collapse_all(Target target, bool linear) {
    for (uint64_t seed = 0; seed < graphs_to_try(); ++seed) {
      const Graph graph = testing::in_double(RandomGraph(seed, linear).build());
      Collapsed result;
      try {
        result = collapse(graph, {.target = target});
      } catch (const Error& error) {
        ASSERT_EQ(error.kind(), ErrorKind::unsupported) << "seed " << seed << ": " << error.what() << "\n"
                                                        << print(graph);
        ++declined_;
        continue;
      }
      ASSERT_NO_THROW(check(result.graph)) << "seed " << seed << "\n" << print(graph) << print(result.graph);
      ASSERT_LT(testing::relative_error(graph, result.graph, seed), 1e-9) << "seed " << seed << "\n"
                                                                          << print(graph) << print(result.graph);
      if (target != Target::single) {
        ASSERT_LE(measure(result.graph), measure(graph));
      }
      for (const RegionCheck& region : check_regions(graph, result)) {
        ASSERT_TRUE(region.holds()) << "seed " << seed << ", " << region.name << ": " << region.error_to_bound
                                    << " of the bound, superposition " << region.superposition_error << "\n"
                                    << print(graph) << print(result.graph);
      }
      for (const Step& step : result.steps) ++fired_[step.rule];
      for (const Refusal& refusal : result.refused) ++refused_[refusal.rule];
      ++collapsed_;
    }
  }

  void TearDown() override {
    for (const Rule& rule : rules()) {
      RecordProperty(std::string(rule.name), std::to_string(fired_[std::string(rule.name)]));
      std::cout << "  " << rule.name << ": fired " << fired_[std::string(rule.name)] << ", refused "
                << refused_[std::string(rule.name)] << "\n";
    }
    std::cout << "  graphs: " << collapsed_ << " collapsed, " << declined_ << " declined\n";
  }

  std::map<std::string, int64_t> fired_, refused_;
  int64_t collapsed_ = 0, declined_ = 0;
};

TEST_F(RandomGraphs, ModulesCollapseExactly) {
  collapse_all(Target::module, false);
  EXPECT_EQ(declined_, 0);
}

TEST_F(RandomGraphs, PlansCollapseExactly) {
  collapse_all(Target::plan, false);
  EXPECT_EQ(declined_, 0);
}

TEST_F(RandomGraphs, BackbonesCollapseExactlyOrAreRefused) {
  collapse_all(Target::conv, true);
  EXPECT_GT(collapsed_, 0);
  EXPECT_GT(declined_, 0);
}

TEST_F(RandomGraphs, LinearNetworksCollapseToOneMapExactly) {
  collapse_all(Target::single, true);
  EXPECT_EQ(declined_, 0);
}

}  // namespace
}  // namespace reducenet
