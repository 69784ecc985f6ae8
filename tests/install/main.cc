// Builds a network, collapses it, saves and loads it, and runs it: all against the installed headers and libraries.

#include <cmath>
#include <cstdio>
#include <fstream>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/data.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"
#include "reducenet/verify.h"

namespace {

void write_floats(const char* path, const std::vector<float>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

}  // namespace

int main() {
  using namespace reducenet;
  Graph deep = build("reduce", {.modules = 1, .widths = {4, 8}, .height = 8, .width = 8});
  for (Node& node : deep.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 0;
  }
  Graph small = collapse(deep).graph;
  if (!verify(deep, small).verified) return std::puts("the collapse does not verify"), 1;
  Preprocessing{.height = 8, .width = 8, .channels = 3, .mean = {0.5, 0.5, 0.5}, .std = {0.25, 0.25, 0.25}}.to_metadata(
      small.metadata);
  set_class_names(small.metadata, {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"});
  save_native(small, "small.safetensors");
  const Graph loaded = load_native("small.safetensors");

  const Plan plan(loaded);
  std::vector<float> input(static_cast<size_t>(plan.input_size())), output(static_cast<size_t>(plan.output_size()));
  for (size_t i = 0; i < input.size(); ++i) input[i] = std::sin(static_cast<float>(i));
  plan.run(input, output);
  const std::vector<Tensor> inputs{Tensor::of({1, 3, 8, 8}, input)};
  const std::vector<double> expected = evaluate(deep, inputs).at(0).to_doubles();
  for (size_t i = 0; i < output.size(); ++i) {
    if (!(std::abs(output[i] - expected[i]) < 1e-4))
      return std::printf("output %zu: %g, not %g\n", i, output[i], expected[i]), 1;
  }
  write_floats("input.raw", input);
  write_floats("expected.raw", output);
  std::ofstream("image.ppm") << "P6 8 8 255\n" << std::string(8 * 8 * 3, 'x');
  std::printf("%zu nodes became %zu, and still compute the same\n", deep.nodes.size(), small.nodes.size());
}
