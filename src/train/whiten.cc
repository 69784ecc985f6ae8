#include "train/whiten.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <random>

#include "reducenet/error.h"
#include "train/network.h"

namespace reducenet::train {
namespace {

constexpr int64_t kImages = 5000, kPatchesPerImage = 20;
constexpr double kRidge = 0.1;  // of the mean variance

/// The convolution whose input is the image, padded or not.
NodeId reader_of_image(const Graph& graph) {
  const Uses uses(graph);
  ValueId x = graph.inputs.at(0);
  while (uses.has_single_use(x)) {
    const NodeId id = uses.consumers_of(x).front();
    const Node& node = graph[id];
    if (std::holds_alternative<Pad>(node.op)) {
      x = node.outputs[0];
      continue;
    }
    const auto* const conv = std::get_if<Conv2d>(&node.op);
    if (conv && conv->groups == 1 && node.inputs[0] == x && graph.constant(node.inputs[1]) &&
        uses.has_single_use(node.inputs[1]))
      return id;
    break;
  }
  throw Error(ErrorKind::usage, fmt::format("model.whiten: no single convolution of '{}' reads the image", graph.name));
}

/// Patches of C×height×width numbers, preprocessed: [count, C·height·width].
at::Tensor patches_of(const ImageSet& images, const Preprocessing& preprocessing, int64_t height, int64_t width) {
  std::vector<int32_t> all(static_cast<size_t>(images.count()));
  std::iota(all.begin(), all.end(), 0);
  at::Tensor image = at::empty({images.channels, images.height, images.width});
  std::vector<at::Tensor> patches;
  for (const int32_t i : evenly_spaced(all, kImages)) {
    preprocessing.apply(images.image(i), image.data_ptr<float>());
    for (int64_t k = 0; k < kPatchesPerImage; ++k) {
      const uint64_t bits = random_bits(0, static_cast<uint64_t>(k), static_cast<uint64_t>(i));
      const auto rows = static_cast<uint64_t>(images.height - height + 1);
      const auto columns = static_cast<uint64_t>(images.width - width + 1);
      const auto top = static_cast<int64_t>((bits >> 32) % rows), left = static_cast<int64_t>((bits & ~0U) % columns);
      patches.push_back(image.narrow(1, top, height).narrow(2, left, width).flatten().clone());
    }
  }
  return at::stack(patches);
}

/// [D, D]: principal components as rows, the largest first, each divided by √(variance + ridge), its largest number
/// positive.
at::Tensor whitening_filters(const at::Tensor& patches) {
  const at::Tensor x = patches.to(at::kDouble);
  const at::Tensor centred = x - x.mean(0);
  const auto [variances, vectors] = at::linalg_eigh(centred.t().mm(centred) / x.size(0));  // ascending, as columns
  const at::Tensor variance = variances.flip(0).clamp_min(0), rows = vectors.t().flip(0);
  const at::Tensor largest = rows.gather(1, rows.abs().argmax(1, true));
  return (rows * largest.sign() / (variance + kRidge * variance.mean()).sqrt().unsqueeze(1)).to(at::kFloat);
}

}  // namespace

void whiten(Graph& graph, const ImageSet& images, uint64_t seed) {
  const NodeId id = reader_of_image(graph);
  const Shape shape = graph.constant(graph[id].inputs[1])->shape();
  const int64_t channels = shape[1], height = shape[2], width = shape[3], size = channels * height * width;
  if (height > images.height || width > images.width) {
    throw Error(ErrorKind::usage, fmt::format("model.whiten: images of {}x{} have no patches of {}x{}", images.height,
                                              images.width, height, width));
  }
  const auto preprocessing = Preprocessing::from_metadata(graph.metadata);
  const at::Tensor filters =
      whitening_filters(patches_of(images, preprocessing ? *preprocessing : Preprocessing::of(images), height, width));

  Node front = graph[id];
  front.name = graph.unique_name(graph[id].name + ".whiten");
  front.doc = kFixed;
  const ValueId filter = graph.add_value({.name = graph.unique_name(front.name + ".weight"),
                                          .dtype = DType::f32,
                                          .shape = Shape{size, channels, height, width},
                                          .constant = from_torch(filters.view({size, channels, height, width}))});
  const ValueId out = graph.add_value({.name = front.name, .dtype = DType::f32});
  front.inputs = {front.inputs[0], filter};
  front.outputs = {out};

  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, std::sqrt(2 / static_cast<double>(size)));
  std::vector<float> weights(static_cast<size_t>(shape[0] * size));
  for (float& weight : weights) weight = static_cast<float>(normal(random));
  Node& conv = graph[id];
  conv.op = Conv2d{};
  conv.inputs[0] = out;
  Value& weight = graph[conv.inputs[1]];
  weight.shape = Shape{shape[0], size, 1, 1};
  weight.constant = Tensor::of(*weight.shape, std::span<const float>(weights));
  graph.nodes.insert(graph.nodes.begin() + id.index, std::move(front));
  reinfer_shapes(graph);
}

}  // namespace reducenet::train
