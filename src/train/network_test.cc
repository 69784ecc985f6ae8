#include "train/network.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <random>

#include "reducenet/builder.h"
#include "reducenet/error.h"

namespace reducenet::train {
namespace {

constexpr Activation relu{Activation::Kind::relu};

/// Every kind of step: a stride, asymmetric padding, branches, residuals, fades, a shared weight, a pool and a head.
Graph example() {
  GraphBuilder b("example", 3);
  ValueId x = b.input("x", {-1, 3, 9, 7});
  x = b.conv("stem", x, 6, {3, 3}, {.padding = {1, 1, 1, 1}});
  x = b.activation("stem.act", b.batch_norm("stem.bn", x), relu);
  ValueId y = b.conv("a", x, 10, {3, 3}, {.padding = {0, 1, 2, 1}}, true);
  y = b.fade("a.fade", b.batch_norm("a.bn", y), relu);
  y = b.batch_norm("b.bn", b.conv("b", y, 6, {1, 1}, {}));
  const ValueId branch = b.batch_norm("c.bn", b.conv("c", x, 6, {1, 1}, {}));
  x = b.activation("sum.act", b.add("sum2", b.add("sum", y, branch), x), {Activation::Kind::leaky_relu, 0.1});
  x = b.add("plain", b.fade("gelu", b.batch_norm("d.bn", x), {Activation::Kind::gelu}), x);
  x = b.conv("down", x, 8, {3, 3}, {.stride = {2, 2}, .padding = {1, 1, 1, 1}, .groups = 2});
  x = b.node("prelu", PRelu{}, {x, b.constant("slope", Tensor::filled({8, 1, 1}, 0.2))});
  x = b.node("pool", GlobalAveragePool{}, {x});
  x = b.node("flat", Flatten{}, {x});
  b.output(b.gemm("fc", x, 5));
  return std::move(b).finish();
}

at::Tensor images(int64_t count) {
  return at::randn({count, 3, 9, 7});
}

Tensor to_graph(const at::Tensor& t) {
  const at::Tensor plain = t.detach().contiguous();
  return Tensor::of(plain.sizes().vec(), std::span<const float>(plain.data_ptr<float>(), plain.numel()));
}

double distance(const at::Tensor& a, const Tensor& b) {
  const std::vector<double> expected = b.to_doubles();
  const at::Tensor reference =
      at::from_blob(const_cast<double*>(expected.data()), a.sizes(), at::TensorOptions(at::kDouble));
  return (a.detach().to(at::kDouble) - reference).abs().max().item<double>() / reference.abs().max().item<double>();
}

class NetworkTest : public testing::TestWithParam<NetworkOptions> {
 protected:
  void SetUp() override { at::manual_seed(1); }
};

TEST_P(NetworkTest, EachWatcherHasItsOwnValues) {
  using enum Network::Watcher;
  Network network(example(), GetParam());
  const Graph graph = network.graph();
  const ValueId pool = graph.find_value("pool"), down = graph.find_value("down");
  network.watch({down, pool}, features);
  network.watch({pool}, gates);
  network.forward(images(2), false);
  ASSERT_EQ(network.watched(features).size(), 2U);
  ASSERT_EQ(network.watched(gates).size(), 1U);
  EXPECT_EQ(network.watched(features)[0].sizes(), (std::vector<int64_t>{2, 8, 5, 4}));
  EXPECT_TRUE(at::equal(network.watched(features)[1], network.watched(gates)[0]));
  network.watch({}, gates);
  network.forward(images(2), false);
  EXPECT_EQ(network.watched(features).size(), 2U);
  EXPECT_TRUE(network.watched(gates).empty());
}

TEST_P(NetworkTest, AtInferenceIsTheGraph) {
  Network network(example(), GetParam());
  network.set_fade(0, 0.3);
  network.set_fade(1, 0.6);
  for (int i = 0; i < 3; ++i) network.forward(images(8) * 2 + 1, true);  // statistics that are not trivial
  const at::Tensor x = images(4);
  const at::Tensor y = network.forward(x, false);
  const Tensor input = to_graph(x);
  EXPECT_LT(distance(y, evaluate(network.graph(), {&input, 1}).front()), 1e-5);
}

TEST_P(NetworkTest, ReducesAsTheGraphDoes) {
  using Kind = Reduce::Kind;
  for (const Kind kind : {Kind::sum, Kind::mean, Kind::min, Kind::max, Kind::l1, Kind::l2, Kind::sum_square,
                          Kind::log_sum, Kind::log_sum_exp}) {
    for (const bool by_input : {false, true}) {
      GraphBuilder b("reduced", 3);
      const ValueId x = b.activation("positive", b.input("x", {-1, 3, 9, 7}), {Activation::Kind::softplus});
      std::vector<ValueId> inputs{x};
      if (by_input) inputs.push_back(b.constant("axes", Tensor::of({2}, std::vector<int64_t>{-1, 2})));
      const Reduce op{.kind = kind, .axes = by_input ? std::vector<int64_t>{} : std::vector<int64_t>{2, 3}};
      b.output(b.node("reduce", op, inputs));
      const Graph graph = std::move(b).finish();
      const at::Tensor image = images(4);
      const Tensor input = to_graph(image);
      const at::Tensor y = Network(graph, GetParam()).forward(image, true);
      EXPECT_LT(distance(y, evaluate(graph, {&input, 1}).front()), 1e-5) << describe(Op(op));
    }
  }
}

/// What imported networks do between their layers. x: [4, 8, 6, 10].
TEST_P(NetworkTest, MovesSelectsAndNormalizesAsTheGraphDoes) {
  const auto ints = [](std::vector<int64_t> values) {
    return Tensor::of({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values));
  };
  const auto ramp = [](int64_t count) {
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(0.5 + 0.25 * static_cast<double>(i));
    return Tensor::from_doubles({count}, values, DType::f32);
  };
  const auto scales = [](std::vector<double> values) {
    return Tensor::from_doubles({static_cast<int64_t>(values.size())}, values, DType::f32);
  };
  const Tensor none = Tensor::filled({0}, 0);
  using Kind = SpaceDepth::Kind;
  struct Case {
    Op op;
    std::vector<Tensor> further;
  };
  const Case cases[] = {
      {Slice{.starts = {2, -3}, .ends = {99, -1}, .axes = {1, -1}}, {}},
      {Slice{}, {ints({7, 4}), ints({-99, 0}), ints({1, 3}), ints({-2, -1})}},
      {Squeeze{.insert = true, .axes = {1, -1}}, {}},
      {Gather{.axis = 1}, {Tensor::of({2, 2}, std::vector<int64_t>{3, -1, 0, 3})}},
      {Gather{.axis = -1}, {Tensor::of({}, std::vector<int64_t>{-2})}},
      {SpaceDepth{Kind::depth_to_space, 2}, {}},
      {SpaceDepth{Kind::depth_to_space_crd, 2}, {}},
      {SpaceDepth{Kind::space_to_depth, 2}, {}},
      {GlobalMaxPool{}, {}},
      {Lrn{.size = 5, .alpha = 0.3, .beta = 0.6, .bias = 2}, {}},
      {Lrn{.size = 4, .alpha = 2}, {}},
      {Repeat{Repeat::Kind::tile}, {ints({1, 2, 1, 3})}},
      {Repeat{Repeat::Kind::expand}, {ints({2, 1, 8, 1, 10})}},
      {Resize{}, {none, scales({1, 1, 2, 3})}},
      {Resize{.mode = Resize::Mode::linear}, {none, scales({1, 1, 2, 0.7})}},
      {Resize{.mode = Resize::Mode::linear, .coordinates = Resize::Coordinates::align_corners},
       {none, none, ints({4, 8, 9, 5})}},
      {Resize{.mode = Resize::Mode::cubic, .exclude_outside = true}, {none, none, ints({4, 8, 13, 10})}},
      {Variadic{Variadic::Kind::sum}, {Tensor::filled({10}, 0.3), Tensor::filled({8, 1, 1}, -0.1)}},
      {Variadic{Variadic::Kind::mean}, {ramp(10)}},
      {Variadic{Variadic::Kind::min}, {ramp(10)}},
      {Variadic{Variadic::Kind::max}, {ramp(10)}},
      {Normalize{.kind = Normalize::Kind::layer, .axis = -1}, {ramp(10), ramp(10)}},
      {Normalize{.kind = Normalize::Kind::layer, .axis = 3}, {ramp(10)}},
      {Normalize{.kind = Normalize::Kind::instance}, {ramp(8), ramp(8)}},
      {Normalize{.kind = Normalize::Kind::group, .groups = 4}, {ramp(8), ramp(8)}},
      {Normalize{.kind = Normalize::Kind::group, .groups = 4, .per_group = true}, {ramp(4), ramp(4)}},
  };
  for (const Case& c : cases) {
    GraphBuilder b("moved", 3);
    std::vector<ValueId> inputs{b.input("x", {-1, 8, 6, 10})};
    for (size_t i = 0; i < c.further.size(); ++i) {
      inputs.push_back(b.constant("further" + std::to_string(i), c.further[i]));
    }
    b.output(b.node("node", c.op, inputs));
    const Graph graph = std::move(b).finish();
    const at::Tensor x = at::randn({4, 8, 6, 10});
    const Tensor input = to_graph(x);
    const Tensor expected = evaluate(graph, {&input, 1}).front();
    const at::Tensor y = Network(graph, GetParam()).forward(x, true);
    ASSERT_EQ(Shape(y.sizes().vec()), expected.shape()) << describe(c.op);
    EXPECT_LT(distance(y, expected), 1e-5) << describe(c.op);
  }
}

TEST_P(NetworkTest, AConditionChoosesAsInTheGraph) {
  GraphBuilder b("choice", 3);
  const ValueId x = b.input("x", {-1, 3, 4, 2});
  const ValueId mask =
      b.constant("mask", Tensor::from_doubles({4, 1}, std::vector<double>{1, 0, 0, 1}, DType::boolean));
  const ValueId chosen = b.node("both", Where{}, {mask, x, b.node("minus", Unary{Unary::Kind::neg}, {x})});
  b.output(b.node("number", Where{}, {mask, b.constant("zero", Tensor::filled({}, 0)), chosen}));
  const Graph graph = std::move(b).finish();
  const at::Tensor images = at::randn({5, 3, 4, 2});
  const Tensor input = to_graph(images);
  const at::Tensor y = Network(graph, GetParam()).forward(images, true);
  EXPECT_EQ(distance(y, evaluate(graph, {&input, 1}).front()), 0);
}

TEST_P(NetworkTest, WhatCannotBeTrainedIsRefusedByName) {
  GraphBuilder b("refused", 3);
  const ValueId x = b.input("x", {-1, 3, 9, 7});
  b.output(b.node("sizes", Hardmax{}, {x}));
  try {
    Network(std::move(b).finish(), GetParam());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("'sizes'"), std::string::npos) << error.what();
  }
}

TEST_P(NetworkTest, SamplesAreNotResized) {
  GraphBuilder b("refused", 3);
  const ValueId none = b.constant("none", Tensor::filled({0}, 0));
  const ValueId scales = b.constant("scales", Tensor::from_doubles({4}, std::vector<double>{2, 1, 1, 1}, DType::f32));
  b.output(b.node("twice", Resize{}, {b.input("x", {-1, 3, 9, 7}), none, scales}));
  try {
    Network(std::move(b).finish(), GetParam());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("'twice'"), std::string::npos) << error.what();
  }
}

TEST_P(NetworkTest, LearnsAFixedBatch) {
  Network network(example(), GetParam());
  const at::Tensor x = images(16);
  const at::Tensor target = at::randint(5, {16}, at::kLong);
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    const at::Tensor loss = at::cross_entropy_loss(network.forward(x, true), target);
    loss.backward();
    const c10::AutoGradMode no_grad(false);
    for (const auto& parameters : {network.decayed_parameters(), network.undecayed_parameters()}) {
      for (const at::Tensor& p : parameters) {
        ASSERT_TRUE(p.grad().defined());
        p.sub_(p.grad(), 0.1);
        p.mutable_grad().reset();
      }
    }
    (step == 0 ? first : last) = loss.item<double>();
  }
  EXPECT_LT(last, 0.2 * first);
}

TEST_P(NetworkTest, StatisticsAreTheAverageOverBatches) {
  Network network(example(), GetParam());
  const std::vector<at::Tensor> batches{images(6), images(6) * 3, images(6) + 2};
  const c10::AutoGradMode no_grad(false);
  network.reset_statistics();
  at::Tensor mean, variance;
  for (const auto& [name, value] : network.state()) {
    if (name == "stem.bn.running_mean") mean = value;
    if (name == "stem.bn.running_var") variance = value;
  }
  ASSERT_TRUE(mean.defined() && variance.defined());
  at::Tensor expected_mean = at::zeros({6}), expected_variance = at::zeros({6});
  const Graph graph = network.graph();
  const at::Tensor weight = network.decayed_parameters().front();
  for (size_t k = 0; k < batches.size(); ++k) {
    network.set_momentum(1.0 / static_cast<double>(k + 1));
    network.forward(batches[k], true);
    const at::Tensor y = at::conv2d(batches[k], weight, {}, 1, 1);
    expected_mean += y.mean(at::IntArrayRef{0, 2, 3}) / 3;
    expected_variance += y.var(at::IntArrayRef{0, 2, 3}, /*unbiased=*/true) / 3;
  }
  EXPECT_TRUE(at::allclose(mean, expected_mean, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(variance, expected_variance, 1e-4, 1e-5));
}

TEST_P(NetworkTest, GraphRoundTrips) {
  const Graph graph = example();
  Network network(graph, GetParam());
  network.set_fade(1, 0.25);
  EXPECT_EQ(network.fade_count(), 2u);
  const Graph back = network.graph();
  ASSERT_EQ(back.values.size(), graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i) EXPECT_EQ(back.values[i].constant, graph.values[i].constant);
  EXPECT_EQ(std::get<Fade>(back[back.find_node("gelu")].op).lambda, 0.25);
  EXPECT_EQ(std::get<Fade>(back[back.find_node("a.fade")].op).lambda, 1);
}

INSTANTIATE_TEST_SUITE_P(Options, NetworkTest,
                         testing::Values(NetworkOptions{.channels_last = true, .fused = true},
                                         NetworkOptions{.channels_last = true, .fused = false},
                                         NetworkOptions{.channels_last = false, .fused = true},
                                         NetworkOptions{.channels_last = false, .fused = false}),
                         [](const auto& info) {
                           return std::string(info.param.channels_last ? "Nhwc" : "Nchw") +
                                  (info.param.fused ? "Fused" : "Plain");
                         });

TEST(NetworkState, SharedWeightsAreOneParameter) {
  GraphBuilder b("shared", 1);
  const ValueId x = b.input("x", {-1, 4, 5, 5});
  const ValueId w = b.constant("w", Tensor::filled({4, 4, 1, 1}, 0.5));
  b.output(b.node("second", Conv2d{}, {b.node("first", Conv2d{}, {x, w}), w}));
  const Network network(std::move(b).finish());
  EXPECT_EQ(network.decayed_parameters().size(), 1u);
  EXPECT_EQ(network.state().size(), 1u);
}

TEST(NetworkState, ShapesAreNotTrained) {
  GraphBuilder b("reshape", 1);
  const ValueId x = b.input("x", {-1, 4, 2, 2});
  const ValueId shape = b.constant("shape", Tensor::of({2}, std::vector<int64_t>{0, -1}));
  b.output(b.node("y", Reshape{}, {x, shape}));
  Network network(std::move(b).finish());
  EXPECT_TRUE(network.state().empty());
  EXPECT_EQ(network.forward(at::ones({3, 4, 2, 2}), false).sizes(), (std::vector<int64_t>{3, 16}));
}

TEST(NetworkErrors, NameTheNode) {
  GraphBuilder b("opaque", 1);
  const ValueId x = b.input("x", {-1, 4, 2, 2});
  b.output(b.node("mystery", Opaque{"com.example", "Twist", "", 0}, {x}));
  try {
    Network network{b.graph()};
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("mystery"), std::string::npos);
  }
}

}  // namespace
}  // namespace reducenet::train
