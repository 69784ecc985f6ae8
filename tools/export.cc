#include <fmt/format.h>

#include <filesystem>

#include "dtype.h"
#include "reducenet/formats.h"
#include "verbs.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string model, out, dtype = "f32";
};

Result export_model(const Options& options) {
  require_f32("export", options.dtype);
  save(load(options.model), options.out);
  const auto bytes = std::filesystem::file_size(options.out);
  return {{{"out", options.out}, {"bytes", bytes}}, fmt::format("wrote {} ({} bytes)\n", options.out, bytes)};
}

}  // namespace

Action declare_export(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "Model file (.onnx, .safetensors)")->required();
  app.add_option("-o,--out", options->out, "Where to write; the extension is the format")->required();
  add_dtype(app, options->dtype);
  return [options] { return export_model(*options); };
}

}  // namespace reducenet::cli
