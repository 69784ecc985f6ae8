#include "arch/stages.h"

#include <algorithm>
#include <charconv>

#include "arch/branches.h"
#include "reducenet/error.h"

namespace reducenet {
namespace {

constexpr ArchChoice kFadePlaces[] = {
    {"inner", "activations between a module's first and last convolution"},
    {"outer", "the activation at a module's end"},
    {"block", "all of a module but its shortcut"},
    {"residual", "the shortcut beside a module"},
    {"bottleneck", "gen3: the non-linear branch"},
    {"routing", "condconv: the weights that each image gives the kernels"},
    {"skipped", "skipnet: gated blocks; select.by = usage says which"},
    {"side", "detachnet: the scale factors that the side network supplies"},
};

void check_options(const ArchOptions& o) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw Error(ErrorKind::usage, "model." + what);
  };
  require(o.modules >= 1, "modules must be at least 1");
  require(!o.widths.empty(), "widths must name at least one stage");
  for (const int64_t width : o.widths) require(width >= 1, "widths must be positive");
  require(o.expansion >= 1, "expansion must be at least 1");
  require(o.survival > 0 && o.survival <= 1, "survival must be above 0, and at most 1");
  require(o.experts >= 1, "experts must be at least 1");
  require(o.side >= 1, "side must be at least 1");
  require(!o.supplies.empty(), "supplies must name at least one of multiply, add, convolve");
  for (const std::string& what : o.supplies) {
    require(what == "multiply" || what == "add" || what == "convolve",
            "supplies must be multiply, add or convolve, not '" + what + "'");
  }
  require(o.branch_sum == "normed" || o.branch_sum == "scaled" || o.branch_sum == "kernels",
          "branch_sum must be 'normed', 'scaled' or 'kernels', not '" + o.branch_sum + "'");
  require(!o.slopes || o.activation == Activation{Activation::Kind::relu}, "slopes: only those of a ReLU are learned");
  require(o.series >= 0, "series must not be negative");
  require(o.channels >= 1 && o.height >= 1 && o.width >= 1, "input size must be positive");
  require(o.classes >= 2, "classes must be at least 2");
  require(o.head == "pool" || o.head == "flatten", "head must be 'pool' or 'flatten', not '" + o.head + "'");
  require(o.padding == "each" || o.padding == "module" || o.padding == "input",
          "padding must be 'each', 'module' or 'input', not '" + o.padding + "'");
  for (const std::string& place : o.fades) {
    std::string names;
    for (const ArchChoice& known : kFadePlaces) names += (names.empty() ? "" : ", ") + std::string(known.name);
    require(std::ranges::find(kFadePlaces, place, &ArchChoice::name) != std::end(kFadePlaces),
            "fades: nothing fades at '" + place + "'; known: " + names);
  }
}

/// "NAME*N" → N times NAME.
std::vector<std::string> repeated(const std::vector<std::string>& branches) {
  std::vector<std::string> list;
  for (const std::string& branch : branches) {
    const size_t star = branch.find('*');
    int64_t count = 1;
    if (star != branch.npos) {
      const char* const end = branch.data() + branch.size();
      const auto parsed = std::from_chars(branch.data() + star + 1, end, count);
      if (parsed.ec != std::errc{} || parsed.ptr != end || count < 1 || count > 64) {
        throw Error(ErrorKind::usage, "model.branches: '" + branch + "': 1 to 64 copies are NAME*1 to NAME*64");
      }
    }
    list.insert(list.end(), static_cast<size_t>(count), branch.substr(0, star));
  }
  return list;
}

/// The Pad before a path whose convolutions pad nothing, after which output i lies where it lies when convolution k
/// pads ⌊kernel/2⌋:  Σ ⌊kernelₖ/2⌋·Π_{j<k} strideⱼ zeros before, and as many behind as the last output reads.
Pad pad_of(const std::vector<PathConv>& path, Size2 size) {
  int64_t before = 0, step = 1;
  Size2 end = size;
  for (const PathConv& conv : path) {
    before += conv.kernel / 2 * step;
    step *= conv.stride;
    for (int64_t& side : end) side = (side - 1) / conv.stride + 1;
  }
  for (auto conv = path.rbegin(); conv != path.rend(); ++conv) {
    for (int64_t& side : end) side = (side - 1) * conv->stride + conv->kernel;
  }
  return {.begin = {0, 0, before, before}, .end = {0, 0, end[0] - size[0] - before, end[1] - size[1] - before}};
}

}  // namespace

std::span<const ArchChoice> fade_places() {
  return kFadePlaces;
}

StagedBuilder::StagedBuilder(std::string name, const ArchOptions& options, int convs_per_module)
    : options_(options), convs_per_module_(convs_per_module), builder_(name, options.seed) {
  check_options(options);
  options_.branches = repeated(options.branches);
  if (options.padding == "input" && convs_per_module == 0) {
    throw Error(ErrorKind::usage, "model.padding: '" + name + "' cannot take all its padding at the input");
  }
}

Graph StagedBuilder::build(const Stem& stem, const Module& module) && {
  const auto body = [&](StagedBuilder& b, ValueId x) {
    for (size_t stage = 0; stage < options_.widths.size(); ++stage) {
      for (int64_t i = 0; i < options_.modules; ++i) {
        const std::string name = "stage" + std::to_string(stage + 1) + ".module" + std::to_string(i + 1);
        x = module(b, name, x, options_.widths[stage], stage > 0 && i == 0 ? 2 : 1);
      }
    }
    return x;
  };
  return std::move(*this).build(stem, body, [](StagedBuilder& b, ValueId x) { return b.head(x); });
}

Graph StagedBuilder::build(const Stem& stem, const Stem& body, const Stem& head) && {
  builder_.output(head(*this, body(*this, stem(*this, padded_input()))));
  return std::move(*this).finish();
}

Graph StagedBuilder::finish() && {
  Graph graph = std::move(builder_).finish();
  for (const std::string& place : options_.fades) {
    if (places_.contains(place) || options_.linear) continue;
    throw Error(ErrorKind::usage, "model.fades: nothing of '" + graph.name + "' fades at '" + place + "'");
  }
  std::vector<Fade*> drops;
  for (Node& node : graph.nodes) {
    auto* const fade = std::get_if<Fade>(&node.op);
    if (fade && fade->kind == "drop") drops.push_back(fade);
  }
  if (options_.survival < 1 && drops.empty()) {
    throw Error(ErrorKind::usage, "model.survival: '" + graph.name + "' has no blocks to drop");
  }
  for (size_t l = 0; l < drops.size(); ++l) {
    drops[l]->lambda = 1 - static_cast<double>(l + 1) / static_cast<double>(drops.size()) * (1 - options_.survival);
  }
  return graph;
}

ValueId StagedBuilder::enter(const std::string& name, ValueId x, const std::vector<PathConv>& path) {
  if (options_.padding != "module") return x;
  const Shape& shape = *builder_.graph()[x].shape;
  return builder_.node(name + ".pad", pad_of(path, {shape[2], shape[3]}), {x});
}

ValueId StagedBuilder::plain(const std::string& name, ValueId x, const ConvShape& shape) {
  return conv_of(name, x, kernel_of(name, x, shape), shape);
}

ValueId StagedBuilder::kernel_of(const std::string& name, ValueId x, const ConvShape& shape) {
  const int64_t groups = shape.depthwise ? channels(x) : 1;
  return builder_.kernel(name + ".weight", {shape.out, channels(x) / groups, shape.kernel, shape.kernel});
}

ValueId StagedBuilder::conv_of(const std::string& name, ValueId x, ValueId kernel, const ConvShape& shape) {
  Conv2d op{.stride = {shape.stride, shape.stride}, .groups = shape.depthwise ? channels(x) : 1};
  const int64_t reach = shape.kernel / 2;
  if (pads_each()) op.padding = {reach, reach, reach, reach};
  return builder_.node(name, op, {x, kernel});
}

ValueId StagedBuilder::conv(const std::string& name, ValueId x, const ConvShape& shape) {
  return builder_.batch_norm(name + ".bn", plain(name, x, shape));
}

ValueId StagedBuilder::branched(const std::string& name, ValueId x, const ConvShape& shape) {
  if (options_.branch_sum == "normed" || options_.branches.empty()) {
    return add_branches(name, conv(name, x, shape), x, shape);
  }
  const ValueId sum = options_.branch_sum == "scaled"
                          ? sum_of_branches(name, plain(name, x, shape), x, shape)
                          : conv_of(name, x, sum_of_kernels(name, kernel_of(name, x, shape), x, shape), shape);
  return builder_.batch_norm(name + ".bn", sum);
}

ValueId StagedBuilder::conv3x3(const std::string& name, ValueId x, int64_t out, int64_t stride) {
  return conv(name, x, {.out = out, .stride = stride});
}

ValueId StagedBuilder::conv1x1(const std::string& name, ValueId x, int64_t out, int64_t stride) {
  return conv(name, x, {.out = out, .kernel = 1, .stride = stride});
}

ValueId StagedBuilder::shortcut(const std::string& name, ValueId x, int convs) {
  if (options_.padding != "input" || convs == 0) return x;
  return builder_.node(name, Pad{.begin = {0, 0, -convs, -convs}, .end = {0, 0, -convs, -convs}}, {x});
}

// The projection's output i lies where the path's does: at input stride·i + 1 + (convs − 1)·stride of an unpadded one.
ValueId StagedBuilder::residual(const std::string& name, ValueId x, int64_t out, int64_t stride, int convs) {
  if (has_shortcut(*this, x, out, stride)) return shortcut(name + ".crop", x, convs);
  const ValueId cropped = shortcut(name + ".crop.project", x);
  return shortcut(name + ".crop", conv1x1(name + ".project", cropped, out, stride), convs - 1);
}

ValueId StagedBuilder::activate(const std::string& name, ValueId x) {
  if (options_.linear) return x;
  if (!options_.slopes) return builder_.activation(name, x, options_.activation);
  const ValueId slope = builder_.constant(name + ".slope", Tensor::filled({channels(x), 1, 1}, 0));
  return builder_.node(name, PRelu{}, {x, slope});
}

ValueId StagedBuilder::fade(const std::string& name, ValueId x) {
  return options_.linear ? x : builder_.fade(name, x, options_.activation);
}

ValueId StagedBuilder::add_fading(const std::string& name, ValueId stays, ValueId goes, std::string_view place) {
  if (!fades(place)) return add(name, stays, goes);
  return builder_.node(name, Fade{.kind = "branch", .activation = {Activation::Kind::identity}}, {stays, goes});
}

ValueId StagedBuilder::join(const std::string& name, ValueId block, ValueId shortcut, bool is_input) {
  if (is_input && fades("block")) return add_fading(name, shortcut, block, "block");
  if (is_input && fades("residual")) return add_fading(name, block, shortcut, "residual");
  if (options_.survival == 1) return add(name, block, shortcut);
  return builder_.node(name, Fade{.kind = "drop", .activation = {Activation::Kind::identity}}, {shortcut, block});
}

ValueId StagedBuilder::add_branches(const std::string& name, ValueId sum, ValueId x, const ConvShape& shape) {
  if (options_.branch_sum == "normed") return sum_of_branches(name, sum, x, shape);
  const std::string side = name + ".branches";
  const ValueId kernel = options_.branch_sum == "kernels" ? sum_of_kernels(name, {}, x, shape) : ValueId{};
  const ValueId made = kernel ? conv_of(side, x, kernel, shape) : sum_of_branches(name, {}, x, shape);
  return made ? add(side + ".add", sum, builder_.batch_norm(side + ".bn", made)) : sum;
}

/// first + each(branch 1) + each(branch 2) + …, of those that apply.
template <class Each>
ValueId StagedBuilder::sum_over_branches(const std::string& name, ValueId first, ValueId x, const ConvShape& shape,
                                         Each each) {
  const int64_t groups = shape.depthwise ? channels(x) : 1;
  for (size_t i = 0; i < options_.branches.size(); ++i) {
    const std::string branch = name + ".branch" + std::to_string(i + 1);
    const ValueId made = each(find_branch(options_.branches[i]),
                              Beside{*this, branch, x, shape.out, shape.kernel, shape.stride, groups});
    if (made) first = first ? add(branch + ".add", first, made) : made;
  }
  return first;
}

ValueId StagedBuilder::sum_of_branches(const std::string& name, ValueId first, ValueId x, const ConvShape& shape) {
  return sum_over_branches(name, first, x, shape,
                           [](const BranchKind& kind, const Beside& c) { return kind.build(c); });
}

ValueId StagedBuilder::sum_of_kernels(const std::string& name, ValueId first, ValueId x, const ConvShape& shape) {
  return sum_over_branches(name, first, x, shape,
                           [](const BranchKind& kind, const Beside& c) { return kind.kernel(c); });
}

bool StagedBuilder::fades(std::string_view place) {
  places_.emplace(place);
  return std::ranges::find(options_.fades, place) != options_.fades.end();
}

ValueId StagedBuilder::padded_input() {
  const ValueId image = builder_.input("image", {-1, options_.channels, options_.height, options_.width});
  if (options_.padding != "input") return image;
  std::vector<PathConv> path{{3, 1}};  // the stem
  for (size_t stage = 0; stage < options_.widths.size(); ++stage) {
    for (int64_t i = 0; i < options_.modules * convs_per_module_; ++i) path.push_back({3, stage > 0 && i == 0 ? 2 : 1});
  }
  return builder_.node("pad", pad_of(path, {options_.height, options_.width}), {image});
}

ValueId StagedBuilder::features(ValueId x) {
  if (options_.head == "pool") x = builder_.node("pool", GlobalAveragePool{}, {x});
  return builder_.node("flatten", Flatten{}, {x});
}

ValueId StagedBuilder::head(ValueId x) {
  return builder_.gemm("fc", features(x), options_.classes);
}

ValueId activated_stem(StagedBuilder& b, ValueId image) {
  return b.activate("stem.act", b.conv3x3("stem", b.enter("stem", image, {{3, 1}}), b.options().widths[0], 1));
}

bool has_shortcut(const StagedBuilder& b, ValueId x, int64_t out, int64_t stride) {
  return stride == 1 && b.channels(x) == out;
}

}  // namespace reducenet
