#include "arch/rows.h"
#include "arch/stages.h"

namespace reducenet {

// y = relu( 3×3-BN(x) + branches(x) ): what `reduce` deploys as, trained directly.
Graph build_plain(const ArchOptions& options) {
  return StagedBuilder("plain", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId y = b.conv3x3(name + ".conv1", x, out, stride);
        return b.activate(name + ".act", b.add_branches(name, y, x, out, stride));
      });
}

// y = relu( 3×3-BN(x) ) + x: the article's control, as deep as its network after the collapse.
Graph build_resnet_article(const ArchOptions& options) {
  return StagedBuilder("resnet-article", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId y = b.activate(name + ".act", b.conv3x3(name + ".conv1", x, out, stride));
        return has_shortcut(b, x, out, stride) ? b.add(name + ".add", y, b.shortcut(name + ".crop", x)) : y;
      });
}

// y = relu( 3×3-BN( relu( 3×3-BN(x) ) ) + shortcut(x) ), He et al., arXiv 1512.03385; the outer relu is optional.
Graph build_resnet(const ArchOptions& options) {
  return StagedBuilder("resnet", options, 2)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId inner = b.activate(name + ".act1", b.conv3x3(name + ".conv1", x, out, stride));
        const ValueId y = b.conv3x3(name + ".conv2", inner, out, 1);
        const ValueId beside = has_shortcut(b, x, out, stride)
                                   ? b.shortcut(name + ".crop", x, 2)
                                   : b.shortcut(name + ".crop", b.conv1x1(name + ".project", x, out, stride, true));
        const ValueId sum = b.add(name + ".add", y, beside);
        return b.options().second_activation ? b.activate(name + ".act2", sum) : sum;
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
