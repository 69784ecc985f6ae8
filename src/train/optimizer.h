#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "reducenet/train.h"
#include "train/network.h"

namespace reducenet::train {

using NamedTorch = std::vector<std::pair<std::string, at::Tensor>>;

/// Updates a network's parameters from their gradients, and clears these. With g the gradient (after clipping), d the
/// weight decay (0 for undecayed parameters) and t the number of the update, from 1:
///   sgd    g ← g + d·w;  m ← momentum·m + g;  w ← w − lr·(g + momentum·m)                  (Nesterov, as PyTorch's
///   SGD) adamw  w ← w − lr·d·w;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
///          w ← w − lr/(1 − β₁ᵗ) · m / (√(v/(1 − β₂ᵗ)) + 1e-8)                             (Loshchilov and Hutter 2019)
class Optimizer {
 public:
  Optimizer(const Network& network, const Recipe::Optimizer& recipe);
  /// `update` counts from 0.
  void step(double lr, int64_t update) { take_step(lr, static_cast<double>(update)); }
  /// The same of numbers that lie on the device (no dimensions): nothing waits for the host.
  void step(const at::Tensor& lr, const at::Tensor& update) { take_step(lr, update); }
  /// Moments by name ("optimizer.first." + the parameter's), to be saved; loading copies into them.
  NamedTorch state() const;

 private:
  /// Parameters that share their weight decay, and their moments.
  struct Group {
    std::vector<at::Tensor> parameters;
    std::vector<std::string> names;
    double decay;
    std::vector<at::Tensor> first, second;
  };
  template <typename Number>
  void take_step(const Number& lr, const Number& update);
  void clip() const;
  Recipe::Optimizer recipe_;
  std::vector<Group> groups_;
};

/// Moving average of every parameter and buffer: a ← a + (1 − d)(w − a) with d = min(decay, (1 + n)/(10 + n)) at the
/// n-th update since the start or restart, so that short runs forget their first weights.
class Average {
 public:
  /// `name`: of its tensors in state(), before the network's own names.
  Average(const Network& network, double decay, const std::string& name = "average.");
  void update();
  /// d of the next update.
  double decay() const;
  /// As update(), with d from the device (no dimensions); set_updates() is to count it.
  void update(const at::Tensor& decay) const;
  /// a ← w, n ← 0.
  void restart();
  /// Exchanges the network's values with the average's.
  void swap();
  /// Copies the average into another network of the same graph.
  void copy_to(const Network& network) const;
  NamedTorch state() const;
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }

 private:
  template <typename Number>
  void mix(const Number& decay) const;
  double decay_;
  int64_t updates_ = 0;
  NamedTorch values_;
  std::vector<at::Tensor> network_, average_;
};

}  // namespace reducenet::train
