// Whole networks in 8 and 16 bits against float32, on one thread: float32 without Winograd, the best float32 (--tune
// full), bf16 and int8, round by round in turn. Milliseconds for one image: the median over rounds of each round's
// median run.
//
//   taskset -c 0 build/bench/narrow_speed [NAME …]      (default: plain29 plain11 resnet20 and layers of larger
//   networks)
//
// Prints one JSON object a line.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "runtime/test_graphs.h"

using namespace reducenet;

namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Graph deploy_net(const std::string& name) {
  Graph graph = build(name, {});
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 0;
  }
  return collapse(graph).graph;
}

/// Four equal 3×3 layers, so that what stands around them counts little.
Graph stack(int64_t channels, int64_t size, int64_t kernel) {
  GraphBuilder b("stack", 1);
  ValueId x = b.input("x", {1, channels, size, size});
  const int64_t pad = kernel / 2;
  for (int layer = 0; layer < 4; ++layer) {
    const std::string name = "conv" + std::to_string(layer);
    x = b.conv(name, x, channels, {kernel, kernel}, {.padding = {pad, pad, pad, pad}}, true);
    x = b.activation(name + ".relu", x, activation_named("relu"));
  }
  b.output(x);
  return std::move(b).finish();
}

void measure(const std::string& name, Graph graph) {
  constexpr int kRounds = 15;
  set_batch(graph, 1);
  std::mt19937_64 random(0);
  const std::vector<float> input = testing::concatenated(testing::random_inputs(graph, random));
  set_quantization(graph, calibrate(graph, std::vector<std::vector<float>>{input}, 1));
  const Plan plans[] = {Plan(graph, {.tolerance = 0}), Plan(graph, {.tune = Tune::full}),
                        Plan(graph, {.dtype = DType::bf16}), Plan(graph, {.dtype = DType::i8})};
  std::vector<double> times[std::size(plans)];
  std::vector<float> output(static_cast<size_t>(plans[0].output_size()));
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < std::size(plans); ++i) {
      const auto arena = plans[i].arena();
      std::vector<double> runs;
      for (const auto start = Clock::now(); runs.size() < 3 || seconds_since(start) < 0.03;) {
        const auto begin = Clock::now();
        plans[i].run(input, output, *arena);
        runs.push_back(1e3 * seconds_since(begin));
      }
      times[i].push_back(median(runs));
    }
  }
  const double f32_direct = median(times[0]), f32 = median(times[1]), bf16 = median(times[2]), int8 = median(times[3]);
  std::printf(
      "{\"network\": \"%s\", \"direct_f32_ms\": %.4f, \"f32_ms\": %.4f, \"bf16_ms\": %.4f, \"int8_ms\": %.4f, "
      "\"int8_against_direct\": %.2f, \"int8_against_f32\": %.2f, \"bf16_against_f32\": %.2f}\n",
      name.c_str(), f32_direct, f32, bf16, int8, f32_direct / int8, f32 / int8, f32 / bf16);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  for (int i = 1; i < argc; ++i) measure(argv[i], deploy_net(argv[i]));
  if (argc > 1) return 0;
  for (const char* name : {"plain29", "plain11", "resnet20"}) measure(name, deploy_net(name));
  for (const auto& [channels, size] : {std::pair{64, 56}, {128, 28}, {256, 14}, {512, 7}}) {
    measure("3x3 " + std::to_string(channels) + " channels " + std::to_string(size) + "²", stack(channels, size, 3));
  }
  measure("1x1 256 channels 14²", stack(256, 14, 1));
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.kind());
}
