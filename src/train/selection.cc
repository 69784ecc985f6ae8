#include "train/selection.h"

#include <algorithm>
#include <memory>

#include "reducenet/collapse.h"
#include "reducenet/runtime.h"
#include "train/gates.h"
#include "train/graphs.h"
#include "train/stopwatch.h"

namespace reducenet::train {

Graph deployable(const Graph& graph) {
  return collapse(conclude(graph), {.target = Target::plan}).graph;
}

double deployed_milliseconds(const Graph& deployed, double seconds) {
  return bench(Plan(deployed, {.batch = 1, .threads = 1}), seconds).median_ms;
}

Selection choose_survivors(const Recipe& recipe, const SelectionSource& source) {
  Network& network = source.network;
  const std::vector<size_t> fades = candidate_fades(network.graph());
  const auto set = [&](const Survivors& survivors) {
    for (size_t i = 0; i < fades.size(); ++i) network.set_fade(fades[i], survivors[i] ? 1 : 0);
  };
  const std::vector<int32_t> held_out = evenly_spaced(source.validation, recipe.select.images);
  std::map<Survivors, double> known;

  SelectionContext context{.recipe = recipe.select, .candidates = fades.size(), .fades = fades};
  context.loss = [&](const Survivors& survivors) {
    set(survivors);
    return evaluate(network, source.validation_feed, held_out, true).loss;
  };
  context.milliseconds = [&](const Survivors& survivors) {
    const auto [found, fresh] = known.try_emplace(survivors);
    if (fresh) {
      set(survivors);
      found->second = deployed_milliseconds(deployable(network.graph()), 0.05);
    }
    return found->second;
  };
  context.usage = [&] {
    std::vector<ValueId> gates;
    for (const GatedBlock& block : gated_blocks(network.graph())) gates.push_back(block.gate);
    return gate_usage(network, gates, source.validation_feed, held_out);
  };
  context.copy = [&] { return Network(network.graph(), {.fused = false}, source.device); };
  context.optimizer = recipe.optimizer;
  const Stopwatch clock;
  context.progress = [&](size_t done, size_t parts) {
    if (source.options.stop != nullptr && *source.options.stop) throw Stopped{};
    if (!source.options.on_step) return;
    source.options.on_step(
        {.step = static_cast<int64_t>(done),
         .steps = static_cast<int64_t>(parts),
         .seconds_left = clock.seconds() * static_cast<double>(parts - done) / static_cast<double>(done),
         .stage = "choosing which activations survive"});
  };
  // Epochs of their own, counted backwards: other orders and augmentations than the training's.
  int64_t epoch = 0;
  std::vector<int32_t> order;
  std::unique_ptr<Loader> loader;
  context.next_batch = [&]() -> Labelled {
    for (;;) {
      if (loader) {
        const Labelled batch = source.training_feed.tensors(loader->next());
        if (batch && batch.labels.numel() == source.training_feed.batch()) return batch;
      }
      loader.reset();
      const auto seed = static_cast<uint64_t>(recipe.train.seed);
      order = epoch_order({source.training.begin(), source.training.end()}, seed, --epoch);
      loader.reset(new Loader(
          source.training_feed.loader(order, {recipe.data.crop, recipe.data.flip, recipe.data.cutout}, seed, epoch)));
    }
  };
  Selection selection = select(context);
  set(Survivors(fades.size(), true));
  return selection;
}

}  // namespace reducenet::train
