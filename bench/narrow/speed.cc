// Networks in 8 and 16 bits against float32, on one thread: float32 without Winograd ("direct"), the best float32
// (--tune full), bf16 and int8 in every layer that can be, and the plans that --tune full makes of each, which may keep
// layers in float32; round by round in turn. Milliseconds for one image: the median over rounds of each round's median
// run.
//
//   taskset -c 0 build/bench/narrow_speed [NAME|MODEL …]
//
// NAME: an architecture, collapsed, or one of the stacks of equal layers below; MODEL: a file, collapsed. Default: all
// names. Prints one JSON object a line.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "runtime/test_graphs.h"
#include "timing.h"

using namespace reducenet;

namespace {

Graph deploy_net(const std::string& name) {
  return collapse(faded(name.find('.') == std::string::npos ? build(name, {}) : load(name))).graph;
}

/// Four equal layers, so that what stands around them counts little.
struct Stack {
  const char* name;
  int64_t channels, size, kernel, groups;
};
constexpr Stack kStacks[] = {
    {"3x3-64x56", 64, 56, 3, 1},
    {"3x3-128x28", 128, 28, 3, 1},
    {"3x3-256x14", 256, 14, 3, 1},
    {"3x3-512x7", 512, 7, 3, 1},
    {"1x1-64x56", 64, 56, 1, 1},
    {"1x1-256x14", 256, 14, 1, 1},
    {"depthwise3-64x56", 64, 56, 3, 64},
    {"depthwise7-256x14", 256, 14, 7, 256},
    {"3x3-groups-of-16-128x28", 128, 28, 3, 8},
};
Graph stack(const Stack& like) {
  GraphBuilder b("stack", 1);
  ValueId x = b.input("x", {1, like.channels, like.size, like.size});
  const int64_t pad = like.kernel / 2;
  for (int layer = 0; layer < 4; ++layer) {
    const std::string name = "conv" + std::to_string(layer);
    x = b.conv(name, x, like.channels, {like.kernel, like.kernel},
               {.padding = {pad, pad, pad, pad}, .groups = like.groups}, true);
    x = b.activation(name + ".relu", x, activation_named("relu"));
  }
  b.output(x);
  return std::move(b).finish();
}
/// Two matrices, as a head has them.
Graph matrices() {
  GraphBuilder b("matrices", 1);
  const ValueId x = b.activation("relu", b.gemm("fc1", b.input("x", {1, 2048}), 2048), activation_named("relu"));
  b.output(b.gemm("fc2", x, 1000));
  return std::move(b).finish();
}
constexpr const char* kMatrices = "affine-2048";

Graph network(const std::string& name) {
  for (const Stack& like : kStacks) {
    if (name == like.name) return stack(like);
  }
  return name == kMatrices ? matrices() : deploy_net(name);
}

/// Layers of a plan in 8 or 16 bits, and all with weights.
std::string narrow_layers(const Plan& plan) {
  int narrow = 0, all = 0;
  for (const Plan::Step& step : plan.steps()) {
    const bool moves = step.kernel.starts_with("to-") || step.kernel.starts_with("from-");
    all += step.macs > 0 && !moves;
    narrow +=
        !moves && (step.kernel.find("int8") != std::string::npos || step.kernel.find("bf16") != std::string::npos);
  }
  return std::to_string(narrow) + "/" + std::to_string(all);
}

std::string measure(const std::string& name) {
  constexpr int kRounds = 15;
  Graph graph = network(name);
  set_batch(graph, 1);
  std::mt19937_64 random(0);
  const std::vector<float> input = testing::concatenated(testing::random_inputs(graph, random));
  set_quantization(graph, calibrate(graph, std::vector<std::vector<float>>{input}, 1));
  const struct {
    const char* key;
    Plan plan;
  } rows[] = {
      {"direct_f32", Plan(graph, {.tolerance = 0})},
      {"f32", Plan(graph, {.tune = Tune::full})},
      {"bf16_everywhere", Plan(graph, {.dtype = DType::bf16, .narrow_everywhere = true})},
      {"int8_everywhere", Plan(graph, {.dtype = DType::i8, .narrow_everywhere = true})},
      {"bf16", Plan(graph, {.tune = Tune::full, .dtype = DType::bf16})},
      {"int8", Plan(graph, {.tune = Tune::full, .dtype = DType::i8})},
  };
  std::vector<double> times[std::size(rows)];
  std::vector<float> output(static_cast<size_t>(rows[0].plan.output_size()));
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < std::size(rows); ++i) {
      const auto arena = rows[i].plan.arena();
      std::vector<double> runs;
      for (const auto start = Clock::now(); runs.size() < 3 || seconds_since(start) < 0.02;) {
        const auto begin = Clock::now();
        rows[i].plan.run(input, output, *arena);
        runs.push_back(1e3 * seconds_since(begin));
      }
      times[i].push_back(median(runs));
    }
  }
  const std::string shown = std::filesystem::path(name).stem().string();
  std::string text = "{\"network\": \"" + shown + "\"";
  char number[64];
  for (size_t i = 0; i < std::size(rows); ++i) {
    std::snprintf(number, sizeof number, ", \"%s_ms\": %.4f", rows[i].key, median(times[i]));
    text += number;
  }
  text += ", \"bf16_layers\": \"" + narrow_layers(rows[4].plan) + "\", \"int8_layers\": \"" +
          narrow_layers(rows[5].plan) + "\", \"int8_everywhere_layers\": \"" + narrow_layers(rows[3].plan) + "\"}";
  return text;
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) {
    names = {"plain29", "plain11", "resnet20", kMatrices};
    for (const Stack& like : kStacks) names.push_back(like.name);
  }
  for (const std::string& name : names) {
    std::printf("%s\n", measure(name).c_str());
    std::fflush(stdout);
  }
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.kind());
}
