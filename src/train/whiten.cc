#include "train/whiten.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <numeric>

#include "reducenet/error.h"
#include "train/network.h"
#include "train/weights.h"

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
    const bool takes = conv && conv->groups == 1 && node.inputs[0] == x && graph.constant(node.inputs[1]) &&
                       uses.has_single_use(node.inputs[1]);
    if (!takes) break;
    return id;
  }
  throw Error(ErrorKind::usage, fmt::format("model.whiten: no single convolution of '{}' reads the image", graph.name));
}

/// Patches of C×height×width numbers, preprocessed: [count, C·height·width].
at::Tensor patches_of(const ImageSet& images, const Preprocessing& preprocessing, int64_t height, int64_t width) {
  std::vector<int32_t> all(static_cast<size_t>(images.count()));
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> chosen = evenly_spaced(all, kImages);
  const auto rows = static_cast<uint64_t>(images.height - height + 1);
  const auto columns = static_cast<uint64_t>(images.width - width + 1);
  at::Tensor image = at::empty({images.channels, images.height, images.width});
  at::Tensor patches =
      at::empty({static_cast<int64_t>(chosen.size()) * kPatchesPerImage, images.channels, height, width});
  int64_t next = 0;
  for (const int32_t i : chosen) {
    preprocessing.apply(images.image(i), image.data_ptr<float>());
    for (int64_t k = 0; k < kPatchesPerImage; ++k) {
      const uint64_t bits = random_bits(0, static_cast<uint64_t>(k), static_cast<uint64_t>(i));
      const auto top = static_cast<int64_t>((bits >> 32) % rows), left = static_cast<int64_t>((bits & ~0U) % columns);
      patches[next++].copy_(image.narrow(1, top, height).narrow(2, left, width));
    }
  }
  return patches.flatten(1);
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
  const ValueId filter = add_constant(graph, front.name + ".weight", filters.view({size, channels, height, width}));
  const ValueId out = graph.add_value({.name = front.name, .dtype = DType::f32});
  front.inputs = {front.inputs[0], filter};
  front.outputs = {out};

  Node& conv = graph[id];
  conv.op = Conv2d{};
  conv.inputs[0] = out;
  Value& weight = graph[conv.inputs[1]];
  weight.shape = Shape{shape[0], size, 1, 1};
  weight.constant = WeightDraw(seed)(*weight.shape, static_cast<double>(size));
  graph.nodes.insert(graph.nodes.begin() + id.index, std::move(front));
  reinfer_shapes(graph);
}

}  // namespace reducenet::train
