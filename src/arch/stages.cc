#include "arch/stages.h"

#include "reducenet/error.h"

namespace reducenet {
namespace {

void check_options(const ArchOptions& o) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw Error(ErrorKind::usage, "model." + what);
  };
  require(o.modules >= 1, "modules must be at least 1");
  require(!o.widths.empty(), "widths must name at least one stage");
  for (const int64_t width : o.widths) require(width >= 1, "widths must be positive");
  require(o.expansion >= 1, "expansion must be at least 1");
  require(o.channels >= 1 && o.height >= 1 && o.width >= 1, "input size must be positive");
  require(o.classes >= 2, "classes must be at least 2");
  require(o.head == "pool" || o.head == "flatten", "head must be 'pool' or 'flatten', not '" + o.head + "'");
  require(o.padding == "each" || o.padding == "input", "padding must be 'each' or 'input', not '" + o.padding + "'");
}

}  // namespace

StagedBuilder::StagedBuilder(std::string name, const ArchOptions& options, int convs_per_module)
    : options_(options), convs_per_module_(convs_per_module), builder_(std::move(name), options.seed) {
  check_options(options);
}

Graph StagedBuilder::build(const std::function<ValueId(StagedBuilder&, ValueId)>& stem, const Module& module) && {
  ValueId x = stem(*this, padded_input());
  for (size_t stage = 0; stage < options_.widths.size(); ++stage) {
    for (int64_t i = 0; i < options_.modules; ++i) {
      const std::string name = "stage" + std::to_string(stage + 1) + ".module" + std::to_string(i + 1);
      x = module(*this, name, x, options_.widths[stage], stage > 0 && i == 0 ? 2 : 1);
    }
  }
  builder_.output(head(x));
  return std::move(builder_).finish();
}

ValueId StagedBuilder::conv3x3(const std::string& name, ValueId x, int64_t out, int64_t stride) {
  Conv2d op{.stride = {stride, stride}};
  if (options_.padding == "each") op.padding = {1, 1, 1, 1};
  return builder_.batch_norm(name + ".bn", builder_.conv(name, x, out, {3, 3}, op));
}

ValueId StagedBuilder::conv1x1(const std::string& name, ValueId x, int64_t out, int64_t stride, bool beside_3x3) {
  if (beside_3x3) x = shortcut(name + ".crop", x);
  return builder_.batch_norm(name + ".bn", builder_.conv(name, x, out, {1, 1}, Conv2d{.stride = {stride, stride}}));
}

ValueId StagedBuilder::shortcut(const std::string& name, ValueId x, int convs) {
  if (options_.padding == "each") return x;
  return builder_.node(name, Pad{.begin = {0, 0, -convs, -convs}, .end = {0, 0, -convs, -convs}}, {x});
}

ValueId StagedBuilder::activate(const std::string& name, ValueId x) {
  return options_.linear ? x : builder_.activation(name, x, options_.activation);
}

ValueId StagedBuilder::fade(const std::string& name, ValueId x) {
  return options_.linear ? x : builder_.fade(name, x, options_.activation);
}

ValueId StagedBuilder::add_branches(const std::string& name, ValueId sum, ValueId x, int64_t out, int64_t stride) {
  const bool fits = stride == 1 && channels(x) == out;
  for (size_t i = 0; i < options_.branches.size(); ++i) {
    const std::string& kind = options_.branches[i];
    const std::string branch = name + ".branch" + std::to_string(i + 1);
    ValueId made;
    if (kind == "1x1") {
      made = conv1x1(branch, x, out, stride, true);
    } else if (kind == "3x3") {
      made = conv3x3(branch, x, out, stride);
    } else if (kind == "identity-bn") {
      if (fits) made = builder_.batch_norm(branch + ".bn", shortcut(branch + ".crop", x));
    } else if (kind == "identity") {
      if (fits) made = shortcut(branch + ".crop", x);
    } else {
      throw Error(ErrorKind::usage,
                  "model.branches: unknown branch '" + kind + "'; known: 1x1, 3x3, identity, identity-bn");
    }
    if (made) sum = add(branch + ".add", sum, made);
  }
  return sum;
}

// Every 3×3 conv of stride s needs (size_out − 1)·s + 3 input rows, one of them before the first that it is centred on.
ValueId StagedBuilder::padded_input() {
  const ValueId image = builder_.input("image", {-1, options_.channels, options_.height, options_.width});
  if (options_.padding == "each") return image;
  std::vector<int64_t> strides{1};  // the stem
  for (size_t stage = 0; stage < options_.widths.size(); ++stage) {
    for (int64_t i = 0; i < options_.modules * convs_per_module_; ++i) strides.push_back(stage > 0 && i == 0 ? 2 : 1);
  }
  int64_t before = 0, step = 1;
  Size2 size{options_.height, options_.width};
  for (const int64_t stride : strides) {
    before += step;
    step *= stride;
    for (int64_t& side : size) side = (side - 1) / stride + 1;
  }
  for (auto stride = strides.rbegin(); stride != strides.rend(); ++stride) {
    for (int64_t& side : size) side = (side - 1) * *stride + 3;
  }
  return builder_.node("pad",
                       Pad{.begin = {0, 0, before, before},
                           .end = {0, 0, size[0] - options_.height - before, size[1] - options_.width - before}},
                       {image});
}

ValueId StagedBuilder::head(ValueId x) {
  if (options_.head == "pool") x = builder_.node("pool", GlobalAveragePool{}, {x});
  return builder_.gemm("fc", builder_.node("flatten", Flatten{}, {x}), options_.classes);
}

ValueId activated_stem(StagedBuilder& b, ValueId image) {
  return b.activate("stem.act", b.conv3x3("stem", image, b.options().widths[0], 1));
}

bool has_shortcut(const StagedBuilder& b, ValueId x, int64_t out, int64_t stride) {
  return stride == 1 && b.channels(x) == out;
}

}  // namespace reducenet
