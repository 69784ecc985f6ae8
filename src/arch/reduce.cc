#include "arch/rows.h"
#include "arch/stages.h"

namespace reducenet {
namespace {

/// 1×1-BN( A( 3×3-BN(x) ) ), the middle `expansion` times as wide as the output; A fades, or stays.
ValueId bottleneck(StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride, bool fades) {
  const ValueId middle = b.conv3x3(name + ".conv1", x, out * b.options().expansion, stride);
  return b.conv1x1(name + ".conv2", fades ? b.fade(name + ".fade", middle) : b.activate(name + ".act", middle), out);
}

/// bottleneck + branches from a module's input
ValueId reduced(StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
  x = b.enter(name, x, {{3, stride}});
  return b.add_branches(name, bottleneck(b, name, x, out, stride, true), x, {.out = out, .stride = stride});
}

/// y + x, where shapes agree
ValueId with_shortcut(StagedBuilder& b, const std::string& name, ValueId y, ValueId x, int64_t out, int64_t stride) {
  if (!b.options().shortcut || !has_shortcut(b, x, out, stride)) return y;
  return b.join(name + ".add", y, b.shortcut(name + ".crop", x));
}

}  // namespace

// y = relu( 1×1-BN( fade( 3×3-BN(x) ) ) + branches(x) + x ): deploys as relu(conv3×3(x)).
Graph build_reduce(const ArchOptions& options) {
  return StagedBuilder("reduce", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        return b.activate(name + ".act", with_shortcut(b, name, reduced(b, name, x, out, stride), x, out, stride));
      });
}

// y = 1×1-BN( fade( 3×3-BN(x) ) ) + branches(x) + x, and the stem fades too: at λ = 0 the network is one affine map.
Graph build_article(const ArchOptions& options) {
  return StagedBuilder("article", options)
      .build(
          [](StagedBuilder& b, ValueId image) {
            return b.fade("stem.fade", b.conv3x3("stem", b.enter("stem", image, {{3, 1}}), b.options().widths[0], 1));
          },
          [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
            return with_shortcut(b, name, reduced(b, name, x, out, stride), x, out, stride);
          });
}

// y = 1×1-BN( relu( 1×1-BN( fade( 3×3-BN(x) ) ) ) ) + x: one real activation a module stays.
Graph build_gen2(const ArchOptions& options) {
  return StagedBuilder("gen2", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId inner = reduced(b, name, x, out, stride);
        const ValueId y = b.conv1x1(name + ".conv3", b.activate(name + ".act", inner), out);
        return with_shortcut(b, name, y, x, out, stride);
      });
}

// y = relu( 3×3-BN( relu( BN( 3×3(x) + 1×1-BN( relu( 3×3-BN(x) ) ) + branches(x) ) ) ) + shortcut(x) ): "shrink and
// distil". The non-linear branch vanishes, by a fade or at once: model.bottleneck = false is the student.
Graph build_gen3(const ArchOptions& options) {
  return StagedBuilder("gen3", options, 2)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId in = b.enter(name, x, {{3, stride}, {3, 1}});
        const ConvShape shape{.out = out, .stride = stride};
        ValueId y = b.add_branches(name, b.plain(name + ".conv1", in, shape), in, shape);
        if (b.options().bottleneck) {
          const ValueId branch = bottleneck(b, name + ".bottleneck", in, out, stride, false);
          y = b.add_fading(name + ".add1", y, branch, "bottleneck");
        }
        y = b.activate(name + ".act1", b.graph().batch_norm(name + ".bn", y));
        y = b.conv3x3(name + ".conv2", y, out, 1);
        return b.outer(name + ".act2",
                       b.join(name + ".add2", y, b.residual(name, x, out, stride, 2), has_shortcut(b, x, out, stride)));
      });
}

}  // namespace reducenet
