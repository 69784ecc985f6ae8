#include "formats/header/header.h"

#include <fmt/format.h>

#include "formats/header/kernels.h"
#include "formats/header/program.h"
#include "formats/header/text.h"
#include "formats/naming.h"
#include "reducenet/data.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

using namespace header;

constexpr std::string_view kIncludes = R"(#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
)";

std::string shape_text(const Graph& graph, const std::vector<ValueId>& ids) {
  std::string text;
  for (const ValueId id : ids) {
    Shape shape = *graph[id].shape;
    if (!shape.empty() && shape[0] < 0) shape[0] = 1;
    text += (text.empty() ? "" : ", then ") + literal(graph[id].name) + " " + to_string(shape);
  }
  return text;
}

std::string doubles(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += (text.empty() ? "" : ", ") + number(value);
  return "{" + text + "}";
}

/// Image sizes, mean, deviation and the function that turns pixels into the input; nothing when the model is silent.
std::string preprocessing_text(const Graph& graph) {
  const auto p = Preprocessing::from_metadata(graph.metadata);
  if (!p) return "";
  std::vector<double> scale, shift;
  for (size_t c = 0; c < p->mean.size(); ++c) {
    scale.push_back(1 / (255 * p->std[c]));
    shift.push_back(-p->mean[c] / p->std[c]);
  }
  return fmt::format(
      R"(
/// Images as the model was trained on them: mean and deviation of pixels in [0, 1], channels in this order.
inline constexpr std::ptrdiff_t image_height = {0}, image_width = {1}, image_channels = {2};
inline constexpr float mean[] = {3}, deviation[] = {4};
inline constexpr char channel_order[] = {5}, resize[] = {6};

/// RGB or grey pixels [height][width][channels], 0 to 255 → one image of the input, (pixel/255 − mean)/deviation.
inline void preprocess(const unsigned char* pixels, float* input) noexcept {{
  constexpr float scale[] = {7}, shift[] = {8};
  for (std::ptrdiff_t c = 0; c < image_channels; ++c) {{
    const std::ptrdiff_t source = {9};
    for (std::ptrdiff_t i = 0; i < image_height * image_width; ++i) {{
      input[c * image_height * image_width + i] =
          static_cast<float>(pixels[i * image_channels + source]) * scale[c] + shift[c];
    }}
  }}
}}
)",
      p->height, p->width, p->channels, doubles(p->mean), doubles(p->std), literal(p->channel_order),
      literal(p->resize), doubles(scale), doubles(shift), p->channel_order == "BGR" ? "image_channels - 1 - c" : "c");
}

std::string class_names_text(const Graph& graph) {
  const std::vector<std::string> names = class_names(graph.metadata);
  if (names.empty()) return "";
  std::string text;
  for (const std::string& name : names) text += "    " + literal(name) + ",\n";
  return fmt::format("\n/// By index in the output.\ninline constexpr const char* class_names[] = {{\n{}}};\n", text);
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 32 || c == '\\' || c == '?') c = ' ';  // no line splices or trigraphs
  }
  return text;
}

}  // namespace

std::string to_header(const Graph& graph, std::string_view stem) {
  const std::string name = identifier(stem);
  const Translation program = translate(graph);
  const int64_t arena = std::max<int64_t>(program.arena, 1);

  std::string text =
      one_line(fmt::format("// {}: the network \"{}\" as a C++17 header, made by ReduceNet.", name, graph.name));
  text += fmt::format(R"(
//
//   static float input[{0}::input_size], output[{0}::output_size];
//   {0}::run(input, output);
//
// Input:  {1}
// Output: {2}
// All are float, dense, NCHW; several stand one behind the other.
//
// {3} layers, {4} multiply-adds; {5} bytes of weights, {6} bytes of static memory for what lies between the layers.
// No heap, no exceptions, nothing else to link. Vectors are as wide as the compiler may make them: -O3 -march=native.
// The weights are decoded once, on the first run. run(input, output) uses one static arena, so one call at a time;
// concurrent callers bring their own: run(input, output, arena).
#pragma once

{7}
namespace {0} {{

inline constexpr std::ptrdiff_t input_size = {8}, output_size = {9};  // floats
)",
                      name, one_line(shape_text(graph, graph.inputs)), one_line(shape_text(graph, graph.outputs)),
                      program.steps, program.macs, program.blob.stored(), arena * 4, kIncludes, program.input_size,
                      program.output_size);
  text += class_names_text(graph) + preprocessing_text(graph);
  text += fmt::format(
      "\n/// What a run writes beside its output.\nstruct Arena {{\n  alignas(64) float data[{}];\n}};\n", arena);
  text += "\nnamespace detail {\n\n" + std::string(kKernels);
  text += program.blob.source();
  text += "\n}  // namespace detail\n";
  text += fmt::format(
      "\ninline void run(const float* input, float* output, Arena& arena) noexcept {{\n"
      "  using namespace detail;\n"
      "  float* const a = arena.data;\n"
      "  (void)input, (void)output, (void)a;\n{}{}}}\n"
      "\ninline void run(const float* input, float* output) noexcept {{\n"
      "  static Arena arena;\n  run(input, output, arena);\n}}\n\n}}  // namespace {}\n",
      program.blob.pointers(), program.calls, name);
  return text;
}

void save_header(const Graph& graph, const std::filesystem::path& path) {
  const std::string text = naming(path.string(), [&] { return to_header(graph, path.stem().string()); });
  write_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace reducenet
