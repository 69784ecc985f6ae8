#include <algorithm>
#include <charconv>

#include "arch/rows.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

struct Row {
  Architecture architecture;
  int64_t layers_per_module;  ///< convs on a module's main path; 0: the name takes no depth
};

constexpr Row kTable[] = {
    {{"reduce", "3x3-BN-fade-1x1-BN + branches + x, then ReLU; deploys as a stack of conv3x3 + ReLU", build_reduce}, 2},
    {{"article", "3x3-BN-fade-1x1-BN + x with no other activation; deploys as one affine map", build_article}, 2},
    {{"gen2", "3x3-BN-fade-1x1-BN-ReLU-1x1-BN + x; two layers a module remain", build_gen2}, 3},
    {{"plain", "3x3-BN + branches, then ReLU: the network that reduce deploys as, trained directly", build_plain}, 1},
    {{"resnet-article", "3x3-BN-ReLU + x: the article's control at its deployed depth", build_resnet_article}, 1},
    {{"resnet", "CIFAR ResNet, basic blocks; second_activation = false drops the activation after the sum",
      build_resnet},
     2},
    {{"softmax", "softmax regression on all pixels", build_softmax}, 0},
    {{"phase-softmax", "softmax regression on the 4x4 phase means of each channel", build_phase_softmax}, 0},
};

/// "reduce20" → "reduce", 20;  "resnet29-article" → "resnet-article", 29.
std::pair<std::string, int64_t> split_depth(std::string_view name) {
  const size_t first = name.find_first_of("0123456789");
  if (first == std::string_view::npos) return {std::string(name), 0};
  const size_t last = std::min(name.find_first_not_of("0123456789", first), name.size());
  int64_t depth = 0;
  std::from_chars(name.data() + first, name.data() + last, depth);
  return {std::string(name.substr(0, first)) + std::string(name.substr(last)), depth};
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
  const auto [base, depth] = split_depth(name);
  std::string names;
  for (size_t i = 0; i < std::size(kTable); ++i) {
    const Row& row = kTable[i];
    names += (names.empty() ? "" : ", ") + std::string(row.architecture.name);
    if (row.architecture.name != base) continue;
    if (depth > 0) {
      const int64_t per_module = row.layers_per_module * static_cast<int64_t>(options.widths.size());
      if (per_module == 0 || depth <= 2 || (depth - 2) % per_module != 0) {
        throw Error(ErrorKind::usage, "model.arch: '" + std::string(name) + "': the depth must be 2 + " +
                                          std::to_string(per_module) + "·modules");
      }
      options.modules = (depth - 2) / per_module;
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
