#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "cli.h"
#include "reducenet/graph.h"

namespace reducenet::cli {

/// --dtype f32|bf16|int8
inline void add_dtype(CLI::App& app, DType& dtype) {
  const std::map<std::string, DType> types{{"f32", DType::f32}, {"bf16", DType::bf16}, {"int8", DType::i8}};
  const auto set = [&dtype, types](const std::string& name) { dtype = types.at(name); };
  app.add_option_function<std::string>("--dtype", set, "Number type of weights and activations (f32)")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}))
      ->option_text("f32|bf16|int8");
}

/// The network with the ranges that int8 needs (quantize.h): equalised, and calibrated on `count` of the training
/// images. The report compares top-1 on the test images: float32, bfloat16, int8 without equalisation, int8 with it.
/// Error(usage) when a batch norm stands where equalisation and calibration want plain convolutions.
struct Quantised {
  Graph graph;
  Json report;
  std::string text;
};
Quantised quantise(const Graph& graph, const std::string& data, int64_t count, bool skip_corrupt);
/// The same without data, for timing: ranges of Gaussian noise, and a warning. What the model carries already stays.
Graph calibrated_for_timing(const Graph& graph);

/// Weights of convolutions and matrix products rounded to bfloat16, and stored so.
Graph with_bf16_weights(const Graph& graph);

}  // namespace reducenet::cli
