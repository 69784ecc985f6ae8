#include "certificate.h"
#include "classifier.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "verbs.h"
#include "verify_files.h"

namespace reducenet::cli {
namespace {

struct Options {
  std::string a, b, data, engine = "auto";
  int64_t samples = 8, images = 16;
  uint64_t seed = 0;
  bool skip_corrupt = false;
};

Result verify_models(const Options& options) {
  VerifyOptions verify_options{.samples = options.samples, .seed = options.seed, .real_inputs = {}};
  if (!options.data.empty()) {
    const Graph a = load(options.a);
    verify_options.real_inputs =
        real_inputs(a, load_for(preprocessing_of(a), options.data, Split::test, options.skip_corrupt), options.images);
  }
  const Certificate certificate = verify_files(options.a, options.b, options.engine, verify_options);
  return {certificate_json(certificate), certificate_text(certificate),
          certificate.verified ? 0 : static_cast<int>(ErrorKind::check_failed)};
}

}  // namespace

Action declare_verify(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("a", options->a, "The reference")->required();
  app.add_option("b", options->b, "The model to compare with it")->required();
  app.add_option("--data", options->data, "Labelled images: compare on real inputs as well");
  add_skip_corrupt(app, options->skip_corrupt);
  app.add_option("--images", options->images, "How many of them (16)")->check(CLI::PositiveNumber);
  app.add_option("--samples", options->samples, "Random inputs (8)")->check(CLI::PositiveNumber);
  app.add_option(
         "--engine", options->engine,
         "What runs them: reducenet (the reference evaluator, in double), onnxruntime (for .onnx files, through "
         "python3), or auto: the second where the first lacks an op")
      ->check(CLI::IsMember({"auto", "reducenet", "onnxruntime"}))
      ->option_text("auto|reducenet|onnxruntime");
  app.add_option("--seed", options->seed, "Of the random inputs (0)");
  return [options] { return verify_models(*options); };
}

}  // namespace reducenet::cli
