#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet::cli {

/// What a file does not say about its images when others have made it: read once, written into the metadata, and from
/// then on used by eval, predict, collapse --data, int8 ranges, training and headers alike.
struct ImageDescription {
  std::vector<double> mean, std;  ///< per channel, of pixels in [0, 1]
  std::vector<int64_t> size;      ///< height, width, or a length: what a model that takes any is fixed to
  std::string channel_order = "RGB", names;
  bool channels_first = false;  ///< turn an input [N,H,W,C] to [N,C,H,W]
};

void add_image_description(CLI::App& app, ImageDescription& description);

/// Writes what was given into the graph's metadata, the size into its input. Errors: usage (mean without std, a number
/// of values that is not the model's number of channels, values of pixels up to 255, another size than the model's,
/// channels that are first already); unsupported (no image goes in); io and bad_input (the file of names: absent,
/// empty, or another number than the model has outputs).
void describe_images(Graph& graph, const ImageDescription& description);

}  // namespace reducenet::cli
