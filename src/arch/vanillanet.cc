#include "arch/rows.h"
#include "arch/stages.h"
#include "reducenet/error.h"

// Chen et al., arXiv 2305.12972. While it trains, two 1×1 convs stand where one is deployed, and what is between them
// fades (section 3.1); the activation that stays is a series of shifted ones (section 3.2).

namespace reducenet {
namespace {

/// Σ_{|i|,|j| ≤ n} a[c,i,j]·A(x[c, h+i, w+j] + b[c]) (equation 6): a depthwise conv over the activation, and BN; b is
/// the shift of the BN before it.
ValueId series_activation(StagedBuilder& b, const std::string& name, ValueId x) {
  const int64_t n = b.options().series;
  const ValueId y = b.activate(name + ".act", x);
  if (n == 0) return y;
  const Conv2d op{.padding = {n, n, n, n}, .groups = b.channels(x)};
  const ValueId sum = b.graph().conv(name + ".series", y, b.channels(x), {2 * n + 1, 2 * n + 1}, op);
  return b.graph().batch_norm(name + ".series.bn", sum);
}

/// 1×1-BN( fade( 1×1-BN(x) ) ); the second conv may widen.
ValueId deep_pair(StagedBuilder& b, const std::string& name, ValueId x, int64_t out) {
  const int64_t middle = b.channels(x) * b.options().expansion;
  const ValueId y = b.fade(name + ".fade", b.branched(name + ".conv1", x, {.out = middle, .kernel = 1}));
  return b.branched(name + ".conv2", y, {.out = out, .kernel = 1});
}

/// Which of `blocks` blocks halve the resolution (and take the next width): one for each width after the first. The
/// rest lie one behind the last of these, one before the first, and all others before the last: table 1's networks.
std::vector<bool> halving_blocks(int64_t blocks, int64_t halvings) {
  const int64_t rest = blocks - halvings;
  if (halvings < 1 || rest < 0) {
    throw Error(ErrorKind::usage,
                "model.modules: 'vanillanet' needs at least one block for each width after the first "
                "of at least two");
  }
  std::vector<bool> halves(static_cast<size_t>(halvings - 1), true);
  if (rest > 1) halves.insert(halves.begin(), false);
  halves.insert(halves.end(), static_cast<size_t>(std::max<int64_t>(0, rest - 2)), false);
  halves.push_back(true);
  if (rest > 0) halves.push_back(false);
  return halves;
}

ValueId blocks(StagedBuilder& b, ValueId x) {
  size_t width = 0, index = 0;
  for (const bool halves : halving_blocks(b.options().modules, static_cast<int64_t>(b.options().widths.size()) - 1)) {
    const std::string name = "block" + std::to_string(++index);
    width += halves;
    x = deep_pair(b, name, x, b.options().widths[width]);
    if (halves) x = b.graph().node(name + ".pool", MaxPool{.kernel = {2, 2}, .stride = {2, 2}}, {x});
    x = series_activation(b, name, x);
  }
  return x;
}

/// FC( fade( BN( FC( mean ) ) ) )
ValueId classifier(StagedBuilder& b, ValueId x) {
  const int64_t classes = b.options().classes;
  const ValueId y = b.graph().batch_norm("fc1.bn", b.graph().gemm("fc1", b.features(x), classes));
  return b.graph().gemm("fc2", b.fade("fc.fade", y), classes);
}

/// 1×1-BN( fade( k×k-BN(x) ) ), series activation; a patch of k×k when the stride is k.
ValueId stem(StagedBuilder& b, ValueId image, int64_t kernel, int64_t stride) {
  const int64_t width = b.options().widths[0], pad = stride == 1 ? kernel / 2 : 0;
  const Conv2d op{.stride = {stride, stride}, .padding = {pad, pad, pad, pad}};
  ValueId y = b.graph().batch_norm("stem.conv1.bn", b.graph().conv("stem.conv1", image, width, {kernel, kernel}, op));
  y = b.conv1x1("stem.conv2", b.fade("stem.fade", y), width);
  return series_activation(b, "stem", y);
}

}  // namespace

Graph build_vanillanet(const ArchOptions& options) {
  return StagedBuilder("vanillanet", options, 0)
      .build([](StagedBuilder& b, ValueId image) { return stem(b, image, 4, 4); }, blocks, classifier);
}

Graph build_vanillanet_cifar(const ArchOptions& options) {
  return StagedBuilder("vanillanet-cifar", options, 0)
      .build([](StagedBuilder& b, ValueId image) { return stem(b, image, 3, 1); }, blocks, classifier);
}

}  // namespace reducenet
