#include "arch/rows.h"
#include "arch/stages.h"

namespace reducenet {
namespace {

/// 1×1-BN( fade( 3×3-BN(x) ) ), the middle `expansion` times as wide as the output.
ValueId bottleneck(StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
  const ValueId middle = b.conv3x3(name + ".conv1", x, out * b.options().expansion, stride);
  return b.conv1x1(name + ".conv2", b.fade(name + ".fade", middle), out);
}

}  // namespace

// y = relu( 1×1-BN( fade( 3×3-BN(x) ) ) + branches(x) + x ): deploys as relu(conv3×3(x)).
Graph build_reduce(const ArchOptions& options) {
  return StagedBuilder("reduce", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        ValueId y = b.add_branches(name, bottleneck(b, name, x, out, stride), x, out, stride);
        if (has_shortcut(b, x, out, stride)) y = b.add(name + ".add", y, b.shortcut(name + ".crop", x));
        return b.activate(name + ".act", y);
      });
}

// y = 1×1-BN( fade( 3×3-BN(x) ) ) + branches(x) + x, and the stem fades too: at λ = 0 the network is one affine map.
Graph build_article(const ArchOptions& options) {
  return StagedBuilder("article", options)
      .build([](StagedBuilder& b,
                ValueId image) { return b.fade("stem.fade", b.conv3x3("stem", image, b.options().widths[0], 1)); },
             [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
               const ValueId y = b.add_branches(name, bottleneck(b, name, x, out, stride), x, out, stride);
               return has_shortcut(b, x, out, stride) ? b.add(name + ".add", y, b.shortcut(name + ".crop", x)) : y;
             });
}

// y = 1×1-BN( relu( 1×1-BN( fade( 3×3-BN(x) ) ) ) ) + x: one real activation a module stays.
Graph build_gen2(const ArchOptions& options) {
  return StagedBuilder("gen2", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId inner = b.add_branches(name, bottleneck(b, name, x, out, stride), x, out, stride);
        const ValueId y = b.conv1x1(name + ".conv3", b.activate(name + ".act", inner), out);
        return has_shortcut(b, x, out, stride) ? b.add(name + ".add", y, b.shortcut(name + ".crop", x)) : y;
      });
}

}  // namespace reducenet
