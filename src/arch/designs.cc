#include "arch/rows.h"
#include "arch/stages.h"

// Existing designs. options.fades says which of their activations vanish; with padding = "module" what lies between
// two that stay is one linear map without a border inside it.

namespace reducenet {

// y = relu( 3×3-BN( relu( 3×3-BN(x) ) ) + shortcut(x) ), He et al., arXiv 1512.03385; the outer relu is optional.
Graph build_resnet(const ArchOptions& options) {
  return StagedBuilder("resnet", options, 2)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId in = b.enter(name, x, {{3, stride}, {3, 1}});
        const ValueId y = b.inner(name + ".act1", b.branched(name + ".conv1", in, {.out = out, .stride = stride}));
        const ValueId shortcut = b.residual(name, x, out, stride, 2);
        const ValueId z = b.branched(name + ".conv2", y, {.out = out});
        const ValueId sum = b.join(name + ".add", z, shortcut, has_shortcut(b, x, out, stride));
        return b.options().second_activation ? b.outer(name + ".act2", sum) : sum;
      });
}

// y = relu( 1×1-BN( relu( 3×3-BN( relu( 1×1-BN(x) ) ) ) ) + shortcut(x) ), output 4·width (arXiv 1512.03385, figure 5);
// the 3×3 has the stride.
Graph build_resnet_bottleneck(const ArchOptions& options) {
  return StagedBuilder("resnet-bottleneck", options, 0)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t width, int64_t stride) {
        const ValueId in = b.enter(name, x, {{3, stride}});
        ValueId y = b.inner(name + ".act1", b.branched(name + ".conv1", in, {.out = width, .kernel = 1}));
        y = b.inner(name + ".act2", b.branched(name + ".conv2", y, {.out = width, .stride = stride}));
        y = b.branched(name + ".conv3", y, {.out = 4 * width, .kernel = 1});
        const ValueId sum =
            b.join(name + ".add", y, b.residual(name, x, 4 * width, stride, 1), has_shortcut(b, x, 4 * width, stride));
        return b.options().second_activation ? b.outer(name + ".act3", sum) : sum;
      });
}

// Stages of relu( 3×3-BN(x) ), maximum over 2×2 between them (Simonyan and Zisserman, arXiv 1409.1556, with BN).
// "inner" activations are all but a stage's last; the whole stage pads where it begins when padding is "module".
Graph build_vgg(const ArchOptions& options) {
  const auto body = [](StagedBuilder& b, ValueId x) {
    const ArchOptions& o = b.options();
    for (size_t stage = 0; stage < o.widths.size(); ++stage) {
      const std::string at = "stage" + std::to_string(stage + 1);
      if (stage > 0) x = b.graph().node(at + ".pool", MaxPool{.kernel = {2, 2}, .stride = {2, 2}}, {x});
      x = b.enter(at, x, std::vector<PathConv>(static_cast<size_t>(o.modules), {3, 1}));
      for (int64_t i = 1; i <= o.modules; ++i) {
        const std::string name = at + ".conv" + std::to_string(i);
        const ValueId y = b.branched(name, x, {.out = o.widths[stage]});
        x = i < o.modules ? b.inner(name + ".act", y) : b.outer(name + ".act", y);
      }
    }
    return x;
  };
  return StagedBuilder("vgg", options, 0).build(activated_stem, body, [](StagedBuilder& b, ValueId x) {
    return b.head(x);
  });
}

// y = 1×1-BN( act( depthwise 3×3-BN( act( 1×1-BN(x) ) ) ) ) + x (Sandler et al., arXiv 1801.04381, figure 4); the
// widening 1×1 is left out when expansion = 1. A last 1×1 widens to 4 times the last stage.
Graph build_mobilenetv2(const ArchOptions& options) {
  StagedBuilder builder("mobilenetv2", options, 0);
  const auto body = [](StagedBuilder& b, ValueId x) {
    const ArchOptions& o = b.options();
    for (size_t stage = 0; stage < o.widths.size(); ++stage) {
      for (int64_t i = 0; i < o.modules; ++i) {
        const std::string name = "stage" + std::to_string(stage + 1) + ".module" + std::to_string(i + 1);
        const int64_t out = o.widths[stage], stride = stage > 0 && i == 0 ? 2 : 1, middle = b.channels(x) * o.expansion;
        ValueId y = b.enter(name, x, {{3, stride}});
        if (o.expansion > 1) {
          y = b.inner(name + ".act1", b.branched(name + ".conv1", y, {.out = middle, .kernel = 1}));
        }
        const ConvShape depthwise{.out = middle, .stride = stride, .depthwise = true};
        y = b.inner(name + ".act2", b.branched(name + ".conv2", y, depthwise));
        y = b.branched(name + ".conv3", y, {.out = out, .kernel = 1});
        x = has_shortcut(b, x, out, stride) ? b.join(name + ".add", y, x) : y;
      }
    }
    return b.activate("last.act", b.branched("last", x, {.out = 4 * o.widths.back(), .kernel = 1}));
  };
  return std::move(builder).build(activated_stem, body, [](StagedBuilder& b, ValueId x) { return b.head(x); });
}

// x ← [x, 3×3( relu( BN(x) ) )], growth channels a layer; between stages 1×1( relu( BN(x) ) ) to half the channels and
// a mean over 2×2 (Huang et al., arXiv 1608.06993, without the 1×1 of DenseNet-B). Widths are growths.
Graph build_densenet(const ArchOptions& options) {
  const auto stem = [](StagedBuilder& b, ValueId image) {
    return b.plain("stem", b.enter("stem", image, {{3, 1}}), {.out = 2 * b.options().widths[0]});
  };
  const auto body = [](StagedBuilder& b, ValueId x) {
    const ArchOptions& o = b.options();
    const auto activated = [&](const std::string& name, ValueId in) {
      return b.inner(name + ".act", b.graph().batch_norm(name + ".bn", in));
    };
    for (size_t stage = 0; stage < o.widths.size(); ++stage) {
      const std::string at = "stage" + std::to_string(stage + 1);
      if (stage > 0) {
        const std::string name = at + ".transition";
        x = b.plain(name, activated(name, x), {.out = std::max<int64_t>(1, b.channels(x) / 2), .kernel = 1});
        x = b.graph().node(name + ".pool", AveragePool{.kernel = {2, 2}, .stride = {2, 2}}, {x});
      }
      for (int64_t i = 1; i <= o.modules; ++i) {
        const std::string name = at + ".layer" + std::to_string(i);
        const ValueId in = activated(name, b.enter(name, x, {{3, 1}}));
        const ConvShape shape{.out = o.widths[stage]};
        const ValueId y = b.add_branches(name, b.plain(name, in, shape), in, shape);
        x = b.graph().node(name + ".concat", Concat{}, {x, y});
      }
    }
    return b.activate("last.act", b.graph().batch_norm("last.bn", x));
  };
  return StagedBuilder("densenet", options, 0).build(stem, body, [](StagedBuilder& b, ValueId x) { return b.head(x); });
}

// y = 1×1-BN( act( 1×1( depthwise 7×7-BN(x) ) ) ) + x (Liu et al., arXiv 2201.03545, section 2.6, with BN for the layer
// norm and its scale); 2×2 convs of stride 2 between stages.
Graph build_convnext(const ArchOptions& options) {
  StagedBuilder builder("convnext", options, 0);
  const auto stem = [](StagedBuilder& b, ValueId image) {
    return b.conv3x3("stem", b.enter("stem", image, {{3, 1}}), b.options().widths[0], 1);
  };
  const auto body = [](StagedBuilder& b, ValueId x) {
    const ArchOptions& o = b.options();
    for (size_t stage = 0; stage < o.widths.size(); ++stage) {
      const std::string at = "stage" + std::to_string(stage + 1);
      const int64_t out = o.widths[stage];
      if (stage > 0) {
        const ValueId y = b.graph().conv(at + ".down", x, out, {2, 2}, Conv2d{.stride = {2, 2}});
        x = b.graph().batch_norm(at + ".down.bn", y);
      }
      for (int64_t i = 1; i <= o.modules; ++i) {
        const std::string name = at + ".module" + std::to_string(i);
        ValueId y = b.enter(name, x, {{7, 1}});
        y = b.branched(name + ".conv1", y, {.out = out, .kernel = 7, .depthwise = true});
        y = b.inner(name + ".act", b.plain(name + ".conv2", y, {.out = out * o.expansion, .kernel = 1}));
        x = b.join(name + ".add", b.conv1x1(name + ".conv3", y, out), x);
      }
    }
    return x;
  };
  return std::move(builder).build(stem, body, [](StagedBuilder& b, ValueId x) { return b.head(x); });
}

}  // namespace reducenet
