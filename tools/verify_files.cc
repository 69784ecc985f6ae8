#include "verify_files.h"

#include <string>

#include "reducenet/engines.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"

namespace reducenet::cli {
namespace {

namespace fs = std::filesystem;

Certificate verify_in_onnxruntime(const fs::path& a, const fs::path& b, const VerifyOptions& options) {
  for (const fs::path& file : {a, b}) {
    if (file.extension() != ".onnx") {
      throw Error(ErrorKind::unsupported, file.string() + ": ONNX Runtime runs .onnx files");
    }
  }
  const auto run = [&](const std::vector<std::vector<Tensor>>& samples) {
    Certificate certificate = compare(run_onnxruntime(a, samples), run_onnxruntime(b, samples));
    certificate.engine = "onnxruntime";
    return certificate;
  };
  const Graph graph = load(a);
  const auto drawn = sample_inputs(graph, options), large = sample_inputs(graph, options, true);
  try {
    return run(drawn);
  } catch (const Error&) {  // a network of a least size, perhaps
    if (drawn.empty() || drawn[0][0].shape() == large[0][0].shape()) throw;
    return run(large);
  }
}

}  // namespace

Certificate verify_files(const fs::path& a, const fs::path& b, std::string_view engine, const VerifyOptions& options) {
  if (engine == "onnxruntime") return verify_in_onnxruntime(a, b, options);
  try {
    return verify(load_to_run(a), load_to_run(b), options);
  } catch (const Error& lacking) {
    if (lacking.kind() != ErrorKind::unsupported || engine != "auto") throw;
    try {
      return verify_in_onnxruntime(a, b, options);
    } catch (const Error& error) {
      throw Error(error.kind(), std::string(lacking.what()) + "; " + error.what());
    }
  }
}

}  // namespace reducenet::cli
