#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "classifier.h"
#include "progress.h"
#include "prune.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"

namespace reducenet::cli {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The images of these indices.
ImageSet subset(const ImageSet& images, std::span<const int32_t> indices) {
  ImageSet part{.height = images.height, .width = images.width, .channels = images.channels};
  part.class_names = images.class_names;
  part.pixels.reserve(indices.size() * static_cast<size_t>(images.image_bytes()));
  for (const int32_t i : indices) {
    part.pixels.insert(part.pixels.end(), images.image(i), images.image(i) + images.image_bytes());
    part.labels.push_back(images.labels[static_cast<size_t>(i)]);
  }
  return part;
}

/// "model.onnx: …"
std::string of_file(const PruneOptions& options, const std::string& message) {
  return options.model + ": " + message;
}

}  // namespace

PruneSubject::PruneSubject(const PruneOptions& options, const PruneTraining* training)
    : options_(options), training_(training), graph_(settle(load(options.model))) {
  require_inference(graph_);
  channels_ = find_channels(graph_);
  if (options.blocks) {
    blocks_ = find_blocks(graph_);
    if (blocks_.empty()) {
      throw Error(ErrorKind::unsupported,
                  of_file(options, "no residual block of one shape at both ends: there is nothing to drop"));
    }
  } else if (channels_.unit_count() == 0) {
    std::string why = "no channel can be cut";
    for (const KeptChannels& kept : channels_.kept) {
      why += fmt::format("\n  '{}' ({}): {}", kept.node, kept.op, kept.why);
    }
    throw Error(ErrorKind::unsupported, of_file(options, why));
  }
  if (!options.data.empty()) load_images();
}

void PruneSubject::load_images() {
  const Preprocessing preprocessing = preprocessing_of(graph_);
  preprocessing.to_metadata(graph_.metadata);  // for those who train it
  images_ = load_for(preprocessing, options_.data, Split::train, options_.skip_corrupt);
  if (options_.validation >= images_.count()) {
    throw Error(ErrorKind::usage, fmt::format("--validation {} leaves nothing: {} has {} training images",
                                              options_.validation, options_.data, images_.count()));
  }
  const auto names = class_names(graph_.metadata);
  if (needs_training(options_) && !names.empty() && names != images_.class_names) {
    throw Error(ErrorKind::usage,
                of_file(options_, "its classes are others than those of " + options_.data + ", or in another order"));
  }
  split_ = hold_out(images_, options_.validation, 0);
  held_out_ =
      subset(images_, options_.images > 0 ? evenly_spaced(split_.validation, options_.images) : split_.validation);
}

int64_t PruneSubject::parts() const {
  return options_.blocks ? static_cast<int64_t>(blocks_.size()) : channels_.unit_count();
}

FitImages PruneSubject::fit(int64_t batches) const {
  return {images_, split_.training, batches, options_.batch, static_cast<uint64_t>(options_.seed), options_.threads};
}

double PruneSubject::score(const Criterion& criterion) {
  const auto start = Clock::now();
  const auto [found, fresh] = scores_.try_emplace(std::string(criterion.name));
  if (!fresh) return 0;
  const FitImages sample = fit(options_.batches);
  Gradients gradients;
  if (criterion.needs_gradients && training_) gradients = training_->gradients(graph_, sample);
  found->second = criterion.score({graph_, channels_, gradients});
  return since(start);
}

Subnetwork PruneSubject::subnetwork(const Criterion& criterion, std::optional<uint64_t> draw, const std::string& name) {
  const auto start = Clock::now();
  if (criterion.name == "random" && !draw) draw = static_cast<uint64_t>(options_.seed);
  Subnetwork sub{.name = name};
  try {
    if (options_.blocks) {
      sub.drops = draw_blocks(graph_, blocks_, options_.ratio, draw.value());
      sub.graph = drop_blocks(graph_, blocks_, sub.drops);
      sub.parts = std::ranges::count(sub.drops, false);
    } else {
      score(criterion);
      const CutOptions how{
          .ratio = options_.ratio, .per_layer = options_.per_layer, .carried_too = options_.reserved, .draw = draw};
      const Cut chosen = choose_cut(graph_, channels_, criterion, scores_.find(criterion.name)->second, how);
      sub.cut = with_dead(graph_, channels_, chosen);
      sub.graph = cut_channels(graph_, channels_, sub.cut);
      sub.parts = std::ranges::count(sub.cut, false) - 1;
    }
  } catch (const Error& error) {
    throw Error(error.kind(), of_file(options_, error.what()));
  }
  sub.seconds = since(start);
  return sub;
}

double PruneSubject::top1(const Graph& graph) const {
  Classifier classifier(graph, 32, options_.threads);
  return evaluate_images(classifier, held_out_).top1;
}

Graph PruneSubject::estimated(const Graph& graph) const {
  return training_->estimate(graph, fit(options_.bn_batches));
}

bool needs_training(const PruneOptions& options) {
  const auto by_gradients = [](const std::string& name) { return find_criterion(name).needs_gradients; };
  return options.bn_batches > 0 || options.finetune > 0 || std::ranges::any_of(options.criteria, by_gradients);
}

}  // namespace reducenet::cli
