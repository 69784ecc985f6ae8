#include <algorithm>

#include "graph/reference.h"
#include "rules/example.h"
#include "rules/merge.h"
#include "rules/reason.h"
#include "rules/rows.h"

// Two maps with zero padding between them, merged all the same: what differs at the border is put right by constants or
// computed as before.  Only where the site may change borders; image sizes must be fixed.

namespace reducenet {
namespace {

Size2 fixed(const ImageSize& size) {
  return {*size[0], *size[1]};
}

bool is_fixed(const ImageSize& size) {
  return size[0] && size[1];
}

/// w∗x for one image, without bias.
std::vector<double> apply(const LinearMap& map, const std::vector<double>& x, Size2 in, Size2 out) {
  const Geometry& g = map.geometry;
  const int64_t per_group = g.in / g.groups;
  std::vector<double> y(static_cast<size_t>(g.out * out[0] * out[1]));
  const double* w = map.weight.data();
  for (int64_t o = 0; o < g.out; ++o) {
    for (int64_t i = 0; i < per_group; ++i) {
      const double* plane = x.data() + (o / (g.out / g.groups) * per_group + i) * in[0] * in[1];
      for (int64_t u = 0; u < g.axes[0].kernel; ++u) {
        const Axis &rows = g.axes[0], &columns = g.axes[1];
        const auto ys = reference::covered(out[0], in[0], rows.stride, rows.begin, u, rows.dilation);
        for (int64_t v = 0; v < columns.kernel; ++v, ++w) {
          const auto xs = reference::covered(out[1], in[1], columns.stride, columns.begin, v, columns.dilation);
          for (int64_t r = ys.first; r < ys.last; ++r) {
            const double* from = plane + (r * rows.stride + ys.offset) * in[1] + xs.offset;
            double* to = y.data() + (o * out[0] + r) * out[1];
            for (int64_t c = xs.first; c < xs.last; ++c) to[c] += *w * from[c * columns.stride];
          }
        }
      }
    }
  }
  return y;
}

/// w∗b for a tensor that is b[m] everywhere inside the image: the kernels' sums over their inputs, on a plane of ones.
std::vector<double> apply_to_bias(const LinearMap& map, const std::vector<double>& bias, Size2 in, Size2 out) {
  const Geometry& g = map.geometry;
  LinearMap sums{{.in = 1, .out = g.out, .groups = 1, .axes = g.axes}, {}, {}};
  sums.weight.resize(static_cast<size_t>(g.out * g.taps()));
  const int64_t per_group = g.in / g.groups;
  const double* w = map.weight.data();
  for (int64_t o = 0; o < g.out; ++o) {
    for (int64_t i = 0; i < per_group; ++i) {
      const double b = bias[static_cast<size_t>(o / (g.out / g.groups) * per_group + i)];
      for (int64_t k = 0; k < g.taps(); ++k) sums.weight[static_cast<size_t>(o * g.taps() + k)] += b * *w++;
    }
  }
  return apply(sums, std::vector<double>(static_cast<size_t>(in[0] * in[1]), 1), in, out);
}

/// x + m with a constant m for each channel and place.
struct Shifted {
  ValueId x;
  const Tensor* map;
};
std::optional<Shifted> read_shifted(const Site& site, ValueId value) {
  const NodeId producer = site.uses.producer_of(value);
  const auto* op = producer ? std::get_if<Binary>(&site.graph[producer].op) : nullptr;
  if (!op || op->kind != Binary::Kind::add) return std::nullopt;
  const auto& shape = site.graph[value].shape;
  for (size_t i = 0; shape && shape->size() == 4 && i < 2; ++i) {
    const ValueId x = site.graph[producer].inputs[1 - i];
    const Tensor* map = site.graph.constant(site.graph[producer].inputs[i]);
    if (!map || site.graph[x].shape != shape || site.graph.constant(x)) continue;
    if (map->shape() == Shape{1, (*shape)[1], (*shape)[2], (*shape)[3]}) return Shifted{x, map};
  }
  return std::nullopt;
}

/// Where zero padding meets what `first` makes: nothing to put right, a bias, or more than that.
enum class Meeting { agrees, bias, differs };
Meeting meeting(const Graph& graph, const View& first, const Geometry& second) {
  const ImageSize size = image_size(graph, first.source);
  bool reads_padding = false;
  for (size_t i = 0; i < 2; ++i) {
    const Border border = border_between(first.geometry.axes[i], second.axes[i], size[i]);
    if (!border.zeros_agree) return Meeting::differs;
    reads_padding |= border.reads_padding;
  }
  const std::vector<double> bias = reads_padding ? bias_of(graph, first) : std::vector<double>{};
  return std::any_of(bias.begin(), bias.end(), [](double b) { return b != 0; }) ? Meeting::bias : Meeting::agrees;
}

Refused open_size(const Site& site) {
  return Refused{"at " + label(site.graph, site.node) + " " + std::string(reason::kOpenSize)};
}

// w₂∗(w₁∗x + b₁ + m) + b₂ = (w₂∗w₁)∗x + M  with the constant M = w₂∗(b₁ + m) + b₂, in which padding is zero: M differs
// from a bias at the border.  Exact where w₁∗x, continued outside its output, is zero.
Outcome border_bias(const Site& site) {
  const auto second = view(site.graph, site.node);
  if (!second || second->is_pad() || rank_of(site.graph, second->result) != 4) return NoMatch{};
  const auto shifted = read_shifted(site, second->source);
  if (!shifted && !site.may.borders) return NoMatch{};
  const auto first = view_of_producer(site, shifted ? shifted->x : second->source);
  if (!first || first->is_pad()) return NoMatch{};
  const Meeting border = meeting(site.graph, *first, second->geometry);
  if (border == Meeting::differs || (border == Meeting::agrees && !shifted)) return NoMatch{};
  const ImageSize middle = image_size(site.graph, second->source), size = image_size(site.graph, second->result);
  if (!is_fixed(middle) || !is_fixed(size)) return open_size(site);
  if (const auto why = other_readers(site, second->source)) return Refused{*why};
  if (shifted) {
    if (const auto why = other_readers(site, shifted->x)) return Refused{*why};
  }
  const Geometry geometry = without_crops(compose(first->geometry, second->geometry));
  const int64_t before = work_of(site.graph, *first) + work_of(site.graph, *second);
  const int64_t after = geometry.weights() * positions(site.graph, second->result);
  if (shifted ? after > before && !site.may.enlarge : after >= before) return Refused{too_costly(site, before, after)};

  LinearMap w1 = numbers_of(site.graph, *first), w2 = numbers_of(site.graph, *second);
  std::vector<double> map;
  if (shifted) {
    std::vector<double> m = shifted->map->to_doubles();
    const auto plane = static_cast<size_t>(*middle[0] * *middle[1]);
    for (size_t i = 0; i < m.size(); ++i) m[i] += w1.bias[i / plane];
    map = apply(w2, m, fixed(middle), fixed(size));
  } else {
    map = apply_to_bias(w2, w1.bias, fixed(middle), fixed(size));
  }
  const auto plane = static_cast<size_t>(*size[0] * *size[1]);
  for (size_t i = 0; i < map.size(); ++i) map[i] += w2.bias[i / plane];
  w1.bias.assign(w1.bias.size(), 0);
  w2.bias.assign(w2.bias.size(), 0);

  const std::string& name = site.graph[site.node].name;
  Patch patch(site.graph);
  const ValueId y = emit(patch, compose(w1, w2), 4, first->source, name);
  const Shape shape{1, geometry.out, *size[0], *size[1]};
  const ValueId m = patch.constant(name + ".border", Tensor::from_doubles(shape, map));
  patch.replace(second->result, patch.node(name + ".border", Binary{}, {y, m}));
  return patch;
}

ValueId image_of_fixed_size(Example& e) {
  return e.image();
}

Graph border_bias_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = image_of_fixed_size(e);
  const Padding one{1, e.integer(0, 2), 1, e.integer(0, 1)};
  if (!must_fire) {  // what the first makes outside is not zero even without its bias
    const ValueId y = e.conv(x, {.kernel = 3, .stride = 1, .padding = one});
    e.output(e.conv(y, {.kernel = 3, .stride = 1, .padding = one}));
    return std::move(e).finish();
  }
  ValueId y;
  if (e.chance(0.4)) {
    y = e.chance(0.5) ? e.batch_norm(x) : e.node(Binary{}, {x, e.constant(Tensor::filled({1}, 0.5))});
  } else {  // a wide middle
    y = e.conv(x,
               {.out = 3 * e.channels(x), .kernel = 1, .stride = 1, .groups = 1, .padding = Padding{}, .bias = true});
  }
  y = e.conv(y, {.out = e.integer(1, 3), .kernel = 3, .dilation = 1, .groups = 1, .padding = one});
  if (e.chance(0.4)) y = e.batch_norm(y);
  e.output(y);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

/// Neighbouring places, both ends included.
struct Span {
  int64_t first = 0, last = -1;
  int64_t length() const { return last - first + 1; }
};

/// What outputs `out` of an axis read of an image of `size` places, and the padding around that.
struct Window {
  Span read;
  int64_t begin = 0, end = 0;
};
std::optional<Window> window(const Axis& axis, Span out, int64_t size) {
  const int64_t first = out.first * axis.stride - axis.begin;
  const int64_t last = out.last * axis.stride - axis.begin + axis.reach();
  const Span read{std::max<int64_t>(first, 0), std::min(last, size - 1)};
  if (read.length() < 1) return std::nullopt;
  return Window{read, read.first - first, last - read.last};
}

/// Outputs of `second` that read no padding of a middle of `size` places.
Span interior(const Axis& second, int64_t size, int64_t outputs) {
  const int64_t first = (second.begin + second.stride - 1) / second.stride;
  const int64_t room = size - 1 - second.reach() + second.begin;
  return {std::max<int64_t>(first, 0), std::min(outputs - 1, room < 0 ? -1 : room / second.stride)};
}

/// Two convolutions in a row, cut into the rectangle of outputs that meet no border and up to four strips beside it.
class Strips {
 public:
  Strips(const Site& site, const View& first, const View& second)
      : site_(site),
        first_(first),
        second_(second),
        image_(fixed(image_size(site.graph, first.source))),
        middle_(fixed(image_size(site.graph, second.source))),
        outputs_(fixed(image_size(site.graph, second.result))),
        whole_(compose(first.geometry, second.geometry)) {
    for (size_t i = 0; i < 2; ++i) clear_[i] = interior(second.geometry.axes[i], middle_[i], outputs_[i]);
  }

  bool any_clear() const { return clear_[0].length() > 0 && clear_[1].length() > 0; }

  /// The patch and its multiply-accumulates; nothing where a strip would read padding alone.
  struct Made {
    Patch patch;
    int64_t work;
  };
  std::optional<Made> make() {
    Patch patch(site_.graph);
    const Span all_columns{0, outputs_[1] - 1};
    const Span top{0, clear_[0].first - 1}, bottom{clear_[0].last + 1, outputs_[0] - 1};
    const Span left{0, clear_[1].first - 1}, right{clear_[1].last + 1, outputs_[1] - 1};
    std::vector<ValueId> rows, columns;
    if (!add_strip(patch, top, all_columns, ".top", rows) || !add_strip(patch, clear_[0], left, ".left", columns) ||
        !add_center(patch, columns) || !add_strip(patch, clear_[0], right, ".right", columns)) {
      return std::nullopt;
    }
    rows.push_back(join(patch, columns, 3));
    if (!add_strip(patch, bottom, all_columns, ".bottom", rows)) return std::nullopt;
    patch.replace(second_.result, join(patch, rows, 2));
    return Made{std::move(patch), work_};
  }

 private:
  using Windows = std::array<Window, 2>;
  static std::optional<Windows> windows(const Geometry& g, Span rows, Span columns, Size2 size) {
    const auto y = window(g.axes[0], rows, size[0]), x = window(g.axes[1], columns, size[1]);
    if (!y || !x) return std::nullopt;
    return Windows{*y, *x};
  }

  ValueId crop(Patch& patch, const Windows& w, const std::string& name) const {
    Pad op{.begin = {0, 0, -w[0].read.first, -w[1].read.first},
           .end = {0, 0, w[0].read.last + 1 - image_[0], w[1].read.last + 1 - image_[1]}};
    const auto zero = [](int64_t n) { return n == 0; };
    if (std::all_of(op.begin.begin(), op.begin.end(), zero) && std::all_of(op.end.begin(), op.end.end(), zero)) {
      return first_.source;
    }
    return patch.node(name, op, {first_.source});
  }

  /// The original convolution with other padding.
  ValueId again(Patch& patch, const View& view, const Windows& w, ValueId x, const std::string& suffix) const {
    const Node& node = site_.graph[view.node];
    auto op = std::get<Conv2d>(node.op);
    op.padding = {w[0].begin, w[1].begin, w[0].end, w[1].end};
    std::vector<ValueId> inputs = node.inputs;
    inputs[0] = x;
    return patch.node(node.name + suffix, op, std::move(inputs));
  }

  bool add_strip(Patch& patch, Span rows, Span columns, const char* suffix, std::vector<ValueId>& into) {
    if (rows.length() < 1 || columns.length() < 1) return true;
    const auto outer = windows(second_.geometry, rows, columns, middle_);
    if (!outer) return false;
    const Span y = (*outer)[0].read, x = (*outer)[1].read;
    const auto inner = windows(first_.geometry, y, x, image_);
    if (!inner) return false;
    work_ += first_.geometry.weights() * y.length() * x.length() +
             second_.geometry.weights() * rows.length() * columns.length();
    const ValueId part = crop(patch, *inner, site_.graph[second_.node].name + suffix);
    into.push_back(again(patch, second_, *outer, again(patch, first_, *inner, part, suffix), suffix));
    return true;
  }

  bool add_center(Patch& patch, std::vector<ValueId>& into) {
    const auto w = windows(whole_, clear_[0], clear_[1], image_);
    if (!w) return false;
    work_ += whole_.weights() * clear_[0].length() * clear_[1].length();
    LinearMap map = compose(numbers_of(site_.graph, first_), numbers_of(site_.graph, second_));
    for (size_t i = 0; i < 2; ++i) {
      map.geometry.axes[i].begin = (*w)[i].begin;
      map.geometry.axes[i].end = (*w)[i].end;
    }
    const std::string& name = site_.graph[second_.node].name;
    const ValueId part = crop(patch, *w, name + ".center");
    into.push_back(emit(patch, std::move(map), 4, part, name));
    return true;
  }

  ValueId join(Patch& patch, const std::vector<ValueId>& parts, int64_t axis) const {
    if (parts.size() == 1) return parts[0];
    return patch.node(site_.graph[second_.node].name + (axis == 2 ? ".rows" : ".columns"), Concat{axis}, parts);
  }

  const Site& site_;
  const View &first_, &second_;
  Size2 image_, middle_, outputs_;
  Geometry whole_;
  std::array<Span, 2> clear_;
  int64_t work_ = 0;
};

// w₂∗pad₀(w₁∗x + b₁) is (w₂∗w₁)∗x + … wherever w₂ reads no padding: the rest, strips along the border, is computed from
// crops of x as before, and all is put together.  Always exact; image sizes are fixed.  Not for less than a fifth of
// the multiply-accumulates: crops, joins and several small calls take about that (bench/collapse/strips.py).
Outcome border_strips(const Site& site) {
  if (!site.may.borders) return NoMatch{};
  const auto second = view(site.graph, site.node);
  if (!second || !second->is_conv()) return NoMatch{};
  const auto first = view_of_producer(site, second->source);
  if (!first || !first->is_conv() || meeting(site.graph, *first, second->geometry) != Meeting::differs)
    return NoMatch{};
  if (const auto why = other_readers(site, second->source)) return Refused{*why};
  for (const ValueId value : {first->source, second->source, second->result}) {
    if (!is_fixed(image_size(site.graph, value))) return open_size(site);
  }
  Strips strips(site, *first, *second);
  if (!strips.any_clear())
    return Refused{"at " + label(site.graph, site.node) + " " + std::string(reason::kOnlyBorder)};
  auto made = strips.make();
  if (!made) return Refused{"at " + label(site.graph, site.node) + " " + std::string(reason::kOnlyBorder)};
  const int64_t before = work_of(site.graph, *first) + work_of(site.graph, *second);
  if (5 * made->work > 4 * before) {
    return Refused{"at " + label(site.graph, site.node) + " " + std::string(reason::kStrips) + ": " +
                   std::to_string(made->work) + " instead of " + std::to_string(before)};
  }
  return std::move(made->patch);
}

Graph border_strips_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const auto side = [&] { return e.integer(0, 1); };
  const Padding inner{side(), side(), side(), side()};
  Padding outer{side(), side(), side(), side()};
  outer.top = 1;
  if (!must_fire) {  // nothing is saved: the middle is no wider than the ends
    const ValueId y = e.conv(x, {.out = 2, .kernel = 3, .stride = 1, .dilation = 1, .groups = 1, .padding = inner});
    e.output(e.conv(y, {.out = 4, .kernel = 3, .stride = 1, .dilation = 1, .groups = 1, .padding = outer}));
    return std::move(e).finish();
  }
  const ValueId y =
      e.conv(x, {.out = 24, .kernel = 2, .stride = 1, .dilation = 1, .groups = 1, .padding = Padding{0, 0, 0, 1}});
  const Padding above{1, 0, 0, 0};
  e.output(e.conv(y, {.out = 1, .kernel = e.integer(2, 3), .stride = 1, .dilation = 1, .groups = 1, .padding = above}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"border-bias", "w₂∗(w₁∗x + b₁) = (w₂∗w₁)∗x + M with M = w₂∗b₁ by place", border_bias, border_bias_example, true},
    {"border-strips", "w₂∗(w₁∗x) = (w₂∗w₁)∗x inside, strips of w₂∗(w₁∗x) along the border", border_strips,
     border_strips_example, true},
};

}  // namespace

std::span<const Rule> border_rules() {
  return kRules;
}

}  // namespace reducenet
