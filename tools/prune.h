#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "cli.h"
#include "reducenet/data.h"
#include "reducenet/prune.h"

namespace reducenet::cli {

struct PruneOptions {
  std::string model, out, data;
  std::vector<std::string> criteria, settings;
  double ratio = 0.5, within = 0.01, lr = 0.01;
  bool per_layer = false, blocks = false, reserved = false, measure = false, skip_corrupt = false;
  std::optional<int64_t> sample, draw;
  int64_t bn_batches = 0, batches = 10, batch = 128, finetune = 0, finetune_samples = -1, validation = kTenth,
          images = 0, seed = 0;
  int threads = 1;
};

/// Training images for a network that was cut.
struct FitImages {
  const ImageSet& images;
  std::span<const int32_t> training;
  int64_t batches, batch;
  uint64_t seed;
  int threads;
};

/// What pruning asks of LibTorch. The first program has none of it and becomes the second where it is needed.
struct PruneTraining {
  Gradients (*gradients)(const Graph& graph, const FitImages& sample);  ///< both must outlive the result
  Graph (*estimate)(const Graph& graph, const FitImages& sample);
  /// Trains in `folder`, or goes on there; nothing when asked to stop.
  std::optional<Graph> (*finetune)(const Graph& graph, const PruneOptions& options, const std::string& folder,
                                   const std::function<void(double done, double total)>& progress,
                                   const std::atomic<bool>* stop);
};

/// A network with parts taken out.
struct Subnetwork {
  std::string name;  ///< "l1", "random-3"
  Graph graph;
  int64_t parts = 0;        ///< units or blocks that are left
  double seconds = 0;       ///< that finding and cutting it took
  Cut cut;                  ///< of channels
  std::vector<bool> drops;  ///< of blocks
};

/// What is cut, and on which images it is judged: training images that were held out.
class PruneSubject {
 public:
  PruneSubject(const PruneOptions& options, const PruneTraining* training);

  const Graph& graph() const { return graph_; }
  const Channels& channels() const { return channels_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const ImageSet& held_out() const { return held_out_; }
  int64_t parts() const;
  /// Seconds that the criterion's scores took, and they themselves, once.
  double score(const Criterion& criterion);
  /// The sub-network of that criterion; drawn, where `draw` is set or the criterion ranks nothing.
  Subnetwork subnetwork(const Criterion& criterion, std::optional<uint64_t> draw, const std::string& name);
  /// Share of the held-out images that it gets right.
  double top1(const Graph& graph) const;
  /// Statistics of the batch norms, estimated again.
  Graph estimated(const Graph& graph) const;

 private:
  FitImages fit(int64_t batches) const;
  void load_images();

  const PruneOptions& options_;
  const PruneTraining* training_;
  Graph graph_;
  Channels channels_;
  std::vector<Block> blocks_;
  ImageSet images_, held_out_;
  HoldOut split_;
  std::map<std::string, std::vector<double>, std::less<>> scores_;
};

/// Whether these options need LibTorch.
bool needs_training(const PruneOptions& options);
Result prune_once(const PruneOptions& options, const PruneTraining* training);
Result prune_samples(const PruneOptions& options, const PruneTraining* training);

/// The verb, with or without training.
Action declare_prune_with(CLI::App& app, const PruneTraining* training);

}  // namespace reducenet::cli
