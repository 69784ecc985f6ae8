// fixtures DIR: writes the small models that run.sh works on.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/builder.h"
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

/// As exporters write models by default: for so many images at once, and no word about their preprocessing.
Graph exported(int64_t batch) {
  Graph graph = finished("reduce", 0);
  set_batch(graph, batch);
  graph.metadata.clear();
  return graph;
}

/// The same for images of any number and size.
Graph of_any_size() {
  Graph graph = finished("reduce", 0);
  graph[graph.inputs[0]].shape = Shape{-1, 3, -1, -1};
  reinfer_shapes(graph);
  graph.metadata.clear();
  return graph;
}

/// The same for one image of rows of pixels, as TensorFlow has them; `shifted`: something happens to them there first.
Graph of_pixels(bool shifted) {
  Graph graph = exported(1);
  const ValueId planes = graph.inputs[0];
  const ValueId input = graph.add_value({.name = "pixels", .dtype = DType::f32, .shape = Shape{1, 16, 16, 3}});
  graph.inputs[0] = input;
  ValueId from = input;
  if (shifted) {
    Value zero{.name = "zero", .dtype = DType::f32, .shape = Shape{3}};
    zero.constant = Tensor::filled({3}, 0);
    const ValueId constant = graph.add_value(std::move(zero));
    from = graph.add_value({.name = "shifted", .dtype = DType::f32});
    graph.nodes.push_back(
        {.name = "shift", .op = Binary{Binary::Kind::sub}, .inputs = {input, constant}, .outputs = {from}});
  }
  graph.nodes.push_back({.name = "to planes", .op = Transpose{{0, 3, 1, 2}}, .inputs = {from}, .outputs = {planes}});
  sort_topologically(graph);
  reinfer_shapes(graph);
  return graph;
}

/// Two convolutions of signals [N, C, L] of any length, which a Graph has as images of one row.
Graph of_signals() {
  GraphBuilder b("signals");
  const ValueId image = b.node("signal.image", Squeeze{true, {2}}, {b.input("signal", {1, 2, -1})});
  const ValueId y = b.conv("second", b.conv("first", image, 5, {1, 3}, {}), 3, {1, 1}, {});
  b.output(b.node("row", Squeeze{false, {2}}, {y}));
  return std::move(b).finish();
}

constexpr Padding kOne{1, 1, 1, 1};

/// Two padded convolutions with a wide middle.
Graph padded() {
  GraphBuilder b("padded");
  const ValueId x = b.input("x", {1, 3, 16, 16});
  const ValueId y = b.conv("second", b.conv("first", x, 24, {3, 3}, {.padding = kOne}), 3, {3, 3}, {.padding = kOne});
  b.output(b.node("y", Activation{}, {y}));
  return std::move(b).finish();
}

/// A residual over an activation.
Graph residual() {
  GraphBuilder b("residual");
  const ValueId x = b.node("relu", Activation{}, {b.input("x", {1, 3, 16, 16})});
  const ValueId y = b.node("inner", Activation{}, {b.conv("first", x, 4, {3, 3}, {.padding = kOne})});
  b.output(b.add("y", x, b.conv("second", y, 3, {3, 3}, {.padding = kOne})));
  return std::move(b).finish();
}

// Protobuf's wire format, by hand: these models no library writes. Field numbers: onnx.proto.

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value > 127; value >>= 7) bytes += static_cast<char>(value | 128);
  return bytes + static_cast<char>(value);
}
std::string number(int field, uint64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(value);
}
std::string text(int field, const std::string& value) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(value.size()) + value;
}

std::string node(const std::string& type, const std::vector<std::string>& inputs, const std::string& output,
                 const std::string& attributes = "") {
  std::string bytes;
  for (const std::string& input : inputs) bytes += text(1, input);
  return text(1, bytes + text(2, output) + text(3, "the node") + text(4, type) + attributes);
}
std::string value_info(int field, const std::string& name, const std::vector<uint64_t>& dims) {
  std::string shape;
  for (const uint64_t dim : dims) shape += text(1, number(1, dim));
  return text(field, text(1, name) + text(2, text(1, number(1, 1) + text(2, shape))));
}
std::string tensor(const std::vector<uint64_t>& dims, const std::string& rest) {
  std::string bytes;
  for (const uint64_t dim : dims) bytes += number(1, dim);
  return text(5, bytes + number(2, 1) + text(8, "w") + rest);
}

void write_model(const std::filesystem::path& path, const std::string& graph, uint64_t edge = 2) {
  std::ofstream(path, std::ios::binary) << number(1, 8) +
                                               text(7, graph + text(2, "g") + value_info(11, "x", {1, 2, edge, edge}) +
                                                           value_info(12, "y", {1, 2, edge, edge})) +
                                               text(8, number(2, 17));
}

/// Two batch norms in a row before a node that no library knows.
void write_unknown(const std::filesystem::path& folder) {
  const float halves[] = {0.5f, 2.0f};
  std::string parameters;
  for (const char* name : {"a", "b", "c", "d"}) {
    const std::string bytes(reinterpret_cast<const char*>(halves), sizeof halves);
    parameters += text(5, number(1, 2) + number(2, 1) + text(8, name) + text(9, bytes));
  }
  const auto norm = [](const char* from, const char* to) {
    return node("BatchNormalization", {from, "a", "b", "c", "d"}, to);
  };
  write_model(folder / "unknown.onnx", parameters + norm("x", "p") + norm("p", "q") + node("Twist", {"q"}, "y"));
}

void write_bad_models(const std::filesystem::path& folder) {
  const std::string data(8, '\0'), add_w = node("Add", {"x", "w"}, "y");
  const auto external = [&](const std::string& location) {
    return tensor({2}, text(13, text(1, "location") + text(2, location)) + number(14, 1));
  };
  write_model(folder / "cyclic.onnx", node("Add", {"x", "z"}, "y") + node("Relu", {"y"}, "z"));
  write_model(folder / "dangling.onnx", node("Add", {"x", "nowhere"}, "y"));
  write_model(folder / "sizes.onnx", tensor({3}, text(9, data)) + add_w);
  write_model(folder / "negative.onnx", tensor({~uint64_t{0}}, text(9, data)) + add_w);
  write_model(folder / "absurd.onnx", node("Relu", {"x"}, "y"), uint64_t{1} << 41);
  write_model(folder / "huge.onnx", node("Relu", {"x"}, "y"), 200'000);
  write_model(folder / "outside.onnx", external("../secret") + add_w);
  write_model(folder / "absolute.onnx", external("/etc/passwd") + add_w);
  write_model(folder / "short.onnx", external("cyclic.onnx") + add_w);
  const std::string training = text(5, text(1, "training_mode") + number(3, 1) + number(20, 2));
  std::string parameters;
  for (const char* name : {"a", "b", "c", "d"}) {
    parameters += text(5, number(1, 2) + number(2, 1) + text(8, name) + text(9, data));
  }
  write_model(folder / "training.onnx",
              parameters + node("BatchNormalization", {"x", "a", "b", "c", "d"}, "y", training));
}

}  // namespace

int main(int, char** argv) {
  const std::filesystem::path folder = argv[1];
  save(finished("reduce", 0), folder / "reduce.safetensors");
  save(finished("reduce", 0), folder / "reduce.onnx");
  save(finished("reduce", 1), folder / "other-weights.onnx");
  save(exported(1), folder / "one-images.onnx");
  save(of_any_size(), folder / "any-size.onnx");
  save(exported(3), folder / "three-images.onnx");
  save(of_signals(), folder / "signals.onnx");
  save(of_pixels(false), folder / "pixels.onnx");
  save(of_pixels(true), folder / "shifted-pixels.onnx");
  save(finished("article", 0), folder / "article.safetensors");
  save(padded(), folder / "padded.onnx");
  save(residual(), folder / "residual.onnx");
  write_unknown(folder);
  write_bad_models(folder);
  save(build("plain", {.modules = 1, .widths = {4}, .height = 8, .width = 8}), folder / "other-input.safetensors");
}
