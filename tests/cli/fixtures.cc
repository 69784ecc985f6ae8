// fixtures DIR: writes the small models that run.sh works on.

#include <filesystem>
#include <string>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/data.h"
#include "reducenet/formats.h"

namespace {

using namespace reducenet;

/// An untrained network whose fades have ended, for 16×16 colour images of ten classes.
Graph finished(const std::string& arch, uint64_t seed) {
  Graph graph = build(arch, {.modules = 1, .widths = {4, 8}, .height = 16, .width = 16, .seed = seed});
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 0;
  }
  const std::vector<double> mean(3, 0.5), deviation(3, 0.25);
  Preprocessing{.height = 16, .width = 16, .channels = 3, .mean = mean, .std = deviation}.to_metadata(graph.metadata);
  return graph;
}

}  // namespace

int main(int, char** argv) {
  const std::filesystem::path folder = argv[1];
  save(finished("reduce", 0), folder / "reduce.safetensors");
  save(finished("reduce", 0), folder / "reduce.onnx");
  save(finished("reduce", 1), folder / "other-weights.onnx");
  save(finished("article", 0), folder / "article.safetensors");
  save(build("plain", {.modules = 1, .widths = {4}, .height = 8, .width = 8}), folder / "other-input.safetensors");
}
