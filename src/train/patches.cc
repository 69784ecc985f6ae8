#include "train/patches.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <numeric>

#include "reducenet/error.h"
#include "train/network.h"
#include "train/weights.h"

namespace reducenet::train {
namespace {

constexpr int64_t kImages = 5000, kPatchesPerImage = 20, kAnswers = 8000;
constexpr double kWhitenRidge = 0.1, kFilterRidge = 0.3;  // of the mean variance
constexpr double kLeast = 1e-12;                          // images of one colour have no spread

/// The convolution whose input is the image, padded or not. `key` is the recipe's, for messages.
NodeId reader_of_image(const Graph& graph, const char* key) {
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
  throw Error(ErrorKind::usage, fmt::format("{}: no single convolution of '{}' reads the image", key, graph.name));
}

/// Patches of the kernel's shape [·, C, height, width], preprocessed: [count, C·height·width].
at::Tensor patches_of(const ImageSet& images, const Graph& graph, const Shape& kernel, const char* key) {
  const int64_t height = kernel[2], width = kernel[3];
  if (height > images.height || width > images.width) {
    throw Error(ErrorKind::usage, fmt::format("{}: images of {}x{} have no patches of {}x{}", key, images.height,
                                              images.width, height, width));
  }
  const auto known = Preprocessing::from_metadata(graph.metadata);
  const Preprocessing preprocessing = known ? *known : Preprocessing::of(images);
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

/// Principal components of patches (double), the largest first.
struct Components {
  at::Tensor rows;    ///< [D, D], each of length 1
  at::Tensor spread;  ///< [D, 1], √(variance + ridge · mean variance)
};

Components components_of(const at::Tensor& patches, double ridge) {
  const at::Tensor centred = patches - patches.mean(0);
  const auto [variances, vectors] = at::linalg_eigh(centred.t().mm(centred) / patches.size(0));  // ascending, columns
  const at::Tensor variance = variances.flip(0).clamp_min(0);
  return {vectors.t().flip(0), (variance + ridge * variance.mean()).sqrt().clamp_min(kLeast).unsqueeze(1)};
}

/// [D, D]: principal components as rows, each divided by its spread, its largest number positive.
at::Tensor whitening_filters(const at::Tensor& patches) {
  const auto [rows, spread] = components_of(patches.to(at::kDouble), kWhitenRidge);
  const at::Tensor largest = rows.gather(1, rows.abs().argmax(1, true));
  return (rows * largest.sign() / spread).to(at::kFloat);
}

/// `count` of the rows, one from each of as many equal stretches.
at::Tensor draw_rows(const at::Tensor& rows, int64_t count, uint64_t seed) {
  std::vector<int64_t> drawn(static_cast<size_t>(count));
  const int64_t stretch = rows.size(0) / count;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = random_bits(seed, /*epoch=*/0, static_cast<uint64_t>(i));
    drawn[static_cast<size_t>(i)] = i * stretch + static_cast<int64_t>(bits % static_cast<uint64_t>(stretch));
  }
  return rows.index_select(0, at::tensor(drawn));
}

}  // namespace

void whiten(Graph& graph, const ImageSet& images, uint64_t seed) {
  constexpr const char* key = "model.whiten";
  const NodeId id = reader_of_image(graph, key);
  const Shape shape = graph.constant(graph[id].inputs[1])->shape();
  const int64_t channels = shape[1], height = shape[2], width = shape[3], size = channels * height * width;
  const at::Tensor filters = whitening_filters(patches_of(images, graph, shape, key));

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

void draw_filters(Graph& graph, const ImageSet& images, double threshold, uint64_t seed) {
  constexpr const char* key = "model.filters";
  const Node& conv = graph[reader_of_image(graph, key)];
  const ValueId weight = conv.inputs[1], bias = conv.inputs.size() > 2 ? conv.inputs[2] : ValueId{};
  const Shape shape = graph.constant(weight)->shape();
  const int64_t quarter = shape[0] / 4;
  if (!bias || !graph.constant(bias)) {
    throw Error(ErrorKind::usage, fmt::format("{}: convolution '{}' has no bias for thresholds", key, conv.name));
  }
  at::Tensor patches = patches_of(images, graph, shape, key);
  if (quarter == 0 || shape[0] % 4 != 0 || quarter > patches.size(0)) {
    throw Error(ErrorKind::usage,
                fmt::format("{}: {} channels cannot be quarters of up to {} filters", key, shape[0], patches.size(0)));
  }
  const at::IntArrayRef kernel(shape.data() + 1, 3);
  const auto mirrored = [&](const at::Tensor& rows) { return rows.unflatten(1, kernel).flip(3).flatten(1); };
  const at::Tensor both = at::cat({patches, mirrored(patches)}).to(at::kDouble);
  const auto [rows, spread] = components_of(both, kFilterRidge);
  const at::Tensor whitening = rows.t().mm(rows / spread);
  const at::Tensor drawn = (draw_rows(patches, quarter, seed).to(at::kDouble) - both.mean(0)).mm(whitening);
  const at::Tensor half = (drawn / drawn.norm(2, {1}, true).clamp_min(kLeast)).mm(whitening);
  const at::Tensor filters = at::cat({half, -half}).to(at::kFloat);

  const at::Tensor answers = draw_rows(patches, std::min(kAnswers, patches.size(0)), seed + 1).mm(filters.t());
  const auto rank = 1 + static_cast<int64_t>(threshold * static_cast<double>(answers.size(0) - 1));
  const at::Tensor thresholds = std::get<0>(answers.kthvalue(rank, 0));
  graph[weight].constant = from_torch(at::cat({filters, mirrored(filters)}).unflatten(1, kernel));
  graph[bias].constant = from_torch(-at::cat({thresholds, thresholds}));
}

}  // namespace reducenet::train
