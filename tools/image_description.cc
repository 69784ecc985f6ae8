#include "image_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "reducenet/data.h"
#include "reducenet/error.h"

namespace reducenet::cli {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorKind::usage, why);
}

/// One value a channel, at least `least`; a single one is every channel's.
std::vector<double> by_channel(const char* option, std::vector<double> values, int64_t channels, double least) {
  if (values.size() == 1) values.resize(static_cast<size_t>(channels), values[0]);
  if (static_cast<int64_t>(values.size()) != channels) {
    refuse(fmt::format("{}: {} values, and the model's images have {} channels", option, values.size(), channels));
  }
  for (const double value : values) {
    if (value > 1) {
      refuse(fmt::format("{}: {} is of pixels up to 255; pixels here are in [0, 1], so divide by 255", option, value));
    }
    if (!(value >= least)) refuse(fmt::format("{}: {} makes no sense", option, value));
  }
  return values;
}

/// Shape of the images that go in.
const Shape& image_shape(const Graph& graph) {
  const Value& input = graph[graph.inputs.at(0)];
  if (!input.shape || input.shape->size() != 4) {
    throw Error(ErrorKind::unsupported, fmt::format("input '{}' takes no images", input.name));
  }
  return *input.shape;
}

/// What reads the input [N,H,W,C] reads it through a Transpose from [N,C,H,W]; a node that turns it back to that does
/// nothing.
void put_channels_first(Graph& graph) {
  const ValueId input = graph.inputs.at(0);
  const Shape last = image_shape(graph);
  const auto are_channels = [](int64_t n) { return n == 1 || n == 3; };
  if (!are_channels(last[3])) {
    refuse(fmt::format("--channels-first: input '{}' is {}: its last dimension holds no channels", graph[input].name,
                       to_string(last)));
  }
  if (are_channels(last[1])) {
    refuse(fmt::format("--channels-first: input '{}' is {}: its channels may be first already", graph[input].name,
                       to_string(last)));
  }
  const auto turned = [](const auto& of) { return std::decay_t<decltype(of)>{of[0], of[3], of[1], of[2]}; };
  const std::string name = graph.unique_name(graph[input].name + ".channels_last");
  Value as_before = graph[input];
  as_before.name = name;
  graph[input].shape = turned(last);
  if (graph[input].dim_names.size() == last.size()) graph[input].dim_names = turned(graph[input].dim_names);
  const ValueId channels_last = graph.add_value(std::move(as_before));
  for (Node& node : graph.nodes) {
    if (std::ranges::find(node.inputs, input) == node.inputs.end()) continue;
    const auto* const opaque = std::get_if<Opaque>(&node.op);
    if (opaque != nullptr &&
        std::find(node.inputs.end() - opaque->reads, node.inputs.end(), input) != node.inputs.end()) {
      throw Error(ErrorKind::unsupported,
                  fmt::format("--channels-first: a subgraph of node '{}' reads the input", node.name));
    }
    if (node.op == Op(Transpose{{0, 3, 1, 2}})) {
      node.op = Identity{};
    } else {
      std::ranges::replace(node.inputs, input, channels_last);
    }
  }
  std::ranges::replace(graph.outputs, input, channels_last);
  graph.nodes.push_back({.name = name, .op = Transpose{{0, 2, 3, 1}}, .inputs = {input}, .outputs = {channels_last}});
  sort_topologically(graph);
  remove_dead(graph);
  reinfer_shapes(graph);
}

/// Of images [N, C, H, W], or of signals [N, C, L].
void fix_size(Graph& graph, const std::vector<int64_t>& given) {
  const std::optional<Shape>& input = graph[graph.inputs.at(0)].shape;
  const bool signals = input && input->size() == 3;
  if (signals && given.size() != 1) refuse("--size: the model takes signals: one number, their length");
  Shape shape = signals ? *input : image_shape(graph);
  const Shape wanted = signals ? Shape{given[0]} : Shape{given.front(), given.back()};
  const Shape is(shape.begin() + 2, shape.end());
  for (size_t i = 0; i < is.size(); ++i) {
    if (is[i] > 0 && is[i] != wanted[i]) {
      refuse(fmt::format("--size: the model takes {} {}", to_string(is), signals ? "signals" : "images"));
    }
  }
  if (is == wanted) return;  // inferring again would forget what only the exporter knew
  std::ranges::copy(wanted, shape.begin() + 2);
  graph[graph.inputs[0]].shape = std::move(shape);
  reinfer_shapes(graph);
}

void describe_pixels(Graph& graph, const ImageDescription& given) {
  if (given.mean.empty() || given.std.empty()) refuse("--mean and --std are given together");
  const Shape& shape = image_shape(graph);
  if (shape[1] != 1 && shape[1] != 3) {
    throw Error(ErrorKind::unsupported, "the model's images have other channels than one or three");
  }
  if (shape[2] <= 0 || shape[3] <= 0) refuse("the model takes images of any size: say which with --size");
  Preprocessing{.height = shape[2],
                .width = shape[3],
                .channels = shape[1],
                .mean = by_channel("--mean", given.mean, shape[1], 0),
                .std = by_channel("--std", given.std, shape[1], std::numeric_limits<double>::min()),
                .channel_order = given.channel_order}
      .to_metadata(graph.metadata);
}

void describe_classes(Graph& graph, const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error(ErrorKind::io, "cannot read " + path);
  std::vector<std::string> names;
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  const Value& output = graph[graph.outputs.at(0)];
  const int64_t classes = output.shape && !output.shape->empty() ? output.shape->back() : 0;
  if (names.empty() || (classes > 0 && static_cast<int64_t>(names.size()) != classes)) {
    throw Error(ErrorKind::bad_input,
                fmt::format("{}: {} names, and the model has {} outputs", path, names.size(), classes));
  }
  set_class_names(graph.metadata, names);
}

}  // namespace

void add_image_description(CLI::App& app, ImageDescription& description) {
  app.add_option("--mean", description.mean, "Of pixels in [0, 1], by channel: what the model's training subtracted")
      ->delimiter(',')
      ->option_text("R,G,B");
  app.add_option("--std", description.std, "Of pixels in [0, 1], by channel: what it divided by")
      ->delimiter(',')
      ->option_text("R,G,B");
  app.add_option("--size", description.size,
                 "Where the model takes images of any size: the height and width it is fixed to (one number: both); of "
                 "signals [N,C,L]: the length")
      ->delimiter('x')
      ->expected(1, 2)
      ->check(CLI::PositiveNumber)
      ->option_text("HxW");
  app.add_flag("--channels-first", description.channels_first,
               "Turn an input [N,H,W,C], as TensorFlow has it, to [N,C,H,W], in which all else here makes images");
  app.add_option("--channel-order", description.channel_order, "Of the model's input (RGB)")
      ->check(CLI::IsMember({"RGB", "BGR"}))
      ->option_text("RGB|BGR");
  app.add_option("--class-names", description.names, "File with a name a line, in the order of the model's scores")
      ->option_text("FILE");
}

void describe_images(Graph& graph, const ImageDescription& description) {
  const bool pixels = !description.mean.empty() || !description.std.empty();
  if (!pixels && description.channel_order != "RGB") refuse("--channel-order goes with --mean and --std");
  if (description.channels_first) put_channels_first(graph);
  if (!description.size.empty()) fix_size(graph, description.size);
  if (pixels) describe_pixels(graph, description);
  if (!description.names.empty()) describe_classes(graph, description.names);
}

}  // namespace reducenet::cli
