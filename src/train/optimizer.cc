#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

namespace reducenet::train {
namespace {

std::vector<at::Tensor> zeros_like(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> zeros;
  for (const at::Tensor& tensor : tensors) zeros.push_back(at::zeros_like(tensor).set_requires_grad(false));
  return zeros;
}

std::vector<std::string> names_of(const std::vector<at::Tensor>& tensors, const NamedTorch& state) {
  std::vector<std::string> names;
  for (const at::Tensor& tensor : tensors) {
    names.push_back(
        std::ranges::find_if(state, [&](const auto& named) { return named.second.is_same(tensor); })->first);
  }
  return names;
}

/// Gradients; zeros where the loss does not depend on the parameter.
std::vector<at::Tensor> gradients(const std::vector<at::Tensor>& parameters) {
  std::vector<at::Tensor> found;
  for (const at::Tensor& parameter : parameters) {
    found.push_back(parameter.grad().defined() ? parameter.grad() : at::zeros_like(parameter));
  }
  return found;
}

}  // namespace

Optimizer::Optimizer(const Network& network, const Recipe::Optimizer& recipe) : recipe_(recipe) {
  for (auto& [parameters, decay] :
       {std::pair{network.decayed_parameters(), recipe.weight_decay}, std::pair{network.undecayed_parameters(), 0.0}}) {
    Group group{parameters, names_of(parameters, network.state()), decay, zeros_like(parameters), {}};
    if (recipe.algorithm == Recipe::Algorithm::adamw) group.second = zeros_like(parameters);
    if (!parameters.empty()) groups_.push_back(std::move(group));
  }
}

void Optimizer::step(double lr, int64_t update) {
  const c10::AutoGradMode no_grad(false);
  if (recipe_.clip > 0) clip();
  const double momentum = recipe_.momentum;
  for (Group& group : groups_) {
    std::vector<at::Tensor> gradient = gradients(group.parameters);
    if (recipe_.algorithm == Recipe::Algorithm::sgd) {
      if (group.decay > 0) at::_foreach_add_(gradient, group.parameters, group.decay);
      at::_foreach_mul_(group.first, momentum);
      at::_foreach_add_(group.first, gradient);
      at::_foreach_add_(gradient, group.first, momentum);
      at::_foreach_add_(group.parameters, gradient, -lr);
    } else {
      const double t = static_cast<double>(update + 1), beta2 = recipe_.beta2;
      if (group.decay > 0) at::_foreach_mul_(group.parameters, 1 - lr * group.decay);
      at::_foreach_mul_(group.first, momentum);
      at::_foreach_add_(group.first, gradient, 1 - momentum);
      at::_foreach_mul_(group.second, beta2);
      at::_foreach_addcmul_(group.second, gradient, gradient, 1 - beta2);
      std::vector<at::Tensor> deviation = at::_foreach_div(group.second, 1 - std::pow(beta2, t));
      at::_foreach_sqrt_(deviation);
      at::_foreach_add_(deviation, 1e-8);
      at::_foreach_addcdiv_(group.parameters, group.first, deviation, -lr / (1 - std::pow(momentum, t)));
    }
    for (at::Tensor& parameter : group.parameters) parameter.mutable_grad().reset();
  }
}

void Optimizer::clip() const {
  double square = 0;
  for (const Group& group : groups_) {
    for (const at::Tensor& gradient : gradients(group.parameters))
      square += std::pow(gradient.norm().item<double>(), 2);
  }
  const double scale = recipe_.clip / std::sqrt(square);
  if (!(scale < 1)) return;
  for (const Group& group : groups_) at::_foreach_mul_(gradients(group.parameters), scale);
}

NamedTorch Optimizer::state() const {
  NamedTorch named;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.parameters.size(); ++i) {
      named.emplace_back("optimizer.first." + group.names[i], group.first[i]);
      if (!group.second.empty()) named.emplace_back("optimizer.second." + group.names[i], group.second[i]);
    }
  }
  return named;
}

Average::Average(const Network& network, double decay, const std::string& name) : decay_(decay) {
  for (const auto& [value, tensor] : network.state()) {
    network_.push_back(tensor.detach());
    average_.push_back(network_.back().clone());
    values_.emplace_back(name + value, average_.back());
  }
}

void Average::update() {
  const c10::AutoGradMode no_grad(false);
  const auto n = static_cast<double>(updates_++);
  const double d = std::min(decay_, (1 + n) / (10 + n));
  at::_foreach_mul_(average_, d);
  at::_foreach_add_(average_, network_, 1 - d);
}

void Average::restart() {
  updates_ = 0;
  for (size_t i = 0; i < average_.size(); ++i) average_[i].copy_(network_[i]);
}

void Average::swap() {
  for (size_t i = 0; i < average_.size(); ++i) {
    const at::Tensor kept = network_[i].clone();
    network_[i].copy_(average_[i]);
    average_[i].copy_(kept);
  }
}

void Average::copy_to(const Network& network) const {
  const auto targets = network.state();
  for (size_t i = 0; i < average_.size(); ++i) targets[i].second.detach().copy_(average_[i]);
}

NamedTorch Average::state() const {
  return values_;
}

}  // namespace reducenet::train
