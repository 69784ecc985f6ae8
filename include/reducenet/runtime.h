#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reducenet/graph.h"

namespace reducenet {

enum class Tune { none, fast, full };

struct PlanOptions {
  int64_t batch = 1;       ///< of inputs whose first dimension is open
  int threads = 1;         ///< the caller's included; the result does not depend on it
  Tune tune = Tune::none;  ///< none: kernels chosen by rule, the same on every run; fast, full: by timing each
  std::filesystem::path tuning_cache;  ///< where fast and full keep their timings for the next plan; empty: nowhere
  /// What kernels that trade rounding for speed (Winograd) may add to the outputs, over the largest output. Errors of L
  /// layers add like independent ones, so a kernel may run a layer where its error there is at most tolerance/√L.
  double tolerance = 1e-5;
  /// f32; bf16: convolutions and affine layers on bfloat16 weights and activations, sums in float32; i8: on 8-bit
  /// integers, by the ranges that the graph carries (quantize.h). All else is float32, and so is every layer that the
  /// rule (or the clock: fast, full) finds no slower in float32, conversions included.
  DType dtype = DType::f32;
  bool narrow_everywhere = false;  ///< every layer that can be is in `dtype`, however slow
};

/// A graph made ready to run: weights packed for the chosen kernels, memory laid out in one arena. A batch is run image
/// by image where the network treats images alike and uses each of its weights often: the same result, sooner and in
/// less memory.
class Plan {
 public:
  /// Throws Error(unsupported) naming the first node that no kernel can run, Error(usage) for another batch than an
  /// input's fixed one or no threads.
  explicit Plan(const Graph& graph, const PlanOptions& options = {});
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;
  ~Plan();

  /// One run. `input` and `output` are dense NCHW floats of the sizes below; where the graph has several inputs or
  /// outputs, they follow one another in its order. Re-entrant: each caller brings its own Arena, made by this plan.
  class Arena;
  std::unique_ptr<Arena, void (*)(Arena*)> arena() const;
  void run(std::span<const float> input, std::span<float> output, Arena& arena) const noexcept;
  /// The same with an arena of its own; convenient, not concurrent.
  void run(std::span<const float> input, std::span<float> output) const noexcept;

  int64_t input_size() const;   ///< floats in a batch of inputs
  int64_t output_size() const;  ///< floats in a batch of outputs
  int64_t batch() const;        ///< images in a run
  int64_t arena_bytes() const;  ///< peak memory of a run beside the weights
  /// What is run, in order: the nodes that the step stands for ("conv+bn+relu"), the kernel's name, the output's shape
  /// (of one image, where images are run one by one).
  struct Step {
    std::string node, kernel, shape;
    int64_t macs;
    double error;  ///< what its kernel adds to the rounding of plain sums, over the layer's largest output
  };
  const std::vector<Step>& steps() const;
  /// Median milliseconds of each step, in order, over runs on random input for about `seconds`.
  std::vector<double> step_milliseconds(double seconds) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct BenchResult {
  double median_ms = 0, p90_ms = 0, images_per_s = 0;
  int64_t runs = 0;
};
/// Times plan.run on random input for about `seconds`.
BenchResult bench(const Plan& plan, double seconds = 1);

}  // namespace reducenet
