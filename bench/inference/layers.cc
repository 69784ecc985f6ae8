// One layer at a time: every kernel that can run it, against the FMA peak of the core as measured here.
//
//   taskset -c 0 build/bench/inference_layers [SUBSTRING of the layers' names]
//
// Prints one JSON object a line. GFLOP/s counts two operations for every multiply–add of the direct algorithm, so
// Winograd may pass the peak. `error`: the largest |ŷ − y| over the largest |y|, y from the reference evaluator in
// double.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "inference/layers.cc"
#include "hwy/foreach_target.h"
#include "inference/fma-inl.h"
#include "runtime/executable.h"
#include "runtime/test_graphs.h"
#include "timing.h"

#if HWY_ONCE
namespace reducenet {
HWY_EXPORT(fma_turns);
}
using namespace reducenet;

namespace {

double fma_peak() {
  float sink[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  double best = 0;
  for (int round = 0; round < 20; ++round) {
    const auto start = Clock::now();
    const double operations = HWY_DYNAMIC_DISPATCH(fma_turns)(1'000'000, sink);
    best = std::max(best, operations / seconds_since(start) / 1e9);
  }
  return best;
}

struct Layer {
  const char* name;
  int64_t in, out, size, kernel, stride, groups;  // size 0: affine
};
constexpr Layer kLayers[] = {
    {"3x3 16x32²", 16, 16, 32, 3, 1, 1},
    {"3x3 32x16²", 32, 32, 16, 3, 1, 1},
    {"3x3 64x8²", 64, 64, 8, 3, 1, 1},
    {"3x3 48x56²", 48, 48, 56, 3, 1, 1},
    {"3x3 96x28²", 96, 96, 28, 3, 1, 1},
    {"3x3 192x14²", 192, 192, 14, 3, 1, 1},
    {"3x3 512x7²", 512, 512, 7, 3, 1, 1},
    {"3x3 64x56²", 64, 64, 56, 3, 1, 1},
    {"3x3/2 16-32x32²", 16, 32, 32, 3, 2, 1},
    {"3x3/2 48-96x56²", 48, 96, 56, 3, 2, 1},
    {"3x3/2 192-1280x14²", 192, 1280, 14, 3, 2, 1},
    {"first 3x3 3-16x32²", 3, 16, 32, 3, 1, 1},
    {"first 3x3/2 3-48x224²", 3, 48, 224, 3, 2, 1},
    {"first 7x7/2 3-64x224²", 3, 64, 224, 7, 2, 1},
    {"1x1 512-1024x56²", 512, 1024, 56, 1, 1, 1},
    {"1x1 256x14²", 256, 256, 14, 1, 1, 1},
    {"1x1 4096x7²", 4096, 4096, 7, 1, 1, 1},
    {"depthwise 3x3 128x28²", 128, 128, 28, 3, 1, 128},
    {"depthwise 3x3/2 96x56²", 96, 96, 56, 3, 2, 96},
    {"depthwise 7x7 1024x28²", 1024, 1024, 28, 7, 1, 1024},
    {"large 31x31 32x28²", 32, 32, 28, 31, 1, 1},
    {"affine 3072-10", 3072, 10, 0, 0, 0, 0},
    {"affine 2048-1000", 2048, 1000, 0, 0, 0, 0},
};

Graph graph_of(const Layer& layer) {
  GraphBuilder b("layer", 1);
  if (layer.size == 0) {
    b.output(b.gemm("affine", b.input("x", {1, layer.in}), layer.out));
    return std::move(b).finish();
  }
  const int64_t pad = layer.kernel / 2;
  const ValueId x = b.input("x", {1, layer.in, layer.size, layer.size});
  // Between blocked neighbours, as in a network: the two outer layers are not what is timed.
  const Conv2d op{.stride = {layer.stride, layer.stride}, .padding = {pad, pad, pad, pad}, .groups = layer.groups};
  b.output(b.activation("relu", b.conv("conv", x, layer.out, {layer.kernel, layer.kernel}, op, true), {}));
  return std::move(b).finish();
}

void measure(const Layer& layer, double peak) {
  const Graph graph = graph_of(layer);
  std::mt19937_64 random(0);
  const std::vector<Tensor> inputs = testing::random_inputs(graph, random);
  const std::vector<float> input = testing::concatenated(inputs);
  const double macs = static_cast<double>(count_macs(graph, graph.nodes[0]));
  std::vector<double> exact;
  if (macs < 5e7) exact = evaluate(graph, inputs)[0].to_doubles();
  for (const Kernel* kernel : kernels()) {
    const KernelFilter only = [&](const Kernel& k, const Step& step) {
      const bool timed = std::holds_alternative<Conv2d>(step.op) || std::holds_alternative<Gemm>(step.op);
      return !timed || &k == kernel;
    };
    try {
      const Executable plan(graph, {}, only);
      const auto arena = plan.arena();
      std::vector<float> output(static_cast<size_t>(plan.output_size()));
      plan.run(input.data(), output.data(), *arena);
      const auto step = std::ranges::find_if(plan.steps(), [&](const Step& s) { return s.kernel == kernel; });
      std::vector<double> times;
      for (const auto begin = Clock::now(); times.size() < 5 || seconds_since(begin) < 0.1;) {
        const auto start = Clock::now();
        for (int i = 0; i < 4; ++i) {
          kernel->run(
              {*step, arena->buffers.data(), arena->memory.data() + arena->memory.size() - step->scratch, 0, 1});
        }
        times.push_back(seconds_since(start) / 4);
      }
      std::ranges::sort(times);
      const double median = times[times.size() / 2], rate = 2 * macs / median / 1e9;
      double off = 0, most = 0;
      for (size_t i = 0; i < exact.size(); ++i) {
        off = std::max(off, std::abs(output[i] - exact[i]));
        most = std::max(most, std::abs(exact[i]));
      }
      std::printf("{\"layer\": \"%s\", \"kernel\": \"%s\", \"us\": %.1f, \"gflops\": %.1f, \"share_of_peak\": %.3f",
                  layer.name, std::string(kernel->name).c_str(), 1e6 * median, rate, rate / peak);
      if (!exact.empty()) std::printf(", \"error\": %.1e", off / most);
      std::puts("}");
    } catch (const std::exception&) {  // not a kernel for this layer
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const double peak = fma_peak();
  std::printf("{\"peak_gflops\": %.1f}\n", peak);
  for (const Layer& layer : kLayers) {
    if (argc < 2 || std::string(layer.name).find(argv[1]) != std::string::npos) measure(layer, peak);
    std::fflush(stdout);
  }
}
#endif
