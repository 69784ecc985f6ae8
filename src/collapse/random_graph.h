#pragma once

#include <limits>

#include "collapse/testing.h"
#include "reducenet/error.h"
#include "reducenet/graph.h"
#include "rules/example.h"

namespace reducenet::testing {

/// Random networks of images: chains, branches that meet in sums and concatenations, blocks with residuals over
/// activations, wide middles before padding, linear maps of the last axis; with groups, strides, dilation, asymmetric
/// and negative padding, shared weights, several readers, absent biases, batch norms of tiny variance and negative
/// gamma. Half of them end in pool or flatten and matrices; some have an open image size.
class RandomGraph {
 public:
  /// `linear`: every node is linear, and nothing is read twice.
  RandomGraph(uint64_t seed, bool linear) : e_(seed), linear_(linear), open_(!linear && e_.chance(0.15)) {}

  Graph build() && {
    const ValueId image = e_.image();
    ValueId x = image;
    for (int64_t i = e_.integer(1, 4); i > 0; --i) {
      x = block(x);
      if (!linear_ && e_.chance(0.3))
        x = e_.node(Activation{e_.chance(0.5) ? Activation::Kind::relu : Activation::Kind::tanh}, {x});
      if (!linear_) e_.maybe_read_again(x);
    }
    e_.output(!open_ && e_.chance(linear_ ? 0.98 : 0.5) ? head(x) : x);
    if (!linear_ && e_.chance(0.03)) e_.output(identity(image));  // both ends keep their names
    const Graph closed = std::move(e_).finish();
    return open_ ? opened(closed) : closed;
  }

 private:
  /// The graph with an open image size, unless its paths meet at its own size only.
  static Graph opened(const Graph& closed) {
    Graph graph = closed;
    for (const ValueId in : graph.inputs) (*graph[in].shape)[2] = (*graph[in].shape)[3] = -1;
    for (const Node& node : graph.nodes) graph[node.outputs[0]].shape.reset();
    infer_shapes(graph);
    try {
      evaluate(graph, random_inputs(graph, 1));
    } catch (const Error&) {
      return closed;
    }
    return graph;
  }

  bool is_small(ValueId x) { return e_.shape(x)[2] < 4 || e_.shape(x)[3] < 4; }

  /// Padding with what a 1×1 convolution makes of zeros, or nearly.
  ValueId filled(ValueId x) {
    const double value = static_cast<double>(e_.integer(1, 3)) / 2, off = e_.chance(0.4) ? 1 : 0;
    const int64_t middle = e_.integer(1, 4);
    const ValueId y = e_.node(Conv2d{}, {x, e_.constant(e_.normal({middle, e_.channels(x), 1, 1})),
                                         e_.constant(Tensor::filled({middle}, value + off))});
    const Pad pad{.begin = {0, 0, 1, e_.integer(0, 1)}, .end = {0, 0, 1, 1}, .value = value};
    return e_.conv(e_.node(pad, {y}), {.kernel = e_.integer(1, 3), .padding = Padding{}});
  }

  ValueId block(ValueId x) {
    if (e_.channels(x) > 8) x = e_.conv(x, {.out = e_.integer(2, 6), .kernel = 1, .stride = 1, .padding = Padding{}});
    if (e_.chance(0.35)) return sum(x);
    if (e_.chance(0.25)) return concat(x);
    if (e_.chance(0.2)) return wide(x);
    if (e_.chance(0.07)) return filled(x);
    if (!linear_ && e_.chance(0.25)) return residual(x);
    return layers(x, e_.integer(1, 4));
  }

  ValueId layer(ValueId x) {
    const auto margin = [&] { return e_.chance(0.7) ? e_.integer(0, 2) : -1; };
    switch (e_.integer(0, linear_ ? 11 : 15)) {
      case 0:
      case 1:
        return e_.batch_norm(x, e_.chance(0.8));
      case 2:
        return e_.scale(x);
      case 3:
        return e_.conv(x, {.kernel = 1, .stride = 1, .padding = Padding{}});
      case 4:
        return e_.conv(x, {.out = e_.channels(x), .groups = e_.channels(x)});
      case 5:
        if (is_small(x)) return x;
        return e_.node(Pad{.begin = {0, 0, margin(), margin()}, .end = {0, 0, margin(), margin()}}, {x});
      case 6:
        return identity(x);
      case 7:
        return e_.conv_transpose(e_.chance(0.5) ? e_.batch_norm(x, e_.chance(0.4)) : x);
      case 8:
        return is_small(x) ? x : pool(x);
      case 12:
        return clamp(e_.chance(0.5) ? clamp(x) : x);
      case 13:
        return e_.chance(0.3) ? e_.node(Unary{Unary::Kind::abs}, {clamp(x)}) : clamp(e_.node(Activation{}, {x}));
      case 14:
        return disguised(x);
      case 15:
        return tokens(x);
      default:
        return is_small(x) ? e_.conv(x, {.kernel = 1, .stride = 1})
                           : e_.conv(x, e_.chance(0.4) ? ConvChoice{.padding = Padding{}} : ConvChoice{});
    }
  }

  ValueId identity(ValueId x) {
    switch (e_.integer(0, linear_ ? 4 : 5)) {
      case 0:
        return e_.node(Identity{}, {x});
      case 1:
        return e_.node(Dropout{}, {x});
      case 2:
        return e_.node(Fade{.activation = {Activation::Kind::gelu}, .lambda = 0}, {x});
      case 3:
        return e_.node(Activation{Activation::Kind::leaky_relu, 1}, {x});
      case 5:  // a factor that is computed from constants
        return e_.node(Binary{Binary::Kind::mul}, {x, e_.node(Unary{Unary::Kind::exp}, {e_.constant(e_.normal({1}))})});
      default:
        return e_.node(PRelu{}, {x, e_.constant(Tensor::filled({1}, 1))});
    }
  }

  ValueId disguised(ValueId x) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const int64_t c = e_.channels(x);
    const auto each = [&](double v) { return e_.constant(Tensor::filled({c}, v)); };
    switch (e_.integer(0, 3)) {
      case 0:
        return e_.node(Activation{Activation::Kind::clip, -kInfinity, kInfinity}, {x});
      case 1:
        return e_.node(Binary{Binary::Kind::pow}, {x, e_.constant(Tensor::filled({}, 1))});
      case 2:
        return e_.node(BatchNorm{.epsilon = 0}, {x, each(1), each(0), each(0), each(1)});
      default: {
        const Shape depthwise{c, 1, 1, 1};
        return e_.node(Conv2d{.groups = c}, {x, e_.constant(Tensor::filled(depthwise, 1))});
      }
    }
  }

  ValueId clamp(ValueId x) {
    const double low = static_cast<double>(e_.integer(-4, 2)) / 2;
    switch (e_.integer(0, 3)) {
      case 0:
        return e_.node(Activation{}, {x});
      case 1:
        return e_.node(Activation{Activation::Kind::relu6}, {x});
      case 2:
        return e_.node(Binary{Binary::Kind::max}, {x, e_.constant(Tensor::filled({}, low))});
      default:
        return e_.node(Activation{Activation::Kind::clip, low, low + 2}, {x});
    }
  }

  ValueId pool(ValueId x) {
    AveragePool op{.kernel = {2, e_.integer(1, 3)}, .stride = {e_.integer(1, 2), 2}};
    if (e_.chance(0.4)) op.padding = {1, 0, e_.integer(0, 1), 0};
    op.count_include_pad = e_.chance(0.6);
    const auto layer = [&](ValueId v) {
      return e_.chance(0.5) ? e_.conv(v, {.kernel = e_.integer(1, 2), .stride = 1}) : e_.batch_norm(v);
    };
    ValueId y = e_.chance(0.4) ? layer(x) : x;
    if (is_small(y)) return y;
    y = e_.node(op, {y});
    return e_.chance(0.3) ? e_.conv(y, {.kernel = 1, .padding = Padding{}}) : y;
  }

  /// Linear maps of channels that lie last, as in ConvNeXt.
  ValueId tokens(ValueId x) {
    ValueId y = e_.node(Transpose{{0, 2, 3, 1}}, {x});
    for (int64_t i = e_.integer(1, 4); i > 0; --i) {
      const int64_t c = e_.shape(y).back();
      const Binary op{e_.chance(0.5) ? Binary::Kind::add : Binary::Kind::mul};
      y = e_.chance(0.5) ? e_.node(MatMul{}, {y, e_.constant(e_.normal({c, e_.integer(2, 5)}))})
                         : e_.node(op, {y, e_.constant(e_.normal({c}))});
      if (e_.chance(0.1)) e_.output(y);
    }
    y = e_.node(Transpose{{0, 3, 1, 2}}, {y});
    return e_.chance(0.6) ? e_.scale(y) : y;
  }

  ValueId layers(ValueId x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      x = layer(x);
      if (!linear_ && e_.chance(0.05)) e_.maybe_read_again(x);
      if (!linear_ && e_.chance(0.02)) e_.output(x);
    }
    return x;
  }

  /// Two to four branches of one input, made to agree in shape by what each ends with.
  ValueId sum(ValueId x) {
    const int64_t out = e_.chance(0.6) ? e_.channels(x) : e_.integer(1, 6), stride = e_.chance(0.7) ? 1 : 2;
    ValueId total = branch(x, out, stride);
    if (!linear_ && e_.chance(0.15)) {
      std::vector<ValueId> terms{total};
      for (int64_t i = e_.integer(1, 4); i > 0; --i) terms.push_back(branch(x, out, stride));
      return e_.node(Variadic{}, terms);
    }
    for (int64_t i = e_.integer(1, 3); i > 0; --i) {
      const ValueId next = branch(x, out, stride);
      total = e_.chance(0.5) ? e_.add(total, next) : e_.add(next, total);
    }
    return total;
  }

  ValueId branch(ValueId x, int64_t out, int64_t stride) {
    const bool same = out == e_.channels(x) && stride == 1;
    if (stride == 2 && !open_ && e_.chance(0.1)) {  // as many outputs, one place apart instead of two
      const int64_t rows = e_.shape(x)[2] / 2 + 1, columns = e_.shape(x)[3] / 2 + 1;
      return e_.node(Conv2d{}, {x, e_.constant(e_.normal({out, e_.channels(x), rows, columns}))});
    }
    if (same && e_.chance(0.3)) return e_.chance(0.5) ? x : e_.batch_norm(x);
    if (out == e_.channels(x) && e_.chance(0.2)) {
      return e_.node(AveragePool{.kernel = {3, 3},
                                 .stride = {stride, stride},
                                 .padding = {1, 1, 1, 1},
                                 .count_include_pad = e_.chance(0.7)},
                     {x});
    }
    if (e_.chance(0.3)) x = e_.conv(x, {.kernel = 1, .stride = 1, .padding = Padding{}, .bias = e_.chance(0.3)});
    const int64_t half = e_.integer(0, 2), dilation = e_.integer(1, 2), reach = half * dilation;
    const int64_t before = stride == 1 && e_.chance(0.1) ? reach : 0;  // aligned otherwise
    ValueId y = e_.conv(x, {.out = out,
                            .kernel = 2 * half + 1,
                            .stride = stride,
                            .dilation = dilation,
                            .padding = Padding{reach + before, reach, reach - before, reach}});
    if (e_.chance(0.5)) y = e_.batch_norm(y);
    if (!linear_ && e_.chance(0.15)) y = e_.node(Activation{}, {y});
    if (e_.chance(0.3)) y = e_.conv(y, {.out = out, .kernel = 1, .stride = 1, .padding = Padding{}});
    return e_.chance(0.2) ? e_.scale(y) : y;
  }

  /// Branches side by side, and what may merge with them.
  ValueId concat(ValueId x) {
    const int64_t stride = e_.integer(1, 2);
    const bool plain = e_.chance(0.4), activation = !linear_ && e_.chance(0.4);
    std::vector<ValueId> parts;
    if (stride == 1 && e_.chance(0.3)) parts.push_back(x);
    for (int64_t i = e_.integer(2, 3); i > 0; --i) {
      const int64_t half = plain ? 0 : e_.integer(0, 1);
      ValueId y = e_.conv(x, {.out = e_.integer(1, 4),
                              .kernel = 2 * half + 1,
                              .stride = stride,
                              .dilation = 1,
                              .padding = Padding{half, half, half, half}});
      if (e_.chance(0.2)) y = e_.batch_norm(y);
      if (activation) y = e_.node(Activation{}, {y});
      if (!linear_ && e_.chance(0.08)) e_.output(y);
      if (e_.chance(0.15)) y = e_.batch_norm(y);
      parts.push_back(y);
    }
    const ValueId y = e_.node(Concat{}, parts);
    if (e_.chance(0.3)) return e_.batch_norm(y);
    return e_.chance(0.5) ? e_.conv(y, {.out = e_.integer(1, 3), .kernel = e_.integer(1, 2), .stride = 1}) : y;
  }

  /// A middle of many channels before a convolution that pads.
  ValueId wide(ValueId x) {
    if (is_small(x)) return x;
    const int64_t kernel = e_.chance(0.5) ? 1 : 2;
    ValueId y =
        e_.conv(x, {.out = 12, .kernel = kernel, .stride = 1, .dilation = 1, .groups = 1, .padding = Padding{}});
    if (e_.chance(0.3)) y = e_.batch_norm(y);
    const Padding padding{e_.integer(0, 1), 1, e_.integer(0, 2), e_.integer(0, 1)};
    return e_.conv(y, {.out = e_.integer(1, 3), .kernel = e_.integer(2, 3), .groups = 1, .padding = padding});
  }

  /// A residual over activations.
  ValueId residual(ValueId x) {
    if (e_.chance(0.7)) x = e_.node(Activation{}, {x});
    const int64_t stride = e_.integer(1, 2), out = stride == 1 ? e_.channels(x) : e_.integer(1, 4),
                  half = e_.integer(0, 1);
    const Padding padding{half, half, half, half};
    ValueId y = e_.conv(x, {.out = 3, .kernel = 2 * half + 1, .stride = 1, .dilation = 1, .padding = padding});
    y = e_.node(Activation{}, {e_.chance(0.5) ? e_.batch_norm(y) : y});
    y = e_.conv(y, {.out = out, .kernel = 2 * half + 1, .stride = stride, .dilation = 1, .padding = padding});
    const ValueId side =
        stride == 1 ? x : e_.conv(x, {.out = out, .kernel = 1, .stride = stride, .padding = Padding{}});
    return e_.node(Binary{}, {side, y});
  }

  ValueId head(ValueId x) {
    if (e_.chance(0.5)) x = e_.node(GlobalAveragePool{}, {x});
    if (e_.chance(0.3)) x = e_.scale(x);
    x = e_.gemm(e_.node(Flatten{}, {x}), e_.integer(2, 5));
    if (e_.chance(0.3)) x = e_.batch_norm(x);
    if (e_.chance(0.3)) x = e_.add(x, e_.gemm(x, e_.channels(x)));
    return e_.chance(0.5) ? e_.gemm(x) : x;
  }

  Example e_;
  bool linear_, open_;
};

}  // namespace reducenet::testing
