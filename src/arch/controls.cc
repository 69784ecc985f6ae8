#include <algorithm>

#include "arch/rows.h"
#include "arch/stages.h"
#include "reducenet/error.h"

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

// One non-linear layer (Coates, Ng, Lee, AISTATS 2011): conv 6×6 of stride 2, BN, activation, means over windows of 4×4
// (or all there is) two apart, FC. Behind the means stands a BN that begins at a tenth: the FC then learns as fast as
// the convolution.
Graph build_single_layer(const ArchOptions& options) {
  GraphBuilder b("single-layer", options.seed);
  constexpr int64_t kernel = 6, stride = 2;
  if (std::min(options.height, options.width) < kernel) {
    throw Error(ErrorKind::usage, "model.arch: 'single-layer' needs images of at least 6x6");
  }
  const auto window = [&](int64_t side) { return std::min<int64_t>(4, (side - kernel) / stride + 1); };
  const ValueId image = b.input("image", {-1, options.channels, options.height, options.width});
  ValueId x = b.conv("features", image, options.widths.at(0), {kernel, kernel}, Conv2d{.stride = {stride, stride}});
  x = b.batch_norm("features.bn", x);
  if (!options.linear) x = b.activation("features.act", x, options.activation);
  x = b.node("pool", AveragePool{.kernel = {window(options.height), window(options.width)}, .stride = {2, 2}}, {x});
  x = b.batch_norm("pool.bn", x, 0.1);
  b.output(b.gemm("fc", b.node("flatten", Flatten{}, {x}), options.classes));
  return std::move(b).finish();
}

// One non-linear layer whose filters may be patches of the images (Coates, Ng, ICML 2011): conv 6×6 with bias,
// activation, means over 3×3 windows that together are symmetric and may overlap, FC.
Graph build_patch_grid(const ArchOptions& options) {
  GraphBuilder b("patch-grid", options.seed);
  constexpr int64_t kernel = 6, windows = 3;
  if (std::min(options.height, options.width) < kernel + windows - 1) {
    throw Error(ErrorKind::usage, "model.arch: 'patch-grid' needs images of at least 8x8");
  }
  const auto window = [](int64_t side) {
    const int64_t answers = side - kernel + 1, least = (answers + windows - 1) / windows;
    return least + (answers - least) % (windows - 1);
  };
  const auto step = [&](int64_t side) { return (side - kernel + 1 - window(side)) / (windows - 1); };
  const ValueId image = b.input("image", {-1, options.channels, options.height, options.width});
  ValueId x = b.conv("features", image, options.widths.at(0), {kernel, kernel}, {}, true);
  if (!options.linear) x = b.activation("features.act", x, options.activation);
  x = b.node("pool",
             AveragePool{.kernel = {window(options.height), window(options.width)},
                         .stride = {step(options.height), step(options.width)}},
             {x});
  b.output(b.gemm("fc", b.node("flatten", Flatten{}, {x}), options.classes));
  return std::move(b).finish();
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
