#pragma once

#include <ATen/core/Tensor.h>

#include "graph/gates.h"
#include "reducenet/train.h"
#include "train/feed.h"
#include "train/network.h"

namespace reducenet::train {

/// The gates of a network as a loss sees them.
class Gates {
 public:
  Gates(const Graph& graph, const Recipe::Gate& recipe);
  /// They have a say in the loss.
  bool learn() const;
  /// Has the network, of the same graph, watch what loss() needs. As a policy its gates are drawn while it has noise,
  /// with τ falling from 1 to 0.1 as `progress` goes from 0 to 1: in the end nearly as they decide without noise.
  void watch(Network& network, double progress);
  /// What joins the loss after a forward; `losses` has one entry an image. With ḡ the mean over images and gates:
  ///   C = weight·(ḡ − budget)²
  /// straight-through: C, the gradient passing sign(z) as if it were z, between −1 and 1.
  /// policy: g is 1 with probability σ(z/τ). The gradient is REINFORCE's (Williams 1992; SkipNet, arXiv 1711.09485,
  /// section 3.3), image n's reward being what it adds to loss and C to first order, with the other images' mean as
  /// baseline:
  ///   ∂L = −(1/N)·Σₙ (Rₙ − mean of the others' R)·∂ Σᵢ log p(gₙᵢ),   Rₙ = −lossₙ − 2·weight·(ḡ − budget)·meanᵢ gₙᵢ
  /// while C has its value and no gradient. All gates count alike: their blocks cost about the same.
  at::Tensor loss(const Network& network, const at::Tensor& losses) const;

 private:
  Recipe::Gate recipe_;
  double temperature_ = 1;
  std::vector<NodeId> signs_;
  std::vector<ValueId> watched_;  // the gates; then, for a policy, what the signs read
};

/// The sign of z + temperature·log(u/(1 − u)), u uniform in (0, 1): 1 with probability σ(z/temperature), else −1.
at::Tensor drawn_sign(const at::Tensor& z, double temperature, uint64_t noise);

/// Mean of each gate over these images; watches the gates, and nothing afterwards.
std::vector<double> gate_usage(Network& network, const std::vector<ValueId>& gates, Feed& feed,
                               std::span<const int32_t> order);

}  // namespace reducenet::train
