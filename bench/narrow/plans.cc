// How long it takes to plan networks of many layers in 8 and 16 bits with --tune none: the search for the layers that
// pay looks at all runs of neighbouring ones.
//
//   taskset -c 0 build/bench/narrow_plans
//
// Stacks of equal 3×3 convolutions with ReLU. Prints one JSON object a line; milliseconds, the least of 3 plans.

#include <algorithm>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "reducenet/builder.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "runtime/test_graphs.h"
#include "timing.h"

using namespace reducenet;

namespace {

Graph stack_of(int layers) {
  GraphBuilder b("stack", 1);
  ValueId x = b.input("x", {1, 16, 8, 8});
  for (int i = 0; i < layers; ++i) {
    x = b.conv("conv" + std::to_string(i), x, 16, {3, 3}, {.padding = {1, 1, 1, 1}}, true);
    x = b.activation("relu" + std::to_string(i), x, {});
  }
  b.output(x);
  Graph graph = std::move(b).finish();
  std::mt19937_64 random(1);
  set_quantization(
      graph,
      calibrate(graph, std::vector<std::vector<float>>{testing::concatenated(testing::random_inputs(graph, random))},
                1));
  return graph;
}

double plan_ms(const Graph& graph, DType dtype) {
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    const Plan plan(graph, {.dtype = dtype});
    least = std::min(least, 1e3 * seconds_since(start));
  }
  return least;
}

}  // namespace

int main() {
  for (const int layers : {25, 50, 100, 200}) {
    const Graph graph = stack_of(layers);
    std::printf("{\"layers\": %d, \"f32_ms\": %.1f, \"bf16_ms\": %.1f, \"int8_ms\": %.1f}\n", layers,
                plan_ms(graph, DType::f32), plan_ms(graph, DType::bf16), plan_ms(graph, DType::i8));
    std::fflush(stdout);
  }
}
