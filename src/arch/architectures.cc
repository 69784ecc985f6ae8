#include <algorithm>
#include <charconv>
#include <optional>

#include "arch/rows.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

struct Row {
  Architecture architecture;
  int64_t layers_per_module;  ///< convs on a module's main path; 0: the name takes no depth
  bool per_stage = true;      ///< options.modules counts a stage's modules, otherwise the network's
};

constexpr Row kTable[] = {
    {{"reduce", "3x3-BN-fade-1x1-BN + branches + x, then ReLU; deploys as a stack of conv3x3 + ReLU", build_reduce}, 2},
    {{"article", "3x3-BN-fade-1x1-BN + x with no other activation; deploys as one affine map", build_article}, 2},
    {{"gen2", "3x3-BN-fade-1x1-BN-ReLU-1x1-BN + x; two layers a module remain", build_gen2}, 3},
    {{"plain", "3x3-BN + branches, then ReLU: the network that reduce deploys as, trained directly", build_plain}, 1},
    {{"resnet-article", "3x3-BN-ReLU + x: the article's control at its deployed depth", build_resnet_article}, 1},
    {{"gen3", "BN(3x3 + non-linear bottleneck branch)-ReLU-3x3-BN + x, then ReLU; bottleneck = false is the student",
      build_gen3},
     2},
    {{"vanillanet", "4x4 stem, then 1x1-BN-fade-1x1-BN, pool and series activation; one layer a block remains",
      build_vanillanet},
     1,
     false},
    {{"vanillanet-cifar", "vanillanet with a 3x3 stem at full resolution", build_vanillanet_cifar}, 1, false},
    {{"resnet", "CIFAR ResNet, basic blocks; second_activation = false drops the activation after the sum",
      build_resnet},
     2},
    {{"resnet-bottleneck", "CIFAR ResNet, bottleneck blocks (output 4 x width)", build_resnet_bottleneck}, 3},
    {{"vgg", "VGG with BN: conv3x3-BN-ReLU, max-pools between stages", build_vgg}, 1},
    {{"mobilenetv2", "inverted residuals 1x1-act-depthwise 3x3-act-1x1, the middle `expansion` times as wide",
      build_mobilenetv2},
     0},
    {{"densenet", "BN-ReLU-3x3 joined to its input, width = growth; halving transitions", build_densenet}, 0},
    {{"convnext", "depthwise 7x7-BN-1x1-act-1x1-BN + x, the middle `expansion` times as wide", build_convnext}, 0},
    {{"condconv", "plain, each 3x3 a mixture of `experts` kernels that the image weighs; fades = routing: of one",
      build_condconv},
     1},
    {{"skipnet", "resnet whose blocks run for the images that their gates let through", build_skipnet}, 2},
    {{"detachnet", "plain, a side network supplies each layer's scale, shift or small kernels; fades = side: constants",
      build_detachnet},
     1},
    {{"single-layer", "one convolution 6x6 of stride 2 to widths[0] channels-BN-activation, average pools, FC",
      build_single_layer},
     0},
    {{"patch-grid", "one convolution 6x6 to widths[0] channels-activation, means over 3x3 windows, FC",
      build_patch_grid},
     0},
    {{"softmax", "softmax regression on all pixels", build_softmax}, 0},
    {{"phase-softmax", "softmax regression on the 4x4 phase means of each channel", build_phase_softmax}, 0},
};

/// The number in `name` that, left out, gives `base`: 20 for "reduce20", 29 for "gen2-29" and "resnet29-article"; 0
/// when the name is `base` itself; nothing when it is another's.
std::optional<int64_t> depth_in(std::string_view name, std::string_view base) {
  if (name == base) return 0;
  constexpr std::string_view digits = "0123456789";
  for (size_t first = name.find_first_of(digits); first != name.npos;) {
    const size_t last = std::min(name.find_first_not_of(digits, first), name.size());
    std::string rest(name.substr(0, first));
    if (last == name.size() && rest.ends_with('-')) rest.pop_back();
    rest += name.substr(last);
    int64_t depth = 0;
    const auto parsed = std::from_chars(name.data() + first, name.data() + last, depth);
    if (rest == base && parsed.ec == std::errc{}) return depth;
    first = name.find_first_of(digits, last);
  }
  return std::nullopt;
}

}  // namespace

std::span<const Architecture> architectures() {
  static const auto table = [] {
    std::vector<Architecture> rows;
    for (const Row& row : kTable) rows.push_back(row.architecture);
    return rows;
  }();
  return table;
}

const Architecture& find_architecture(std::string_view name, ArchOptions& options) {
  std::string names;
  for (size_t i = 0; i < std::size(kTable); ++i) {
    const Row& row = kTable[i];
    names += (names.empty() ? "" : ", ") + std::string(row.architecture.name);
    const std::optional<int64_t> depth = depth_in(name, row.architecture.name);
    if (!depth) continue;
    if (*depth > 0) {
      const auto refuse = [&](const std::string& why) {
        throw Error(ErrorKind::usage, "model.arch: '" + std::string(name) + "': " + why);
      };
      const auto stages = row.per_stage ? static_cast<int64_t>(options.widths.size()) : 1;
      const int64_t per_module = row.layers_per_module * stages;
      if (row.layers_per_module == 0) refuse("'" + std::string(row.architecture.name) + "' takes no depth");
      if (per_module == 0) refuse("no stages: model.widths is empty");
      if (*depth <= 2 || (*depth - 2) % per_module != 0) {
        refuse("the depth must be 2 + " + std::to_string(per_module) + "·modules" +
               (row.per_stage ? ", with as many stages as model.widths: " + std::to_string(stages) : ""));
      }
      options.modules = (*depth - 2) / per_module;
    }
    return architectures()[i];
  }
  throw Error(ErrorKind::usage, "model.arch: unknown architecture '" + std::string(name) + "'; known: " + names +
                                    " (with a depth where it applies, as in reduce20 or resnet29-article)");
}

Graph build(std::string_view name, ArchOptions options) {
  const Architecture& architecture = find_architecture(name, options);
  return architecture.build(options);
}

}  // namespace reducenet
