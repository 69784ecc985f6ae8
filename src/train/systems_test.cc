// Mechanisms by which parts of a network vanish: whole runs on generated images. What each was to do happened (the part
// was alive at λ = 1, and is gone at the end), and what is left collapses.
#include <ATen/ATen.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "reducenet/collapse.h"
#include "reducenet/formats.h"
#include "reducenet/verify.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

class Systems : public Run {
 protected:
  /// The run's model, which collapses and is certified.
  Graph trained(std::initializer_list<const char*> settings, const char* folder = "run", const fs::path& from = {}) {
    const Recipe recipe = small(settings);
    result_ = run(recipe, {.out = out(folder), .from = from});
    Graph graph = load(out(folder) / "model.safetensors");
    const Collapsed collapsed = collapse(graph);
    const Certificate certificate = verify(graph, collapsed, {.samples = 1});
    EXPECT_TRUE(certificate.verified) << certificate.why;
    deployed_ = collapsed.graph;
    return graph;
  }
  /// λ was 1 in the first epoch and 0 in the last.
  void expect_faded() const {
    EXPECT_GT(result_.history.front().fade.max, 0);
    EXPECT_EQ(result_.history.back().fade.max, 0);
  }
  static int64_t convs(const Graph& graph) {
    return std::ranges::count_if(graph.nodes, [](const Node& node) { return std::holds_alternative<Conv2d>(node.op); });
  }
  static std::vector<double> constant(const Graph& graph, const std::string& name) {
    const ValueId id = graph.find_value(name);
    return id ? graph.constant(id)->to_doubles() : std::vector<double>{};
  }

  Result result_;
  Graph deployed_;
};

TEST_F(Systems, Gen3BranchFades) {
  const Graph graph = trained({"model.arch=gen3", "model.fades=bottleneck", "fade.start=0.3", "fade.end=0.7"});
  expect_faded();
  const Graph student = trained({"model.arch=gen3", "model.bottleneck=false"}, "student");
  EXPECT_EQ(convs(graph), convs(student));
  EXPECT_LT(convs(graph), convs(build("gen3", {.modules = 1, .widths = {4, 8}, .branches = {"1x1"}})));
}

TEST_F(Systems, Gen3StudentStartsFromItsTeacher) {
  trained({"model.arch=gen3", "train.epochs=2"}, "teacher");
  const fs::path teacher = out("teacher") / "model.safetensors";
  const std::string setting = "distill.teacher=" + teacher.string();
  const std::string kept = "stage1.module1.conv2.weight";
  const Graph student = trained({"model.arch=gen3", "model.bottleneck=false", "train.epochs=1", "optimizer.lr=1e-9",
                                 "optimizer.ema=0", setting.c_str()},
                                "student", teacher);
  const auto before = constant(load(teacher), kept), after = constant(student, kept);
  ASSERT_FALSE(before.empty());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-5);
}

TEST_F(Systems, BlocksAndResidualsFade) {
  const Graph left =
      trained({"model.arch=resnet", "model.modules=2", "model.branches=[]", "model.fades=block"}, "blocks");
  expect_faded();
  EXPECT_EQ(convs(left), 1 + 3);  // stem, and the block with a projection
  const Graph plain =
      trained({"model.arch=resnet", "model.modules=2", "model.branches=[]", "model.fades=residual"}, "residuals");
  expect_faded();
  EXPECT_EQ(convs(plain), 1 + 4 * 2 + 1);
  EXPECT_LT(deployed_.nodes.size(), plain.nodes.size());
}

TEST_F(Systems, StochasticDepthDropsAndFolds) {
  const auto settings = {"model.arch=resnet", "model.modules=2", "model.branches=[]", "model.survival=0.5",
                         "train.epochs=2"};
  const Graph graph = trained(settings, "dropping");
  // Four blocks: λ = 1 − l/4·0.5; the first factor is in the model as it was trained, none in what is deployed.
  EXPECT_EQ(constant(graph, "stage1.module1.add.scaled.factor"), std::vector<double>{0.875});
  EXPECT_FALSE(deployed_.find_value("stage1.module1.add.scaled.factor"));
  const Recipe recipe = small(settings);
  EXPECT_TRUE(run_steps(recipe, {.out = out("parts")}, 7).interrupted);
  run(recipe, {.out = out("parts"), .resume = true});
  expect_same_tensors(out("dropping") / "model.safetensors", out("parts") / "model.safetensors");
  trained({"model.arch=resnet", "model.modules=2", "model.branches=[]", "train.epochs=2"}, "whole");
  EXPECT_NE(constant(graph, "stem.weight"), constant(load(out("whole") / "model.safetensors"), "stem.weight"));
}

TEST_F(Systems, MixturesSettleToOneKernel) {
  const auto settings = {"model.arch=condconv", "model.experts=3", "model.branches=[]"};
  const Graph dynamic = trained(settings, "dynamic");
  // What the images ask of an expert differs from image to image, and has moved from where it began.
  const std::vector<double> route = constant(dynamic, "stage1.module1.route1.weight");
  EXPECT_NE(route, constant(build("condconv", {.modules = 1, .widths = {4, 8}, .experts = 3}),
                            "stage1.module1.route1.weight"));
  EXPECT_EQ(convs(deployed_), 1 + 2 * 3);
  const Graph settled = trained({"model.arch=condconv", "model.experts=3", "model.branches=[]", "model.fades=routing"});
  expect_faded();
  EXPECT_FALSE(settled.find_node("stage1.module1.route1"));
  EXPECT_NE(constant(settled, "stage1.module1.route1.constant"), std::vector<double>{0.5});
  EXPECT_EQ(convs(settled), 1 + 2 * 3);
  EXPECT_EQ(convs(deployed_), 1 + 2);
}

TEST_F(Systems, TheSideNetworkIsDetached) {
  const Graph graph = trained({"model.arch=detachnet", "model.branches=[]", "model.fades=side"});
  expect_faded();
  EXPECT_FALSE(graph.find_node("side.stage1.conv1"));
  EXPECT_NE(constant(graph, "stage1.module1.scale.constant"), std::vector<double>(4, 1));
  EXPECT_EQ(convs(deployed_), 1 + 2);
  EXPECT_EQ(count_nonlinear(deployed_), 1 + 2);
  const Graph convolved = trained(
      {"model.arch=detachnet", "model.branches=[]", "model.fades=side", "model.supplies=convolve", "model.experts=2"},
      "convolved");
  expect_faded();
  EXPECT_NE(constant(convolved, "stage1.module1.small1.factor.constant"), std::vector<double>(4, 0));
  EXPECT_EQ(convs(convolved), 1 + 2 + 2);  // the second module halves the resolution: it has none
  EXPECT_EQ(convs(deployed_), 1 + 2);
  trained({"model.arch=detachnet", "model.branches=[]"}, "attached");
  EXPECT_GT(convs(deployed_), 1 + 2);
}

// Outputs of every gate over random images.
std::vector<std::vector<double>> gates_of(const Graph& graph) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> draw;
  Shape shape = *graph[graph.inputs[0]].shape;
  shape[0] = 64;
  std::vector<double> pixels(static_cast<size_t>(element_count(shape)));
  for (double& v : pixels) v = draw(random);
  const Tensor x = Tensor::from_doubles(shape, pixels);
  std::vector<std::vector<double>> gates;
  evaluate(graph, {&x, 1}, {}, [&](ValueId id, const Tensor& value) {
    if (graph[id].name.ends_with(".gate.open")) gates.push_back(value.to_doubles());
  });
  return gates;
}

TEST_F(Systems, GatesDecideByImageAndRarelyUsedBlocksFade) {
  const Graph dynamic = trained({"model.arch=skipnet", "model.modules=3", "model.branches=[]", "gate.weight=5",
                                 "gate.budget=0.5", "optimizer.ema=0", "train.epochs=4"},
                                "dynamic");
  int64_t undecided = 0;
  const auto gates = gates_of(dynamic);
  EXPECT_EQ(gates.size(), 5U);  // the second stage's first block has none
  for (const auto& gate : gates) {
    for (const double g : gate) EXPECT_TRUE(g == 0 || g == 1) << g;
    const auto open = std::ranges::count(gate, 1.0);
    undecided += open > 0 && open < static_cast<int64_t>(gate.size());
  }
  EXPECT_GT(undecided, 0) << "every gate is constant";
  const Graph settled = trained({"model.arch=skipnet", "model.modules=3", "model.branches=[]", "model.fades=skipped",
                                 "select.by=usage", "select.count=2", "select.images=64", "gate.weight=5",
                                 "fade.start=0.4", "fade.end=0.7", "train.epochs=4"});
  expect_faded();
  EXPECT_EQ(gates_of(settled).size(), 2U);
  EXPECT_EQ(convs(settled), convs(dynamic) - 3 * 2);
}

TEST_F(Systems, LearnedMasksAreNotTheEvenlySpacedOnes) {
  const auto survivors = [&](const char* by, const char* folder) {
    const Graph graph = trained({"model.arch=mobilenetv2", "model.modules=2", "model.expansion=2", "model.branches=[]",
                                 "model.padding=module", by, "select.count=4", "select.steps=12", "select.images=64",
                                 "fade.start=0.3", "fade.end=0.6", "finetune.epochs=1"},
                                folder);
    std::vector<std::string> names;
    for (const Node& node : graph.nodes) {
      if (std::holds_alternative<Activation>(node.op)) names.push_back(node.name);
    }
    EXPECT_EQ(names.size(), 4U);
    std::vector<std::string> told;
    const auto json = nlohmann::json::parse(std::ifstream(out(folder) / "survivors.json"));
    for (const auto& candidate : json.at("candidates")) {
      EXPECT_EQ(candidate.at("importance").is_null(), json.at("by") == "uniform");
      if (candidate.at("survives")) told.push_back(candidate.at("node"));
    }
    EXPECT_EQ(told, names);
    EXPECT_LT(convs(deployed_), convs(graph));  // inverted residuals whose activations are gone have merged
    return names;
  };
  EXPECT_NE(survivors("select.by=learned", "learned"), survivors("select.by=uniform", "uniform"));
}

// OREPA, Hu et al., arXiv 2204.00826: one step in weight space is the step on the outputs.
TEST(BranchSum, AStepInWeightSpaceIsTheSameStep) {
  ArchOptions options{.modules = 1,
                      .widths = {4, 8},
                      .branches = {"1x1", "identity", "1xk", "kx1", "kxk", "1x1-kxk", "1x1-avg"},
                      .height = 8,
                      .width = 8};
  options.branch_sum = "scaled";
  Network outputs(build("plain", options));
  options.branch_sum = "kernels";
  Network kernels(build("plain", options));
  ASSERT_EQ(outputs.state().size(), kernels.state().size());
  at::manual_seed(3);
  const at::Tensor x = at::randn({16, 3, 8, 8}), labels = at::randint(10, {16}, at::kLong);
  const auto step = [&](Network& network) {
    const at::Tensor loss = at::cross_entropy_loss(network.forward(x, true), labels);
    loss.backward();
    Optimizer(network, {}).step(0.1, 0);
    return loss.item<double>();
  };
  EXPECT_NEAR(step(outputs), step(kernels), 1e-5);
  const auto state = outputs.state(), other = kernels.state();
  for (const auto& [name, a] : state) {
    const auto b = std::ranges::find(other, name, &std::pair<std::string, at::Tensor>::first);
    ASSERT_NE(b, other.end()) << name;
    EXPECT_LT((a.flatten() - b->second.flatten()).abs().max().item<double>(), 1e-5) << name;
  }
  EXPECT_NEAR(step(outputs), step(kernels), 1e-5);
}

}  // namespace
}  // namespace reducenet::train
