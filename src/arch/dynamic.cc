#include <algorithm>
#include <memory>

#include "arch/rows.h"
#include "arch/stages.h"

// Networks that compute part of what a layer does from the image itself. What is computed so is [N,C,1,1], or
// [N,1,1,1], and options.fades lets it give way to a trained constant of that shape with N = 1; then each module is one
// conv3×3.

namespace reducenet {
namespace {

/// Mean of x over its positions, as a matrix [N,C].
ValueId means(StagedBuilder& b, const std::string& name, ValueId x) {
  return b.graph().node(name + ".flat", Flatten{}, {b.graph().node(name + ".mean", GlobalAveragePool{}, {x})});
}

/// [N,C] as [N,C,1,1].
ValueId per_channel(StagedBuilder& b, const std::string& name, ValueId x) {
  GraphBuilder& g = b.graph();
  const Tensor shape = Tensor::of({4}, std::vector<int64_t>{0, g.channels(x), 1, 1});
  return g.node(name, Reshape{}, {x, g.constant(name + ".shape", shape)});
}

/// made, which gives way to a constant that starts as `start` where something fades at `place`.
ValueId supplied(StagedBuilder& b, const std::string& name, ValueId made, std::string_view place, double start) {
  if (!b.fades(place)) return made;
  const ValueId constant = b.graph().constant(name + ".constant", Tensor::filled({1, b.channels(made), 1, 1}, start));
  return b.graph().node(name + ".fade", Fade{.kind = "blend", .activation = {Activation::Kind::identity}},
                        {made, constant});
}

/// Σₑ αₑ·(wₑ∗in),  αₑ = sigmoid(rₑ·mean(x) + sₑ).
ValueId mixture(StagedBuilder& b, const std::string& name, ValueId x, ValueId in, const ConvShape& shape) {
  GraphBuilder& g = b.graph();
  const ValueId features = means(b, name + ".route", x);
  ValueId sum;
  for (int64_t e = 1; e <= b.options().experts; ++e) {
    const std::string expert = name + ".expert" + std::to_string(e), route = name + ".route" + std::to_string(e);
    const ValueId weight = g.activation(route + ".sigmoid", g.gemm(route, features, 1), {Activation::Kind::sigmoid});
    const ValueId alpha = supplied(b, route, per_channel(b, route + ".alpha", weight), "routing", 0.5);
    const ValueId term = g.node(expert + ".weighted", Binary{Binary::Kind::mul}, {b.plain(expert, in, shape), alpha});
    sum = sum ? b.add(expert + ".add", sum, term) : term;
  }
  return sum;
}

/// 1 where r·mean(x) + s is positive, 0 where it is negative, as [N,1,1,1]: hard_sigmoid(sign(…)).
ValueId gate(StagedBuilder& b, const std::string& name, ValueId x) {
  GraphBuilder& g = b.graph();
  const ValueId open = g.constant(name + ".start", Tensor::filled({1}, 0.5));
  const ValueId z = b.add(name + ".shifted", g.gemm(name, means(b, name, x), 1), open);
  const ValueId sign = g.node(name + ".sign", Unary{Unary::Kind::sign}, {z});
  return per_channel(b, name + ".open", g.activation(name + ".step", sign, {Activation::Kind::hard_sigmoid, 0.5, 0.5}));
}

bool supplies(const StagedBuilder& b, std::string_view what) {
  return std::ranges::find(b.options().supplies, what) != b.options().supplies.end();
}

/// 3×3-BN-activation twice a stage, the first of stride 2, `side` times as wide as the stages; its means.
ValueId side_network(StagedBuilder& b, ValueId image) {
  GraphBuilder& g = b.graph();
  ValueId x = image;
  for (size_t stage = 0; stage < b.options().widths.size(); ++stage) {
    for (int64_t i = 1; i <= 2; ++i) {
      const std::string name = "side.stage" + std::to_string(stage + 1) + ".conv" + std::to_string(i);
      const Conv2d op{.stride = i == 1 ? Size2{2, 2} : Size2{1, 1}, .padding = {1, 1, 1, 1}};
      const ValueId y = g.conv(name, x, b.options().widths[stage] * b.options().side, {3, 3}, op);
      x = b.activate(name + ".act", g.batch_norm(name + ".bn", y));
    }
  }
  return means(b, "side", x);
}

}  // namespace

// y = relu( BN( Σₑ αₑ(x)·(wₑ∗x) ) + branches(x) ): conditionally parameterised convolutions (Yang et al., arXiv
// 1904.04971, section 3, equation 1, as the weighted sum of outputs). With αₑ constant it is the conv Σₑ αₑ·wₑ.
Graph build_condconv(const ArchOptions& options) {
  return StagedBuilder("condconv", options)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const ValueId in = b.enter(name, x, {{3, stride}});
        const ConvShape shape{.out = out, .stride = stride};
        const ValueId y = b.graph().batch_norm(name + ".bn", mixture(b, name, x, in, shape));
        return b.activate(name + ".act", b.add_branches(name, y, in, shape));
      });
}

// y = relu( g(x)·3×3-BN( relu( 3×3-BN(x) ) ) + x ), g 0 or 1 for each image (Wang et al., arXiv 1711.09485, section 3);
// blocks without an identity shortcut always run.
Graph build_skipnet(const ArchOptions& options) {
  return StagedBuilder("skipnet", options, 2)
      .build(activated_stem, [](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
        const bool gates = has_shortcut(b, x, out, stride);
        const ValueId open = gates ? gate(b, name + ".gate", x) : ValueId{};  // first, so that the rest can be skipped
        const ValueId in = b.enter(name, x, {{3, stride}, {3, 1}});
        ValueId y = b.branched(name + ".conv1", in, {.out = out, .stride = stride});
        y = b.branched(name + ".conv2", b.activate(name + ".act1", y), {.out = out});
        const ValueId shortcut = b.residual(name, x, out, stride, 2);
        if (gates) {
          y = b.graph().node(name + ".gated", Binary{Binary::Kind::mul}, {y, open});
          y = b.add_fading(name + ".add", shortcut, y, "skipped");
        } else {
          y = b.add(name + ".add", y, shortcut);
        }
        return b.activate(name + ".act2", y);
      });
}

// y = relu( s(image)·BN( 3×3(x) ) + t(image) + Σₑ kₑ(image)·(wₑ ⊛ x) ), ⊛ one 3×3 a channel, the sum where y has x's
// shape; s, t and k are (1, 0, 0) plus tanh of something linear in the means of a side network, which is detached once
// they are constants; options.supplies names those that there are.
Graph build_detachnet(const ArchOptions& options) {
  const auto side = std::make_shared<ValueId>();
  return StagedBuilder("detachnet", options)
      .build(
          [side](StagedBuilder& b, ValueId image) {
            *side = side_network(b, image);
            return activated_stem(b, image);
          },
          [side](StagedBuilder& b, const std::string& name, ValueId x, int64_t out, int64_t stride) {
            GraphBuilder& g = b.graph();
            const bool same = has_shortcut(b, x, out, stride);
            x = b.enter(name, x, {{3, stride}});
            const auto factor = [&](const std::string& what, double start) {
              const std::string full = name + "." + what;
              const ValueId bounded = g.activation(full + ".tanh", g.gemm(full, *side, out), {Activation::Kind::tanh});
              const ValueId made = per_channel(b, full + ".shaped", bounded);
              const ValueId offset = g.constant(full + ".start", Tensor::filled({1, out, 1, 1}, start));
              return supplied(b, full, start == 0 ? made : b.add(full + ".shifted", made, offset), "side", start);
            };
            const auto times = [&](const std::string& what, ValueId value, const std::string& by, double start) {
              return g.node(name + what, Binary{Binary::Kind::mul}, {value, factor(by, start)});
            };
            ValueId y = b.branched(name + ".conv1", x, {.out = out, .stride = stride});
            if (supplies(b, "multiply")) y = times(".scaled", y, "scale", 1);
            if (supplies(b, "add")) y = b.add(name + ".shifted", y, factor("shift", 0));
            for (int64_t e = 1; same && supplies(b, "convolve") && e <= b.options().experts; ++e) {
              const std::string small = ".small" + std::to_string(e);
              const ValueId part = b.plain(name + small, x, {.out = out, .depthwise = true});
              y = b.add(name + small + ".add", y, times(small + ".weighted", part, small.substr(1) + ".factor", 0));
            }
            return b.activate(name + ".act", y);
          });
}

}  // namespace reducenet
