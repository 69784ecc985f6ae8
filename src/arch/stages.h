#pragma once

#include <functional>
#include <string>

#include "reducenet/arch.h"
#include "reducenet/builder.h"

namespace reducenet {

/// A network as CIFAR ResNets lay it out: stem, stages of modules, head. Convs are 3×3 "same" or, with options.padding
/// == "input", unpadded: then one Pad at the input supplies every border and each path beside a 3×3 is cropped to
/// match.
class StagedBuilder {
 public:
  /// `convs_per_module`: 3×3 convs on a module's main path (the first has the module's stride).
  StagedBuilder(std::string name, const ArchOptions& options, int convs_per_module = 1);

  /// One module: input, output channels, stride → output.
  using Module =
      std::function<ValueId(StagedBuilder&, const std::string& name, ValueId x, int64_t out, int64_t stride)>;
  /// stem → modules → head.
  Graph build(const std::function<ValueId(StagedBuilder&, ValueId)>& stem, const Module& module) &&;

  const ArchOptions& options() const { return options_; }
  int64_t channels(ValueId x) const { return builder_.channels(x); }
  /// conv 3×3 → BN
  ValueId conv3x3(const std::string& name, ValueId x, int64_t out, int64_t stride);
  /// conv 1×1 → BN; `beside_3x3`: on a path that runs beside a 3×3 conv of that stride.
  ValueId conv1x1(const std::string& name, ValueId x, int64_t out, int64_t stride = 1, bool beside_3x3 = false);
  /// x as it meets the output of `convs` 3×3 convs of stride 1.
  ValueId shortcut(const std::string& name, ValueId x, int convs = 1);
  ValueId activate(const std::string& name, ValueId x);
  ValueId fade(const std::string& name, ValueId x);
  ValueId add(const std::string& name, ValueId a, ValueId b) { return builder_.add(name, a, b); }
  /// sum + the linear branches that options.branches asks for, beside a 3×3 conv from x.
  ValueId add_branches(const std::string& name, ValueId sum, ValueId x, int64_t out, int64_t stride);

 private:
  ValueId padded_input();
  ValueId head(ValueId x);

  ArchOptions options_;
  int convs_per_module_;
  GraphBuilder builder_;
};

/// 3×3-BN-activation to the first stage's width.
ValueId activated_stem(StagedBuilder& b, ValueId image);
/// A module of that stride can add its input to its output.
bool has_shortcut(const StagedBuilder& b, ValueId x, int64_t out, int64_t stride);

}  // namespace reducenet
