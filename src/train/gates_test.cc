#include "train/gates.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "reducenet/builder.h"
#include "reducenet/data.h"
#include "reducenet/formats.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

/// x + g·conv(x), g = hard_sigmoid(sign(r·mean(x) + shift)); its means scored.
Graph gated(double shift) {
  GraphBuilder b("gated", 3);
  const ValueId x = b.input("x", {-1, 3, 4, 4});
  const ValueId means = b.node("flat", Flatten{}, {b.node("mean", GlobalAveragePool{}, {x})});
  const ValueId z = b.add("shifted", b.gemm("gate", means, 1), b.constant("shift", Tensor::filled({1}, shift)));
  const ValueId step =
      b.activation("step", b.node("sign", Unary{Unary::Kind::sign}, {z}), {Activation::Kind::hard_sigmoid, 0.5, 0.5});
  const ValueId shape = b.constant("shape", Tensor::of({4}, std::vector<int64_t>{0, 1, 1, 1}));
  const ValueId gate = b.node("open", Reshape{}, {step, shape});
  const ValueId block = b.conv("conv", x, 3, {1, 1}, {});
  const ValueId sum = b.add("sum", x, b.node("product", Binary{Binary::Kind::mul}, {block, gate}));
  b.output(b.gemm("fc", b.node("flat2", Flatten{}, {b.node("pool", GlobalAveragePool{}, {sum})}), 2));
  return std::move(b).finish();
}

at::Tensor parameter(const Network& network, const std::string& name) {
  for (const auto& [found, tensor] : network.state()) {
    if (found == name) return tensor;
  }
  ADD_FAILURE() << name;
  return {};
}

at::Tensor losses_of(Network& network, const at::Tensor& x, const at::Tensor& labels) {
  return at::cross_entropy_loss(network.forward(x, true), labels, {}, at::Reduction::None);
}

// ∂E(loss)/∂r = mean over images of (loss when open − loss when closed)·∂σ(z/τ)/∂r.
TEST(Gates, ThePolicysGradientIsThatOfTheExpectedLoss) {
  at::manual_seed(11);
  const at::Tensor x = at::randn({8, 3, 4, 4}) * 2, labels = at::randint(2, {8}, at::kLong);
  Network open(gated(1e6)), closed(gated(-1e6)), network(gated(0.3));
  const at::Tensor difference = (losses_of(open, x, labels) - losses_of(closed, x, labels)).detach();
  const at::Tensor weight = parameter(network, "gate.weight");
  constexpr double kProgress = 0.5, kTemperature = 0.55;
  const at::Tensor bias = parameter(network, "gate.bias").detach() + 0.3;
  (at::sigmoid((at::linear(x.mean({2, 3}), weight) + bias).flatten() / kTemperature) * difference).mean().backward();
  const at::Tensor exact = weight.grad().clone().flatten();
  ASSERT_GT(exact.abs().max().item<double>(), 1e-3);

  Gates gates(network.graph(), {.by = Recipe::GateBy::policy, .weight = 0});
  ASSERT_TRUE(gates.learn());
  std::vector<at::Tensor> drawn;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    weight.mutable_grad().zero_();
    gates.watch(network, kProgress);
    network.set_noise(seed);
    const at::Tensor losses = losses_of(network, x, labels);
    gates.loss(network, losses.detach()).backward();
    drawn.push_back(weight.grad().clone().flatten());
  }
  const at::Tensor all = at::stack(drawn), error = all.std(0) / std::sqrt(4000.0);
  for (int64_t i = 0; i < exact.numel(); ++i) {
    EXPECT_NEAR(all.mean(0)[i].item<double>(), exact[i].item<double>(), 4 * error[i].item<double>()) << i;
  }
  EXPECT_GT(exact.norm().item<double>(), 5 * error.norm().item<double>()) << "too few draws to tell";
}

TEST(Gates, WithoutNoiseAPolicyDecides) {
  Network network(gated(0));
  Gates gates(network.graph(), {.by = Recipe::GateBy::policy});
  gates.watch(network, 0);
  const at::Tensor x = at::randn({64, 3, 4, 4}) * 2;
  const auto opened = [&](std::optional<uint64_t> noise) {
    network.set_noise(noise);
    network.forward(x, true);
    return network.watched(Network::Watcher::gates)[0].flatten().clone();
  };
  network.forward(x, true);
  const at::Tensor z = network.watched(Network::Watcher::gates)[1].flatten().clone();
  EXPECT_TRUE(at::equal(opened({}), (z > 0).to(at::kFloat)));
  EXPECT_TRUE(at::equal(opened(5), opened(5)));
  EXPECT_FALSE(at::equal(opened(5), opened(6)));
}

TEST(Gates, StraightThroughTheyLearnFromWhatTheyCost) {
  Network network(gated(0));
  Gates gates(network.graph(), {.weight = 1, .budget = 0.1});
  gates.watch(network, 0);
  const at::Tensor x = at::randn({32, 3, 4, 4});
  const at::Tensor losses = losses_of(network, x, at::zeros({32}, at::kLong));
  const at::Tensor cost = gates.loss(network, losses);
  const double share = network.watched(Network::Watcher::gates)[0].mean().item<double>();
  EXPECT_NEAR(cost.item<double>(), (share - 0.1) * (share - 0.1), 1e-6);
  cost.backward();
  EXPECT_GT(parameter(network, "gate.weight").grad().abs().sum().item<double>(), 0);
  EXPECT_FALSE(Gates(network.graph(), {}).learn());
}

class Policy : public Run {
 protected:
  /// For each gate the share of generated images for which it is open.
  std::vector<double> usage(const Recipe& recipe, const char* folder) {
    run(recipe, {.out = out(folder)});
    const Graph graph = load(out(folder) / "model.safetensors");
    const ImageSet images = generate_images(256, 77, 16);
    std::vector<int32_t> order(256);
    std::iota(order.begin(), order.end(), 0);
    Network network(graph);
    Feed feed(images, *Preprocessing::from_metadata(graph.metadata), 64, at::kCPU);
    std::vector<ValueId> gates;
    for (const GatedBlock& block : gated_blocks(graph)) gates.push_back(block.gate);
    return gate_usage(network, gates, feed, order);
  }
};

// A policy may meet one budget with gates that are always open or shut; not both.
TEST_F(Policy, KeepsToItsBudgetAndResumesBitForBit) {
  bool by_image = false;
  for (const auto& [setting, budget] : {std::pair{"gate.budget=0.3", 0.3}, {"gate.budget=0.7", 0.7}}) {
    const Recipe recipe = small({"model.arch=skipnet", "model.modules=3", "model.branches=[]", "gate.by=policy",
                                 "gate.weight=5", setting, "optimizer.ema=0", "train.epochs=8"});
    const std::vector<double> open = usage(recipe, "whole");
    ASSERT_EQ(open.size(), 5U);
    const double mean = std::accumulate(open.begin(), open.end(), 0.0) / 5;
    EXPECT_NEAR(mean, budget, 0.15);
    by_image |= std::ranges::any_of(open, [](double share) { return share > 0 && share < 1; });
    if (budget > 0.5) continue;
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts")}, 21).interrupted);
    run(recipe, {.out = out("parts"), .resume = true});
    expect_same_tensors(out("whole") / "model.safetensors", out("parts") / "model.safetensors");
  }
  EXPECT_TRUE(by_image) << "every gate is constant";
}

}  // namespace
}  // namespace reducenet::train
