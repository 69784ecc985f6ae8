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

// What a step does with a number of the host, or with one on the device.

double power(double base, double exponent) {
  return std::pow(base, exponent);
}
at::Tensor power(double base, const at::Tensor& exponent) {
  return at::pow(base, exponent);
}

void multiply(const std::vector<at::Tensor>& tensors, double factor) {
  at::_foreach_mul_(tensors, factor);
}
void multiply(const std::vector<at::Tensor>& tensors, const at::Tensor& factor) {
  for (const at::Tensor& tensor : tensors) tensor.mul_(factor);
}

std::vector<at::Tensor> divided(const std::vector<at::Tensor>& tensors, double divisor) {
  return at::_foreach_div(tensors, divisor);
}
std::vector<at::Tensor> divided(const std::vector<at::Tensor>& tensors, const at::Tensor& divisor) {
  std::vector<at::Tensor> quotients;
  for (const at::Tensor& tensor : tensors) quotients.push_back(tensor / divisor);
  return quotients;
}

/// tensors += rate·directions
void add(const std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& directions, double rate) {
  at::_foreach_add_(tensors, directions, rate);
}
void add(const std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& directions, const at::Tensor& rate) {
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].add_(directions[i] * rate);
}

/// tensors += rate·numerators/denominators
void add_quotient(const std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& numerators,
                  const std::vector<at::Tensor>& denominators, double rate) {
  at::_foreach_addcdiv_(tensors, numerators, denominators, rate);
}
void add_quotient(const std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& numerators,
                  const std::vector<at::Tensor>& denominators, const at::Tensor& rate) {
  add(tensors, at::_foreach_div(numerators, denominators), rate);
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

template <typename Number>
void Optimizer::take_step(const Number& lr, const Number& update) {
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
      add(group.parameters, gradient, -lr);
    } else {
      const Number t = update + 1;
      const double beta2 = recipe_.beta2;
      if (group.decay > 0) multiply(group.parameters, 1 - lr * group.decay);
      at::_foreach_mul_(group.first, momentum);
      at::_foreach_add_(group.first, gradient, 1 - momentum);
      at::_foreach_mul_(group.second, beta2);
      at::_foreach_addcmul_(group.second, gradient, gradient, 1 - beta2);
      std::vector<at::Tensor> deviation = divided(group.second, 1 - power(beta2, t));
      at::_foreach_sqrt_(deviation);
      at::_foreach_add_(deviation, 1e-8);
      add_quotient(group.parameters, group.first, deviation, -lr / (1 - power(momentum, t)));
    }
    for (at::Tensor& parameter : group.parameters) parameter.mutable_grad().reset();
  }
}

template void Optimizer::take_step(const double&, const double&);
template void Optimizer::take_step(const at::Tensor&, const at::Tensor&);

void Optimizer::clip() const {
  std::vector<at::Tensor> norms;
  for (const Group& group : groups_) {
    for (const at::Tensor& gradient : gradients(group.parameters)) norms.push_back(gradient.norm().to(at::kDouble));
  }
  const at::Tensor scale = at::clamp_max(recipe_.clip / at::stack(norms).norm(), 1);
  for (const Group& group : groups_) multiply(gradients(group.parameters), scale);
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

double Average::decay() const {
  const auto n = static_cast<double>(updates_);
  return std::min(decay_, (1 + n) / (10 + n));
}

void Average::update() {
  const c10::AutoGradMode no_grad(false);
  mix(decay());
  ++updates_;
}

void Average::update(const at::Tensor& decay) const {
  const c10::AutoGradMode no_grad(false);
  mix(decay);
}

template <typename Number>
void Average::mix(const Number& decay) const {
  multiply(average_, decay);
  add(average_, network_, 1 - decay);
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
