#pragma once

#include <filesystem>
#include <string_view>

#include "reducenet/verify.h"

namespace reducenet::cli {

/// Compares two models in files, quantised ones as they are run. `engine`: "reducenet" (the reference evaluator),
/// "onnxruntime" (two ONNX files, on the inputs that the first would use), or "auto": the second where the first lacks
/// an op. Error(unsupported) where the engine asked for, or either, cannot run them.
Certificate verify_files(const std::filesystem::path& a, const std::filesystem::path& b, std::string_view engine,
                         const VerifyOptions& options);

}  // namespace reducenet::cli
