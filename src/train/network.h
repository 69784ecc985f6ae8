#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reducenet/graph.h"
#include "train/norm_sum.h"

namespace reducenet::train {

struct NetworkOptions {
  bool channels_last = true;  ///< images, activations and 4-d weights in NHWC order
  bool fused = true;          ///< sums of batch normalisations with their activation as one step (on CPU, in NHWC)
};

/// The doc string of a node whose weights are data, not parameters: training leaves them as they are.
constexpr const char* kFixed = "fixed";

/// A constant as float32, or as int64 where it is of integers, on the CPU.
at::Tensor to_torch(const Tensor& constant);
/// A float32 tensor of any device and layout.
Tensor from_torch(const at::Tensor& tensor);

/// A new constant of the graph, float32, with that name or one made unique.
ValueId add_constant(Graph& graph, const std::string& name, const at::Tensor& tensor);

/// A Graph interpreted with LibTorch. Trained parameters are the float constants that Conv, ConvTranspose, Gemm,
/// MatMul, BatchNorm (gamma, beta), PRelu, Add, Mul and fades of two inputs read, and those from which weights are
/// computed; BatchNorm's mean and variance are buffers. A constant with several readers is one parameter. Parameters
/// are float32; all keep their identity for the life of the network.
class Network {
 public:
  /// Throws Error(unsupported) naming the node whose op cannot be trained.
  explicit Network(const Graph& graph, const NetworkOptions& options = {}, at::Device device = at::kCPU);

  /// x[N,C,H,W] (float, the first graph input) → the first graph output. In training, BatchNorm uses and updates by the
  /// batch's statistics, and dropout drops; autograd records whenever it is on. Throws Error naming the node that
  /// fails.
  at::Tensor forward(const at::Tensor& x, bool training);

  /// Who watches: each has a list of values of its own.
  enum class Watcher : uint8_t { features, gates };
  /// Values that forward() leaves in watched(by), in this order. Throws Error(usage) for a value that no step makes.
  void watch(std::vector<ValueId> values, Watcher by = Watcher::features);
  const std::vector<at::Tensor>& watched(Watcher by = Watcher::features) const {
    return watched_[static_cast<size_t>(by)].tensors;
  }
  /// The value stands in memory while a forward runs: it is not inside a fused step.
  bool makes(ValueId value) const;

  /// Weights of convolutions and matrix products.
  std::vector<at::Tensor> decayed_parameters() const;
  /// Every other parameter: gamma, beta, biases, slopes, scales.
  std::vector<at::Tensor> undecayed_parameters() const;
  /// Every parameter and buffer by value name, in graph order. The tensors are the network's own, in any memory format.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

  /// Fades in graph order.
  size_t fade_count() const { return fades_.size(); }
  double fade(size_t index) const;
  /// Whether a schedule moves its λ.
  bool is_scheduled(size_t index) const;
  /// Throws Error(usage) unless 0 ≤ λ ≤ 1. What only a fade at λ = 0 would read is not computed.
  void set_fade(size_t index, double lambda);
  /// Seeds what the next forwards draw at random; none: expectations stand for it.
  void set_noise(std::optional<uint64_t> seed) { noise_ = seed; }
  /// These nodes, signs of z, answer 1 with probability σ(z/temperature) and −1 otherwise, without a gradient, while
  /// there is noise.
  void sample(const std::vector<NodeId>& signs, double temperature);
  /// m (no dimensions, undefined: λ again) in the place of a λ that is not 0, with a gradient. Throws Error(usage) when
  /// the network was built with fused steps, Error(unsupported) for a fade that draws at random.
  void set_mask(size_t index, at::Tensor mask);

  /// Momentum of every BatchNorm instead of its own, or none. After reset_statistics(), 1/k for the k-th training
  /// forward makes mean and variance the plain averages over these batches.
  void set_momentum(std::optional<double> momentum) { momentum_ = momentum; }
  /// Every mean to 0, every variance to 1.
  void reset_statistics();

  /// The graph with the current weights, statistics and λ.
  Graph graph() const;

 private:
  enum class Role { constant, weight, parameter, mean, variance };
  struct Store;
  void load_constants(const NetworkOptions& options);
  void find_readers();
  /// The fade of two inputs at λ = 0 does not read this one.
  bool is_ignored(const Node& node, size_t input) const;
  void run(const Step& step, Store& store, bool training) const;
  std::vector<at::Tensor> with_role(Role role) const;

  Graph graph_;
  std::vector<at::Tensor> constants_;  // by value index; undefined where none
  std::vector<Role> roles_;            // by value index
  std::vector<size_t> fades_;          // indices of nodes
  std::vector<at::Tensor> masks_;      // by node index, or empty
  std::vector<bool> sampled_;          // by node index, or empty
  double temperature_ = 1;             // of what is sampled
  std::vector<Step> steps_;
  bool fused_ = false;
  std::vector<bool> live_;       // by step: the output depends on it
  std::vector<size_t> readers_;  // live steps that read a value, by value index; the output counts as one more
  struct Watched {
    std::vector<ValueId> values;
    std::vector<at::Tensor> tensors;  // of the last forward
  };
  std::array<Watched, 2> watched_;  // by Watcher
  std::optional<double> momentum_;
  std::optional<uint64_t> noise_;
  at::MemoryFormat format_;
  at::Device device_;
};

}  // namespace reducenet::train
