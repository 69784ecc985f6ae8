// Writes, for each network: MODEL.onnx, MODEL.input (floats) and MODEL.logits (the oracle's, as floats), for check.py.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>

#include "graph/gates.h"
#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "runtime/test_graphs.h"

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

constexpr int64_t kImages = 12;

/// Images of different brightness, of the graph's input.
Tensor images_for(const Graph& graph) {
  Shape shape = *graph[graph.inputs[0]].shape;
  shape[0] = kImages;
  std::vector<float> images(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < images.size(); ++i) {
    images[i] = static_cast<float>(i * kImages / images.size()) / 4 - 1.5f + uniform(-1, 1);
  }
  return Tensor::of(shape, images);
}

/// One gate after the other gets the offset at which it opens for half of the images.
void balance_gates(Graph& graph, const Tensor& images) {
  for (const Node& node : std::vector<Node>(graph.nodes)) {
    if (!node.name.ends_with(".gate.shifted")) continue;
    std::vector<double> z;
    evaluate(graph, {&images, 1}, {}, [&](ValueId id, const Tensor& value) {
      if (id == node.inputs[0]) z = value.to_doubles();
    });
    std::ranges::sort(z);
    graph[node.inputs[1]].constant = Tensor::filled({1}, -(z[kImages / 2 - 1] + z[kImages / 2]) / 2);
  }
}

/// A network whose blocks gates let run. MODEL.input and MODEL.logits are of several images; MODEL.gates has for each
/// the number of convolutions that it asks for.
void dump_gated(const fs::path& stem, const Graph& graph, const Tensor& images) {
  const auto gates = gated_blocks(graph);
  int64_t always =
      std::ranges::count_if(graph.nodes, [](const Node& n) { return std::holds_alternative<Conv2d>(n.op); });
  std::vector<int64_t> behind;  // by gate
  for (const GatedBlock& gate : gates) {
    const std::vector<NodeId> block = nodes_behind(graph, Uses(graph), gate);
    behind.push_back(
        std::ranges::count_if(block, [&](NodeId id) { return std::holds_alternative<Conv2d>(graph[id].op); }));
    always -= behind.back();
  }
  std::vector<float> asked(kImages, static_cast<float>(always));
  const Tensor logits = evaluate(graph, {&images, 1}, {}, [&](ValueId id, const Tensor& value) {
    for (size_t k = 0; k < gates.size(); ++k) {
      if (gates[k].gate != id) continue;
      const std::vector<double> open = value.to_doubles();
      const auto count = std::ranges::count(open, 1.0);
      if (count == 0 || count == kImages) {
        throw Error(ErrorKind::check_failed, "gate '" + graph[id].name + "' is constant");
      }
      for (size_t i = 0; i < open.size(); ++i) asked[i] += static_cast<float>(open[i]) * static_cast<float>(behind[k]);
    }
  })[0];
  save(graph, fs::path(stem) += ".onnx");
  write(fs::path(stem) += ".input", images.to_floats());
  write(fs::path(stem) += ".logits", logits.to_floats());
  write(fs::path(stem) += ".gates", asked);
}

/// Whether the node's first input is a tensor of these, or the flattened form of one.
std::optional<TensorScale> scale_of_input(const Graph& graph, const Node& node, const Quantization& scales) {
  const auto known = [&](ValueId id) { return scales.find(graph[id].name); };
  if (const auto found = known(node.inputs[0]); found != scales.end()) return found->second;
  for (const Node& before : graph.nodes) {
    if (!std::holds_alternative<Flatten>(before.op) || before.outputs[0] != node.inputs[0]) continue;
    if (const auto found = known(before.inputs[0]); found != scales.end()) return found->second;
  }
  return std::nullopt;
}

/// Weights and biases as the integers stand for them, in double.
Graph with_integer_weights(Graph graph, const Quantization& scales) {
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<Conv2d>(node.op) && !std::holds_alternative<Gemm>(node.op)) continue;
    const auto as = scale_of_input(graph, node, scales);
    if (!as) throw Error(ErrorKind::check_failed, "node '" + node.name + "' does not read bytes");
    const double x = static_cast<float>(as->scale);
    const Tensor weight = *graph.constant(node.inputs[1]);
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2];
    const int64_t outputs = weight.shape()[0];
    const ByteLayer layer =
        in_bytes(weight.to_doubles(), has_bias ? graph.constant(node.inputs[2])->to_doubles() : std::vector<double>{},
                 outputs, x);
    std::vector<double> w(layer.weight.begin(), layer.weight.end()), b(layer.bias.begin(), layer.bias.end());
    for (size_t i = 0; i < w.size(); ++i) w[i] *= layer.scales[i / (w.size() / b.size())];
    for (size_t o = 0; o < b.size(); ++o) b[o] *= x * layer.scales[o];
    graph[node.inputs[1]].constant = Tensor::from_doubles(weight.shape(), w);
    if (has_bias) graph[node.inputs[2]].constant = Tensor::from_doubles({outputs}, b);
  }
  return graph;
}

/// Every tensor with a scale becomes an input of what reads it and an output of what makes it.
Graph cut(Graph graph, const std::vector<ValueId>& at) {
  std::map<ValueId, ValueId> read;
  std::vector<ValueId> inputs, outputs;
  for (const ValueId id : at) {
    read[id] = graph.add_value({.name = graph.unique_name(graph[id].name + ".read"), .shape = graph[id].shape});
    inputs.push_back(read[id]);
    if (std::ranges::find(graph.inputs, id) == graph.inputs.end()) outputs.push_back(id);
  }
  for (Node& node : graph.nodes) {
    for (ValueId& id : node.inputs) {
      if (const auto found = read.find(id); found != read.end()) id = found->second;
    }
  }
  graph.inputs = inputs;
  graph.outputs = outputs;
  return graph;
}

/// Roundings that meet in one element of a value, back to the inputs of the graph.
int64_t terms(const Graph& graph, ValueId value) {
  for (const Node& node : graph.nodes) {
    if (node.outputs[0] != value) continue;
    const auto size = [&](ValueId id) { return element_count(*graph[id].shape); };
    const int64_t macs = count_macs(graph, node) * (*graph[value].shape)[0];
    int64_t sum = 2 + std::max(macs, size(node.inputs[0])) / size(value);
    for (const ValueId id : node.inputs) {
      if (id && !graph.constant(id)) sum += terms(graph, id);
    }
    return sum;
  }
  return 0;
}

void write_doubles(const fs::path& path, const std::vector<double>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(double)));
}

/// In 8 bits: MODEL.layers names every tensor with a scale (a line each: terms, name). Of the n-th, MODEL.n.bytes are
/// the runtime's; MODEL.n.exact what they are before rounding, computed in double from the runtime's bytes before them;
/// MODEL.n.sizes the same with every factor's magnitude. An input has only bytes.
void dump_layers(const fs::path& stem, Graph graph, std::span<const float> image, int64_t batch) {
  set_batch(graph, batch);
  const Quantization scales = *quantization(graph);
  std::vector<ValueId> at;
  for (const auto& [name, as] : scales) at.push_back(graph.find_value(name));
  Graph observed = graph;
  observed.outputs = at;
  const Plan plan(observed, {.batch = batch, .dtype = DType::i8, .narrow_everywhere = true});
  std::vector<float> values(static_cast<size_t>(plan.output_size()));
  plan.run(image, values);

  const Graph layers = cut(with_integer_weights(graph, scales), at);
  std::vector<Tensor> inputs;
  std::ofstream list(fs::path(stem) += ".layers");
  auto from = values.begin();
  for (size_t n = 0; n < at.size(); ++n) {
    const TensorScale& as = scales.at(graph[at[n]].name);
    const auto scale = static_cast<float>(as.scale);
    std::vector<char> bytes;
    std::vector<double> real;
    for (int64_t i = 0; i < element_count(*graph[at[n]].shape); ++i) {
      const float q = std::clamp(std::nearbyint(*from++ / scale) + static_cast<float>(as.zero), 0.0f, 255.0f);
      bytes.push_back(static_cast<char>(static_cast<uint8_t>(q)));
      real.push_back(static_cast<double>(scale) * (static_cast<double>(q) - static_cast<double>(as.zero)));
    }
    std::ofstream(fs::path(stem) += "." + std::to_string(n) + ".bytes", std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    inputs.push_back(Tensor::from_doubles(*graph[at[n]].shape, real));
    list << terms(layers, at[n]) << ' ' << graph[at[n]].name << '\n';
  }
  const std::vector<Tensor> exact = evaluate(layers, inputs), sizes = testing::magnitudes(layers, inputs);
  for (size_t k = 0; k < layers.outputs.size(); ++k) {
    const auto n = static_cast<size_t>(std::ranges::find(at, layers.outputs[k]) - at.begin());
    write_doubles(fs::path(stem) += "." + std::to_string(n) + ".exact", exact[k].to_doubles());
    write_doubles(fs::path(stem) += "." + std::to_string(n) + ".sizes", sizes[k].to_doubles());
  }
}

/// In 8 bits: what the runtime's integers compute, for ONNX Runtime's reading of the QDQ form.
void dump_bytes(const fs::path& stem, Graph graph) {
  Shape one = *graph[graph.inputs[0]].shape;
  one[0] = 1;
  std::vector<std::vector<float>> batches(8);
  for (std::vector<float>& image : batches) {
    image.resize(static_cast<size_t>(element_count(one)));
    for (float& v : image) v = uniform(-2, 2);
  }
  set_quantization(graph, calibrate(graph, batches, 1));
  save(graph, fs::path(stem) += ".onnx");
  const Plan plan(graph, {.batch = 2, .dtype = DType::i8, .narrow_everywhere = true});
  std::vector<float> image(static_cast<size_t>(plan.input_size())), logits(static_cast<size_t>(plan.output_size()));
  for (float& v : image) v = uniform(-2, 2);
  plan.run(image, logits);
  write(fs::path(stem) += ".input", image);
  write(fs::path(stem) += ".logits", logits);
  dump_layers(stem, graph, image, 2);
}

/// Grouped and depthwise layers, 1×1, strides, a residual, a BatchNorm that merges into nothing, two matrices.
Graph mixed() {
  GraphBuilder b("mixed", 17);
  ValueId x = b.input("x", {-1, 3, 19, 17});
  const auto conv = [&](const char* name, ValueId from, int64_t outputs, int64_t kernel, Conv2d op) {
    op.padding = {kernel / 2, kernel / 2, kernel / 2, kernel / 2};
    return b.activation(std::string(name) + ".relu", b.conv(name, from, outputs, {kernel, kernel}, op, true),
                        activation_named("relu"));
  };
  x = conv("stem", x, 24, 3, {.stride = {2, 2}});
  const ValueId wide = conv("depthwise", x, 24, 5, {.groups = 24});
  x = b.add("sum", conv("product", wide, 24, 1, {}), x);
  x = b.activation("norm.relu", b.batch_norm("norm", x), activation_named("relu"));
  x = conv("grouped", x, 36, 3, {.stride = {1, 2}, .groups = 4});
  x = b.activation("fc1.relu", b.gemm("fc1", b.node("flat", Flatten{}, {x}), 40), activation_named("relu"));
  b.output(b.gemm("fc2", x, 10));
  Graph graph = std::move(b).finish();
  randomise_batch_norms(graph);
  return graph;
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
  dump_bytes(folder / "mixed-int8", mixed());
  Graph skipnet = build("skipnet", {.modules = 3, .widths = {8, 16}});
  randomise_batch_norms(skipnet);
  const Tensor images = images_for(skipnet);
  balance_gates(skipnet, images);
  dump_gated(folder / "skipnet-gated", skipnet, images);
  dump_gated(folder / "skipnet-collapsed-gated", collapse(skipnet).graph, images);
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.kind());
}
