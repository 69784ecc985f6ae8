#pragma once

#include <filesystem>

#include "engines/python.h"
#include "reducenet/graph.h"

namespace reducenet {

/// One Python process with ONNX Runtime in it, for any number of models.
class OnnxRuntime {
 public:
  /// Throws Error(unsupported), saying what to install.
  explicit OnnxRuntime(int threads);

  /// Median milliseconds of the graph on random inputs, measured for about `seconds`.
  double time(const Graph& graph, double seconds);
  /// Outputs in float64, for inputs in the model's order.
  std::vector<Tensor> run(const std::filesystem::path& model, const std::vector<Tensor>& inputs);

 private:
  PythonWorker worker_;
};

}  // namespace reducenet
