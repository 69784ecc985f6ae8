#include "arch/rows.h"
#include "arch/stages.h"

namespace reducenet {

// y = relu( 3×3-BN(x) + branches(x) ): what `reduce` deploys as, trained directly.
Graph build_plain(const ArchOptions& options) {
  return StagedBuilder("plain", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        x = b.enter(name, x, {{3, stride}});
        return b.activate(name + ".act", b.branched(name + ".conv1", x, {.out = out, .stride = stride}));
      });
}

// y = relu( 3×3-BN(x) ) + x: the article's control, as deep as its network after the collapse.
Graph build_resnet_article(const ArchOptions& options) {
  return StagedBuilder("resnet-article", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId in = b.enter(name, x, {{3, stride}});
        const ValueId y = b.activate(name + ".act", b.branched(name + ".conv1", in, {.out = out, .stride = stride}));
        return has_shortcut(b, x, out, stride) ? b.join(name + ".add", y, b.shortcut(name + ".crop", x)) : y;
      });
}

// Softmax regression on every pixel.
Graph build_softmax(const ArchOptions& options) {
  GraphBuilder b("softmax", options.seed);
  const ValueId image = b.input("image", {-1, options.channels, options.height, options.width});
  b.output(b.gemm("fc", b.node("flatten", Flatten{}, {image}), options.classes));
  return std::move(b).finish();
}

// Softmax regression on the 4×4 phase means of each channel, Σ_{i,j} x[c, 4i+u, 4j+v] / count: a conv 4×4 of stride 4
// before global average pooling. All that linear convs of total stride 4 followed by the pool can see, borders aside.
Graph build_phase_softmax(const ArchOptions& options) {
  GraphBuilder b("phase-softmax", options.seed);
  const ValueId image = b.input("image", {-1, options.channels, options.height, options.width});
  const ValueId y = b.conv("phases", image, options.classes, {4, 4}, Conv2d{.stride = {4, 4}}, true);
  b.output(b.node("flatten", Flatten{}, {b.node("pool", GlobalAveragePool{}, {y})}));
  return std::move(b).finish();
}

}  // namespace reducenet
