#include <algorithm>
#include <cmath>

#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "runtime/narrow.h"

namespace reducenet {

Quantization calibrate(const Graph& graph, std::span<const std::vector<float>> batches, int64_t batch) {
  Program program = lower(graph, batch);
  mark_narrow(program, DType::i8, nullptr);
  Graph observed = graph;  // with every such tensor as an output
  std::vector<std::pair<std::string, int64_t>> wanted;
  observed.outputs.clear();
  for (const Buffer& buffer : program.buffers) {
    const ValueId value = observed.find_value(buffer.name);
    if (!buffer.narrow || !value) continue;  // what a composition made on the way stays as it is
    observed.outputs.push_back(value);
    wanted.emplace_back(buffer.name, element_count(buffer.shape));
  }
  if (wanted.empty()) return {};
  const Plan plan(observed, {.batch = batch});
  std::vector<float> output(static_cast<size_t>(plan.output_size()));
  std::vector<float> least(wanted.size(), 0), most(wanted.size(), 0);
  for (const std::vector<float>& input : batches) {
    plan.run(input, output);
    auto at = output.begin();
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto [low, high] = std::minmax_element(at, at + wanted[i].second);
      least[i] = std::min(least[i], *low);
      most[i] = std::max(most[i], *high);
      at += wanted[i].second;
    }
  }
  Quantization result;
  for (size_t i = 0; i < wanted.size(); ++i) {
    TensorScale as;
    if (most[i] > least[i]) as.scale = static_cast<float>((static_cast<double>(most[i]) - least[i]) / 255);
    as.zero = std::clamp<int64_t>(std::llround(-least[i] / as.scale), 0, 255);
    result[wanted[i].first] = as;
  }
  return result;
}

}  // namespace reducenet
