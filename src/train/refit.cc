#include "train/refit.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "reducenet/error.h"
#include "train/feed.h"
#include "train/graphs.h"

namespace reducenet::train {
namespace {

/// Calls each(batch) for the sample's batches.
template <class Each>
void for_each_batch(const Graph& graph, const Sample& sample, Each each) {
  const auto preprocessing = Preprocessing::from_metadata(graph.metadata);
  if (!preprocessing) {
    throw Error(ErrorKind::unsupported, "graph '" + graph.name + "': its metadata do not say how its images are made");
  }
  at::set_num_threads(sample.threads);
  const int64_t size = std::min(sample.batch, static_cast<int64_t>(sample.training.size()));
  if (size == 0) throw Error(ErrorKind::usage, "there are no training images");
  const std::vector<int32_t> order =
      epoch_order({sample.training.begin(), sample.training.end()}, sample.seed, /*epoch=*/-1);
  Feed feed(sample.images, *preprocessing, size, at::kCPU);
  Loader loader = feed.loader(order);
  for (int64_t i = 0; i < sample.batches; ++i) {
    const Batch batch = loader.next();
    if (batch.count() < size) break;
    each(feed.tensors(batch));
  }
}

}  // namespace

Graph estimate_statistics(const Graph& graph, const Sample& sample) {
  if (!has_batch_norm(graph) || sample.batches == 0) return graph;
  const c10::AutoGradMode no_grad(false);
  Network network(conclude(graph));
  network.reset_statistics();
  int64_t k = 0;
  for_each_batch(graph, sample, [&](const Labelled& in) {
    network.set_momentum(1 / static_cast<double>(++k));
    network.forward(in.pixels, true);
  });
  return network.graph();
}

Gradients loss_gradients(const Graph& graph, const Sample& sample) {
  return [&graph, &sample](const auto& each) {
    Network network(graph);
    network.set_momentum(0);
    for_each_batch(graph, sample, [&](const Labelled& in) {
      at::cross_entropy_loss(network.forward(in.pixels, true), in.labels).backward();
      std::map<int32_t, Tensor> gradients;
      for (const auto& [name, tensor] : network.state()) {
        if (!tensor.grad().defined()) continue;
        gradients.emplace(graph.find_value(name).index, from_torch(tensor.grad()));
        tensor.grad().zero_();
      }
      each(gradients);
    });
  };
}

}  // namespace reducenet::train
