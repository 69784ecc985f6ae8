#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "reducenet/arch.h"
#include "reducenet/builder.h"

namespace reducenet {

/// Size and stride of one convolution on a path.
struct PathConv {
  int64_t kernel, stride;
};

/// A convolution with BN: output channels, square kernel, stride; `depthwise` has one group a channel.
struct ConvShape {
  int64_t out;
  int64_t kernel = 3, stride = 1;
  bool depthwise = false;
};

/// A network as CIFAR ResNets lay it out: stem, stages of modules, head. What options.padding says decides where zeros
/// come from: from each convolution ("each"), from one Pad where a module begins ("module"), or from one Pad at the
/// input ("input"), every path beside a convolution cropped to match.
class StagedBuilder {
 public:
  /// `convs_per_module`: 3×3 convs on a module's main path (the first has the module's stride); 0: the architecture
  /// cannot take all its padding at the input, and options.padding = "input" throws Error(usage).
  StagedBuilder(std::string name, const ArchOptions& options, int convs_per_module = 1);

  /// One module: input, output channels, stride → output.
  using Module =
      std::function<ValueId(StagedBuilder&, const std::string& name, ValueId x, int64_t out, int64_t stride)>;
  using Stem = std::function<ValueId(StagedBuilder&, ValueId)>;
  /// stem → modules → head.
  Graph build(const Stem& stem, const Module& module) &&;
  /// stem → body → head.
  Graph build(const Stem& stem, const Stem& body, const Stem& head) &&;

  const ArchOptions& options() const { return options_; }
  int64_t channels(ValueId x) const { return builder_.channels(x); }
  GraphBuilder& graph() { return builder_; }
  /// Every convolution pads for itself.
  bool pads_each() const { return options_.padding == "each"; }
  /// x with all the padding that a path of convolutions needs to act as if each padded for itself ("module").
  ValueId enter(const std::string& name, ValueId x, const std::vector<PathConv>& path);

  /// conv
  ValueId plain(const std::string& name, ValueId x, const ConvShape& shape);
  /// conv → BN
  ValueId conv(const std::string& name, ValueId x, const ConvShape& shape);
  /// conv → BN, and the branches that options.branches asks for
  ValueId branched(const std::string& name, ValueId x, const ConvShape& shape);
  /// The kernel of a convolution from x, and the convolution with a kernel made elsewhere.
  ValueId kernel_of(const std::string& name, ValueId x, const ConvShape& shape);
  ValueId conv_of(const std::string& name, ValueId x, ValueId kernel, const ConvShape& shape);
  ValueId conv3x3(const std::string& name, ValueId x, int64_t out, int64_t stride);
  ValueId conv1x1(const std::string& name, ValueId x, int64_t out, int64_t stride = 1);
  /// A module's input as it meets the output of `convs` 3×3 convs of stride 1.
  ValueId shortcut(const std::string& name, ValueId x, int convs = 1);
  /// What a module of `convs` 3×3 convs adds to its output: its input, or a 1×1-BN projection where shapes differ.
  ValueId residual(const std::string& name, ValueId x, int64_t out, int64_t stride, int convs);
  ValueId activate(const std::string& name, ValueId x);
  ValueId fade(const std::string& name, ValueId x);
  /// Between a module's first and last convolution: fades where options.fades says "inner".
  ValueId inner(const std::string& name, ValueId x) { return fades("inner") ? fade(name, x) : activate(name, x); }
  /// At a module's end: fades where options.fades says "outer".
  ValueId outer(const std::string& name, ValueId x) { return fades("outer") ? fade(name, x) : activate(name, x); }
  ValueId add(const std::string& name, ValueId a, ValueId b) { return builder_.add(name, a, b); }
  /// stays + goes, whose second part fades where options.fades says `place`.
  ValueId add_fading(const std::string& name, ValueId stays, ValueId goes, std::string_view place);
  /// block + shortcut at a module's end. The block fades where options.fades says "block" and the shortcut hands its
  /// input on; so does the shortcut for "residual"; the block is dropped at random where options.survival < 1.
  ValueId join(const std::string& name, ValueId block, ValueId shortcut, bool is_input = true);
  /// sum + the branches that options.branches asks for, beside a convolution from x.
  ValueId add_branches(const std::string& name, ValueId sum, ValueId x, const ConvShape& shape);
  /// pool (or not), flatten, FC
  ValueId head(ValueId x);
  /// head without the FC
  ValueId features(ValueId x);

  /// options.fades names that place.
  bool fades(std::string_view place);

 private:
  template <class Each>
  ValueId sum_over_branches(const std::string& name, ValueId first, ValueId x, const ConvShape& shape, Each each);
  ValueId sum_of_branches(const std::string& name, ValueId first, ValueId x, const ConvShape& shape);
  ValueId sum_of_kernels(const std::string& name, ValueId first, ValueId x, const ConvShape& shape);
  ValueId padded_input();
  Graph finish() &&;

  ArchOptions options_;
  int convs_per_module_;
  GraphBuilder builder_;
  std::set<std::string, std::less<>> places_;  // at which something can fade
};

/// 3×3-BN-activation to the first stage's width.
ValueId activated_stem(StagedBuilder& b, ValueId image);
/// A module of that stride can add its input to its output.
bool has_shortcut(const StagedBuilder& b, ValueId x, int64_t out, int64_t stride);

}  // namespace reducenet
