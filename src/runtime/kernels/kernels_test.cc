#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "runtime/kernels/target_test.h"

// Every kernel, on every SIMD target of this machine, against the oracle. Bound for an output y with n terms:
//   |ŷ − y| ≤ 2·γ(n + 8)·(M + |y| + 1)
// γ and M as in test_graphs.h; 8 for bias, residual, scale and the activation's own few roundings; 2 is more than the
// Lipschitz constant of any Activation (SELU 1.76, Hardswish 1.5). Kernels that only move elements must be exact.

namespace reducenet {
namespace {

using testing::concatenated;
using testing::Dice;
using testing::kTrials;
using testing::Trial;

/// Largest number of terms that meet in one output of a node.
int64_t terms(const Graph& graph) {
  int64_t most = 0;
  for (const Node& node : graph.nodes) {
    const int64_t outputs = element_count(*graph[node.outputs[0]].shape),
                  inputs = element_count(*graph[node.inputs[0]].shape);
    const int64_t macs = count_macs(graph, node) * (*graph[node.outputs[0]].shape)[0];
    most = std::max({most, ceil_div(macs, outputs), std::holds_alternative<Binary>(node.op) ? 1 : inputs / outputs});
    if (const auto* up = std::get_if<ConvTranspose2d>(&node.op)) {
      const Shape& w = *graph[node.inputs[1]].shape;
      most = std::max(most, w[0] / up->groups * w[2] * w[3]);
    }
    if (const auto* pool = std::get_if<AveragePool>(&node.op)) most = std::max(most, pool->kernel[0] * pool->kernel[1]);
    if (std::holds_alternative<Softmax>(node.op)) most = std::max<int64_t>(most, 67);
    if (std::holds_alternative<MatMul>(node.op) || std::holds_alternative<Gemm>(node.op)) {
      most = std::max<int64_t>(most, graph[node.inputs[0]].shape->back() + (*graph[node.inputs[0]].shape)[0]);
    }
  }
  return most;
}

class KernelTest : public testing::TargetTest {};

TEST_P(KernelTest, AgreesWithTheOracleOnEveryTarget) {
  const Trial& trial = GetParam();
  for (uint64_t seed = 0; seed < testing::seeds(40); ++seed) {
    Dice dice(seed);
    Graph graph = trial.graph(dice);
    for (Value& value : graph.values) {
      if (value.name.ends_with(".bias")) value.constant = testing::random_tensor(*value.shape, dice.random);
    }
    const std::vector<Tensor> inputs = testing::random_inputs(graph, dice.random);
    const std::vector<double> expected = evaluate(graph, inputs)[0].to_doubles();
    const std::vector<double> magnitude = testing::magnitudes(graph, inputs)[0].to_doubles();
    const double bound = trial.exact ? 0 : 2 * testing::gamma(terms(graph) + 8);

    const Executable plan(graph, {.threads = 2, .tolerance = 1}, only(trial));
    const auto used = [&](const Step& step) { return step.kernel->name == trial.kernel; };
    ASSERT_TRUE(std::any_of(plan.steps().begin(), plan.steps().end(), used)) << print(graph);
    // A kernel that adds an error of its own: 16 times what its scalar twin shows on one patch, of the largest M.
    double added = 0;
    for (const Step& step : plan.steps()) added += 2 * 16 * step.error;
    added *= *std::max_element(magnitude.begin(), magnitude.end()) + 1;
    const std::vector<float> input = concatenated(inputs);
    const auto arena = plan.arena();
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      use(target);
      std::vector<float> output(static_cast<size_t>(plan.output_size()), std::nanf(""));
      plan.run(input.data(), output.data(), *arena);
      for (size_t i = 0; i < output.size(); ++i) {
        ASSERT_NEAR(output[i], expected[i], bound * (std::abs(magnitude[i]) + std::abs(expected[i]) + 1) + added)
            << "element " << i << " on " << hwy::TargetName(target) << ", seed " << seed << "\n"
            << print(graph);
      }
    }
    use(0);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelTest, ::testing::ValuesIn(kTrials), [](const auto& trial) {
  std::string name = std::string(trial.param.kernel) + "_" + std::to_string(trial.index);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(KernelTable, EveryKernelIsTried) {
  std::set<std::string_view> tried{"view", "copy", "to-blocked", "to-plain"};  // by plan_test, and beside all others
  for (const char* narrow :
       {"to-int8", "from-int8", "conv-int8", "conv-int8-out", "depthwise-int8", "depthwise-int8-out", "affine-int8",
        "to-bf16", "from-bf16", "conv-bf16", "conv-bf16-out", "affine-bf16"}) {
    tried.insert(narrow);  // by narrow_kernels_test
  }
  for (const Trial& trial : kTrials) tried.insert(trial.kernel);
  for (const Kernel* kernel : kernels()) EXPECT_TRUE(tried.count(kernel->name)) << kernel->name;
}

}  // namespace
}  // namespace reducenet
