#include "train/gates.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace reducenet::train {

at::Tensor gate_cost(const std::vector<at::Tensor>& gates, const Recipe::Gate& recipe) {
  at::Tensor sum;
  for (const at::Tensor& gate : gates) sum = sum.defined() ? sum + gate.mean() : gate.mean();
  return (sum / static_cast<double>(gates.size()) - recipe.budget).square() * recipe.weight;
}

std::vector<double> gate_usage(Network& network, const std::vector<ValueId>& gates, Feed& feed,
                               std::span<const int32_t> order) {
  const c10::AutoGradMode no_grad(false);
  network.watch(gates);
  std::vector<double> usage(gates.size());
  Loader loader = feed.loader(order);
  for (Batch batch = loader.next(); batch.count() > 0; batch = loader.next()) {
    network.forward(feed.tensors(batch).pixels, false);
    for (size_t i = 0; i < gates.size(); ++i) usage[i] += network.watched()[i].sum().item<double>();
  }
  network.watch({});
  for (double& share : usage) share /= static_cast<double>(order.size());
  return usage;
}

}  // namespace reducenet::train
