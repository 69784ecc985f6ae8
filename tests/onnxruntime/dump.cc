// Writes, for each network: MODEL.onnx, MODEL.input (floats) and MODEL.logits (the oracle's, as floats), for check.py.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"

namespace fs = std::filesystem;
using namespace reducenet;

namespace {

std::mt19937_64 random_bits(7);

float uniform(float low, float high) {
  return low + (high - low) * static_cast<float>(static_cast<double>(random_bits() >> 11) * 0x1p-53);
}

void fill(Value& value, float low, float high) {
  std::vector<float> values(static_cast<size_t>(value.constant->size()));
  for (float& v : values) v = uniform(low, high);
  value.constant = Tensor::of(value.constant->shape(), values);
}

/// Statistics as a trained network has them: none at its initial value, gammas of either sign.
void randomise_batch_norms(Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<BatchNorm>(node.op)) continue;
    fill(graph[node.inputs[1]], -0.5f, 1.5f);
    fill(graph[node.inputs[2]], -0.3f, 0.3f);
    fill(graph[node.inputs[3]], -0.5f, 0.5f);
    fill(graph[node.inputs[4]], 0.2f, 2.0f);
  }
}

void end_fades(Graph& graph, double lambda) {
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = lambda;
  }
}

void write(const fs::path& path, std::span<const float> values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
}

void dump(const fs::path& stem, const Graph& graph) {
  Shape shape = *graph[graph.inputs[0]].shape;
  shape[0] = 2;
  std::vector<float> image(static_cast<size_t>(element_count(shape)));
  for (float& v : image) v = uniform(-2, 2);
  const Tensor logits = evaluate(graph, std::vector<Tensor>{Tensor::of(shape, image)})[0];
  save(graph, fs::path(stem) += ".onnx");
  write(fs::path(stem) += ".input", image);
  write(fs::path(stem) += ".logits", logits.to_floats());
}

/// In 8 bits: what the runtime's integers compute, for ONNX Runtime's reading of the QDQ form.
void dump_bytes(const fs::path& stem, Graph graph) {
  std::vector<std::vector<float>> batches(8);
  const Shape one{1, 3, 32, 32};
  for (std::vector<float>& image : batches) {
    image.resize(static_cast<size_t>(element_count(one)));
    for (float& v : image) v = uniform(-2, 2);
  }
  set_quantization(graph, calibrate(graph, batches, 1));
  save(graph, fs::path(stem) += ".onnx");
  const Plan plan(graph, {.batch = 2, .dtype = DType::i8});
  std::vector<float> image(static_cast<size_t>(plan.input_size())), logits(static_cast<size_t>(plan.output_size()));
  for (float& v : image) v = uniform(-2, 2);
  plan.run(image, logits);
  write(fs::path(stem) += ".input", image);
  write(fs::path(stem) += ".logits", logits);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  const fs::path folder = argv[1];
  fs::create_directories(folder);
  for (const char* name : {"reduce20", "article20", "gen2-29", "plain11", "resnet20"}) {
    ArchOptions options{.expansion = 2};
    const bool branched = std::string_view(name) == "plain11" || std::string_view(name) == "reduce20";
    if (branched) options.branches = {"1x1", "identity-bn"};
    Graph graph = build(name, options);
    randomise_batch_norms(graph);
    end_fades(graph, 0.25);
    dump(folder / (std::string(name) + "-fading"), graph);
    end_fades(graph, 0);
    dump(folder / (std::string(name) + "-deep"), graph);
    const Graph shallow = collapse(graph).graph;
    dump(folder / (std::string(name) + "-shallow"), shallow);
    dump_bytes(folder / (std::string(name) + "-int8"), shallow);
  }
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.kind());
}
