#pragma once

#include <filesystem>

#include "reducenet/verify.h"

namespace reducenet::cli {

/// Compares two ONNX files in ONNX Runtime on the inputs that `verify` would use. `a` is the first as a graph.
Certificate verify_in_onnxruntime(const Graph& a, const std::filesystem::path& a_file,
                                  const std::filesystem::path& b_file, const VerifyOptions& options);

}  // namespace reducenet::cli
