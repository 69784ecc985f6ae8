#include "collapse/adjoint.h"

#include <gtest/gtest.h>

#include <numeric>

#include "collapse/testing.h"
#include "rules/example.h"

namespace reducenet {
namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// <L x, y> = <x, Lᵀ y>  with  L x = f(x) − f(0),  for every data input of the graph's only node.
void expect_transposed(Example&& example, uint64_t seed) {
  Graph graph = std::move(example).finish();
  set_batch(graph, 1);
  const Node& node = graph.nodes.at(0);
  ASSERT_EQ(adjoint_obstacle(graph, {0}), "") << print(graph);
  const std::vector<Tensor> x = testing::random_inputs(graph, seed);
  std::vector<Tensor> zeros;
  for (const Tensor& input : x) zeros.push_back(Tensor::filled(input.shape(), 0));
  std::vector<double> lx = evaluate(graph, x)[0].to_doubles();
  const std::vector<double> f0 = evaluate(graph, zeros)[0].to_doubles();
  std::transform(lx.begin(), lx.end(), f0.begin(), lx.begin(), std::minus<>());
  Example draw(seed);
  const Cotangents y = draw.normal({2, static_cast<int64_t>(lx.size())}).to_doubles();  // two rows at once
  const std::vector<Cotangents> transposed = adjoint(graph, {0}, y, 2);
  ASSERT_EQ(transposed.size(), node.inputs.size());
  for (size_t row = 0; row < 2; ++row) {
    const auto slice = [&](const std::vector<double>& all) {
      const auto length = static_cast<int64_t>(all.size() / 2);
      return std::vector<double>(all.begin() + static_cast<int64_t>(row) * length,
                                 all.begin() + static_cast<int64_t>(row + 1) * length);
    };
    double right = 0;
    for (size_t i = 0; i < graph.inputs.size(); ++i) {
      for (size_t k = 0; k < node.inputs.size(); ++k) {
        if (node.inputs[k] == graph.inputs[i]) right += dot(x[i].to_doubles(), slice(transposed[k]));
      }
    }
    const double left = dot(lx, slice(y));
    EXPECT_NEAR(left, right, 1e-10 * (1 + std::abs(left))) << print(graph);
  }
}

template <class Build>
void for_seeds(Build build) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Example e(seed);
    e.output(build(e));
    expect_transposed(std::move(e), seed);
  }
}

TEST(Adjoint, Convolution) {
  for_seeds([](Example& e) { return e.conv(e.image()); });
}

TEST(Adjoint, TransposedConvolution) {
  for_seeds([](Example& e) {
    const ValueId x = e.image();
    const Tensor w = e.normal({e.channels(x), e.integer(1, 3), 3, 2});
    return e.node(ConvTranspose2d{{2, 1}, {1, 0, 0, 1}, {1, 2}, {1, 0}}, {x, e.constant(w)});
  });
}

TEST(Adjoint, MapsOfEachChannel) {
  for_seeds([](Example& e) { return e.batch_norm(e.image()); });
  for_seeds([](Example& e) { return e.scale(e.image()); });
  for_seeds([](Example& e) { return e.node(Unary{}, {e.image()}); });
}

TEST(Adjoint, Matrices) {
  for_seeds([](Example& e) { return e.gemm(e.vector()); });
}

TEST(Adjoint, SumsWithBroadcasting) {
  for_seeds([](Example& e) {
    const ValueId x = e.image();
    return e.add(x, x);
  });
  for_seeds([](Example& e) {
    const ValueId x = e.image();
    return e.node(Binary{Binary::Kind::mul}, {x, e.constant(e.normal({1, e.shape(x)[2], 1}))});
  });
}

TEST(Adjoint, Pools) {
  for_seeds([](Example& e) { return e.node(GlobalAveragePool{}, {e.image()}); });
  for_seeds([](Example& e) {
    const AveragePool op{.kernel = {3, 2},
                         .stride = {2, e.integer(1, 2)},
                         .padding = {1, 0, 1, 1},
                         .ceil_mode = e.chance(0.5),
                         .count_include_pad = e.chance(0.5)};
    return e.node(op, {e.image()});
  });
}

TEST(Adjoint, Movements) {
  for_seeds([](Example& e) { return e.node(Flatten{}, {e.image()}); });
  for_seeds([](Example& e) { return e.node(Transpose{{0, 2, 3, 1}}, {e.image()}); });
  for_seeds([](Example& e) {
    const Pad::Mode modes[] = {Pad::Mode::constant, Pad::Mode::reflect, Pad::Mode::edge};
    return e.node(Pad{modes[e.integer(0, 2)], {0, 0, 2, 1}, {0, 0, 0, 3}, 0.5}, {e.image()});
  });
  for_seeds([](Example& e) { return e.node(Pad{.begin = {0, 1, -2, 1}, .end = {0, 0, 1, -1}}, {e.image()}); });
  for_seeds([](Example& e) {
    const ValueId x = e.image();
    return e.node(Concat{.axis = e.chance(0.5) ? 1 : -1}, {x, x});
  });
}

TEST(Adjoint, WhatIsNotLinearIsNamed) {
  Example e(1);
  e.output(e.node(Activation{}, {e.image()}));
  EXPECT_NE(adjoint_obstacle(std::move(e).finish(), {0}).find("(Relu) is not linear"), std::string::npos);
}

}  // namespace
}  // namespace reducenet
