#include "train/gates.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "train/loader.h"

namespace reducenet::train {

Gates::Gates(const Graph& graph, const Recipe::Gate& recipe) : recipe_(recipe) {
  const std::vector<GatedBlock> blocks = gated_blocks(graph);
  for (const GatedBlock& block : blocks) {
    signs_.push_back(block.sign);
    watched_.push_back(block.gate);
  }
  if (recipe.by != Recipe::GateBy::policy) return;
  for (const NodeId sign : signs_) watched_.push_back(graph[sign].inputs[0]);
}

bool Gates::learn() const {
  return !signs_.empty() && (recipe_.weight > 0 || recipe_.by == Recipe::GateBy::policy);
}

void Gates::watch(Network& network, double progress) {
  network.watch(watched_, Network::Watcher::gates);
  if (recipe_.by != Recipe::GateBy::policy) return;
  temperature_ = 1 - 0.9 * progress;
  network.sample(signs_, temperature_);
}

at::Tensor Gates::loss(const Network& network, const at::Tensor& losses) const {
  const std::vector<at::Tensor>& watched = network.watched(Network::Watcher::gates);
  const int64_t images = losses.size(0);
  std::vector<at::Tensor> open;  // [N] each
  for (size_t i = 0; i < signs_.size(); ++i) open.push_back(watched[i].to(at::kFloat).reshape({images}));
  const at::Tensor share = at::stack(open).mean(0), excess = share.mean() - recipe_.budget;
  const at::Tensor cost = excess.square() * recipe_.weight;
  if (recipe_.by == Recipe::GateBy::straight_through) return cost;

  const at::Tensor reward = (losses.to(at::kFloat) + share * excess * (2 * recipe_.weight)).detach().neg();
  const double others = images > 1 ? static_cast<double>(images) / static_cast<double>(images - 1) : 0;
  const at::Tensor advantage = (reward - reward.mean()) * others;  // = Rₙ − mean of the others
  at::Tensor log_p = at::zeros_like(advantage);
  for (size_t i = 0; i < signs_.size(); ++i) {
    const at::Tensor z = watched[signs_.size() + i].to(at::kFloat).reshape({images});
    log_p = log_p + at::log_sigmoid(z * (open[i] * 2 - 1) / temperature_);
  }
  const at::Tensor surrogate = -(advantage * log_p).mean();
  return cost.detach() + surrogate - surrogate.detach();
}

at::Tensor drawn_sign(const at::Tensor& z, double temperature, uint64_t noise) {
  const c10::AutoGradMode no_grad(false);
  at::Tensor logistic = at::empty(z.sizes(), at::kFloat);
  for (int64_t i = 0; i < z.numel(); ++i) {
    const uint64_t bits = random_bits(noise, 0, static_cast<uint64_t>(i));
    const double u = (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;
    logistic.data_ptr<float>()[i] = static_cast<float>(temperature * std::log(u / (1 - u)));
  }
  const at::Tensor sum = z + logistic.to(z.device());
  return at::where(sum > 0, at::ones_like(sum), -at::ones_like(sum)).to(z.scalar_type());
}

std::vector<double> gate_usage(Network& network, const std::vector<ValueId>& gates, Feed& feed,
                               std::span<const int32_t> order) {
  const c10::AutoGradMode no_grad(false);
  network.watch(gates, Network::Watcher::gates);
  std::vector<double> usage(gates.size());
  Loader loader = feed.loader(order);
  for (Batch batch = loader.next(); batch.count() > 0; batch = loader.next()) {
    network.forward(feed.tensors(batch).pixels, false);
    const std::vector<at::Tensor>& open = network.watched(Network::Watcher::gates);
    for (size_t i = 0; i < gates.size(); ++i) usage[i] += open[i].sum().item<double>();
  }
  network.watch({}, Network::Watcher::gates);
  for (double& share : usage) share /= static_cast<double>(order.size());
  return usage;
}

}  // namespace reducenet::train
