#include <fmt/format.h>

#include <filesystem>

#include "classifier.h"
#include "dtype.h"
#include "image_description.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/quantize.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model, out, data;
  DType dtype = DType::f32;
  int64_t calibration = 256;
  bool skip_corrupt = false;
  ImageDescription images;
};

Result export_model(const Options& options) {
  const bool as_onnx = std::filesystem::path(options.out).extension() == ".onnx";
  Graph graph = as_onnx && options.dtype == DType::f32 ? load(options.model) : load_to_run(options.model);
  describe_images(graph, options.images);
  Quantised quantised;
  switch (options.dtype) {
    case DType::i8:
      if (options.data.empty()) {
        throw Error(ErrorKind::usage, "export: --dtype int8 needs --data: images to take the activations' ranges from");
      }
      quantised = quantise(settle(graph), options.data, options.calibration, options.skip_corrupt);
      graph = quantised.graph;
      break;
    case DType::bf16:
      if (as_onnx) {
        throw Error(
            ErrorKind::unsupported,
            options.out +
                ": an ONNX layer has one type for weights and activations; .safetensors and .hpp store bf16 weights");
      }
      graph = with_bf16_weights(graph);
      break;
    default:
      break;
  }
  save(graph, options.out);
  const auto bytes = std::filesystem::file_size(options.out);
  Result result{{{"out", options.out}, {"bytes", bytes}}, quantised.text};
  for (const auto& [key, value] : quantised.report.items()) result.json[key] = value;
  result.text += fmt::format("wrote {} ({} bytes)\n", options.out, bytes);
  return result;
}

}  // namespace

Action declare_export(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "Model file (.onnx, .safetensors)")->required();
  app.add_option("-o,--out", options->out, "Where to write; the extension is the format")->required();
  add_dtype(app, options->dtype);
  app.add_option("--data", options->data,
                 "Images: ranges for int8 from the training ones, accuracy from the test ones");
  add_skip_corrupt(app, options->skip_corrupt);
  app.add_option("--calibration", options->calibration, "Training images that the ranges are taken from (256)")
      ->check(CLI::PositiveNumber);
  add_image_description(app, options->images);
  return [options] { return export_model(*options); };
}

}  // namespace reducenet::cli
