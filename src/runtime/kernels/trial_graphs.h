#pragma once

#include <algorithm>
#include <cstdlib>

#include "reducenet/quantize.h"
#include "runtime/test_graphs.h"

// Random graphs, by the kernel that they try: dimensions 1 to 67, images of one pixel, odd sizes, every fused store.

namespace reducenet::testing {

/// Draws the random instances of one kind of graph.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random(seed) {}
  int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); }
  bool coin() { return pick(0, 1) == 1; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[pick(0, static_cast<int64_t>(values.size()) - 1)];
  }
  std::mt19937_64 random;
};

/// Seeds that a trial takes: `usual`, or fewer where $REDUCENET_SEEDS says so, as in an emulator.
inline uint64_t seeds(uint64_t usual) {
  const char* most = std::getenv("REDUCENET_SEEDS");
  return most ? std::min<uint64_t>(usual, std::strtoull(most, nullptr, 10)) : usual;
}

using Kind = Activation::Kind;
constexpr Kind kActivations[] = {Kind::relu,    Kind::relu6,        Kind::leaky_relu, Kind::elu,
                                 Kind::selu,    Kind::gelu,         Kind::gelu_tanh,  Kind::silu,
                                 Kind::sigmoid, Kind::tanh,         Kind::softplus,   Kind::softsign,
                                 Kind::mish,    Kind::hard_sigmoid, Kind::hard_swish, Kind::clip};
inline Activation some_activation(Dice& dice) {
  Activation activation = activation_named(name_of(kActivations[dice.pick(0, std::size(kActivations) - 1)]));
  if (activation.kind == Kind::clip) activation = {Kind::clip, -0.5, 0.75};
  return activation;
}

/// x, then perhaps batch normalisation, a residual, an activation: what a store fuses.
inline ValueId dressed(GraphBuilder& b, Dice& dice, ValueId y) {
  if (dice.coin()) {
    const int64_t channels = b.channels(y);
    const auto constant = [&](const char* name, bool positive) {
      const Tensor values = testing::random_tensor({channels}, dice.random);
      return b.constant(name, positive ? testing::absolute(values).cast(DType::f32) : values);
    };
    y = b.node("bn", BatchNorm{},
               {y, constant("gamma", false), constant("beta", false), constant("mean", false), constant("var", true)});
  }
  if (dice.coin()) y = b.add("sum", y, b.input("residual", *b.graph()[y].shape));
  if (dice.coin()) {
    y = b.activation("act", y, some_activation(dice));
    if (dice.pick(0, 3) == 0) y = b.activation("act.2", y, some_activation(dice));
  } else if (dice.coin()) {
    if (dice.coin()) return b.fade("fade", y, activation_named("silu"));
    Shape one(b.graph()[y].shape->size() - 1, 1);  // slope for all channels, or each its own
    if (dice.coin()) one[0] = b.channels(y);
    std::vector<float> slopes(static_cast<size_t>(one[0]));
    for (float& slope : slopes) slope = static_cast<float>(dice.pick(-16, 16)) / 8;
    y = b.node("prelu", PRelu{}, {y, b.constant("slope", Tensor::of(one, slopes))});
  }
  return y;
}

inline Graph conv(Dice& dice, int64_t groups, int64_t in_per_group, int64_t out_per_group) {
  for (;;) {
    const Size2 kernel{dice.pick(1, 5), dice.pick(1, 5)};
    const Size2 size =
        dice.coin() ? Size2{dice.pick(1, 12), dice.pick(1, 67)} : Size2{dice.pick(1, 67), dice.pick(1, 12)};
    Conv2d op{.stride = {dice.pick(1, 3), dice.pick(1, 3)},
              .padding = {dice.pick(0, 4), dice.pick(0, 4), dice.pick(0, 4), dice.pick(0, 4)},
              .dilation = {dice.pick(1, 2), dice.pick(1, 2)},
              .groups = groups};
    if (dice.coin()) op = {.padding = {kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2}, .groups = groups};
    const auto reaches = [&](int axis, int64_t before, int64_t after) {
      return size[axis] + before + after > op.dilation[axis] * (kernel[axis] - 1);
    };
    if (!reaches(0, op.padding.top, op.padding.bottom) || !reaches(1, op.padding.left, op.padding.right)) continue;
    GraphBuilder b("conv", dice.random());
    const ValueId x = b.input("x", {dice.pick(1, 2), groups * in_per_group, size[0], size[1]});
    const ValueId y = b.conv("conv", x, groups * out_per_group, kernel, op, dice.coin());
    if (count_macs(b.graph(), b.graph().nodes[0]) > 3'000'000) continue;
    b.output(dressed(b, dice, y));
    return std::move(b).finish();
  }
}

inline Graph conv3x3(Dice& dice) {
  for (;;) {
    const Size2 size{dice.pick(1, 67), dice.pick(1, 20)};
    const Conv2d op{.padding = {dice.pick(0, 2), dice.pick(0, 2), dice.pick(0, 2), dice.pick(0, 2)}};
    if (size[0] + op.padding.top + op.padding.bottom < 3 || size[1] + op.padding.left + op.padding.right < 3) continue;
    GraphBuilder b("conv3x3", dice.random());
    const ValueId x = b.input("x", {dice.pick(1, 3), dice.pick(1, 67), size[0], size[1]});
    const ValueId y = b.conv("conv", x, dice.pick(1, 67), {3, 3}, op, dice.coin());
    if (count_macs(b.graph(), b.graph().nodes[0]) > 3'000'000) continue;
    b.output(dressed(b, dice, y));
    return std::move(b).finish();
  }
}

inline Graph conv1x1(Dice& dice) {
  GraphBuilder b("conv1x1", dice.random());
  const int64_t channels = dice.coin() ? dice.pick(1, 67) : dice.pick(68, 400);
  const ValueId x = b.input("x", {dice.pick(1, 3), channels, dice.pick(1, 9), dice.pick(1, 19)});
  const Conv2d op{.stride = dice.coin() ? Size2{1, 1} : Size2{dice.pick(1, 3), dice.pick(1, 3)}};
  b.output(dressed(b, dice, b.conv("conv", x, dice.pick(1, 67), {1, 1}, op, dice.coin())));
  return std::move(b).finish();
}

inline Graph small_depthwise(Dice& dice) {
  GraphBuilder b("small_depthwise", dice.random());
  const int64_t channels = dice.pick(2, 40), kernel = 2 * dice.pick(1, 3) + 1, stride = dice.pick(1, 2);
  const int64_t pad = dice.coin() ? kernel / 2 : 0;
  const ValueId x = b.input("x", {dice.pick(1, 2), channels, kernel + dice.pick(0, 30), kernel + dice.pick(0, 30)});
  const Conv2d op{.stride = {stride, stride}, .padding = {pad, pad, pad, pad}, .groups = channels};
  b.output(dressed(b, dice, b.conv("conv", x, channels, {kernel, kernel}, op, dice.coin())));
  return std::move(b).finish();
}

inline Graph dense_conv(Dice& dice) {
  return conv(dice, 1, dice.pick(1, 67), dice.pick(1, 67));
}
/// More weights than the second cache holds, on a small image.
inline Graph heavy_conv(Dice& dice) {
  GraphBuilder b("heavy_conv", dice.random());
  const ValueId x = b.input("x", {dice.pick(1, 2), dice.pick(100, 120), dice.pick(1, 3), dice.pick(1, 3)});
  const Conv2d op{.stride = {dice.pick(1, 2), dice.pick(1, 2)}, .padding = {2, dice.pick(2, 3), 2, dice.pick(2, 3)}};
  b.output(dressed(b, dice, b.conv("conv", x, dice.pick(110, 130), {5, 5}, op, dice.coin())));
  return std::move(b).finish();
}
inline Graph first_conv(Dice& dice) {
  return conv(dice, 1, dice.pick(1, 4), dice.pick(1, 67));
}
inline Graph grouped_conv(Dice& dice) {
  return conv(dice, dice.pick(2, 3), 16 * dice.pick(1, 2), 16 * dice.pick(1, 2));
}
inline Graph odd_groups(Dice& dice) {
  return conv(dice, dice.pick(1, 5), dice.pick(1, 7), dice.pick(1, 7));
}
/// Several of which fill a block of channels; of the last block perhaps fewer.
inline Graph neighbouring_groups(Dice& dice) {
  const int64_t channels = dice.one_of<int64_t>({2, 4, 8}), fill = 16 / channels;
  return conv(dice, dice.coin() ? fill * dice.pick(2, 3) : dice.pick(fill + 1, 3 * fill), channels,
              channels * dice.pick(1, 4));
}
inline Graph depthwise(Dice& dice) {
  return conv(dice, dice.pick(2, 67), 1, 1);
}

inline Graph conv_transpose(Dice& dice) {
  GraphBuilder b("conv_transpose", dice.random());
  const int64_t groups = dice.pick(1, 3), in = groups * dice.pick(1, 9), out = dice.pick(1, 9);
  const Shape kernel{in, out, dice.pick(1, 4), dice.pick(1, 4)};
  ConvTranspose2d op{.stride = {dice.pick(1, 3), dice.pick(1, 3)}, .dilation = {1, dice.pick(1, 2)}, .groups = groups};
  op.padding = {dice.pick(0, kernel[2] - 1), dice.pick(0, kernel[3] - 1), 0, dice.pick(0, kernel[3] - 1)};
  op.output_padding = {dice.pick(0, op.stride[0] - 1), dice.pick(0, op.stride[1] - 1)};
  const ValueId x = b.input("x", {dice.pick(1, 2), in, dice.pick(2, 13), dice.pick(3, 13)});
  std::vector<ValueId> inputs{x, b.constant("w", testing::random_tensor(kernel, dice.random))};
  if (dice.coin()) inputs.push_back(b.constant("b", testing::random_tensor({groups * out}, dice.random)));
  b.output(dressed(b, dice, b.node("up", op, inputs)));
  return std::move(b).finish();
}

inline Graph affine(Dice& dice) {
  GraphBuilder b("affine", dice.random());
  const ValueId x = b.input("x", {dice.coin() ? dice.pick(1, 9) : dice.pick(10, 400), dice.pick(1, 300)});
  b.output(dressed(b, dice, b.gemm("fc", x, dice.pick(1, 67))));
  return std::move(b).finish();
}

inline Graph affine_of_images(Dice& dice) {
  GraphBuilder b("affine_of_images", dice.random());
  const ValueId x = b.input("x", {dice.pick(1, 5), 16 * dice.pick(1, 3), dice.pick(1, 5), dice.pick(1, 5)});
  b.output(dressed(b, dice, b.gemm("fc", b.node("flat", Flatten{}, {x}), dice.pick(1, 67))));
  return std::move(b).finish();
}

inline Graph product(Dice& dice) {
  GraphBuilder b("product", dice.random());
  const int64_t m = dice.pick(1, 17), k = dice.pick(1, 67), n = dice.pick(1, 67), batch = dice.pick(1, 3);
  if (dice.coin()) {
    const ValueId x = b.input("x", {batch, dice.pick(1, 3), m, k});
    b.output(b.node("y", MatMul{}, {x, b.input("z", dice.coin() ? Shape{k} : Shape{batch, 1, k, n})}));
    return std::move(b).finish();
  }
  const Gemm op{.alpha = 0.5, .beta = -2, .trans_a = dice.coin(), .trans_b = dice.coin()};
  const ValueId x = b.input("x", op.trans_a ? Shape{k, m} : Shape{m, k});
  const ValueId z = b.input("z", op.trans_b ? Shape{n, k} : Shape{k, n});
  b.output(b.node("y", op, {x, z, b.input("c", dice.one_of<Shape>({{m, n}, {n}, {m, 1}, {1, n}, {1}}))}));
  return std::move(b).finish();
}

inline Shape image(Dice& dice) {
  return {dice.pick(1, 2), dice.pick(1, 37), dice.pick(1, 9), dice.pick(1, 9)};
}

inline Graph map(Dice& dice) {
  GraphBuilder b("map", dice.random());
  ValueId x = b.input("x", image(dice));
  if (dice.coin()) {
    b.output(b.activation("act", x, some_activation(dice)));
  } else if (dice.coin()) {
    b.output(b.fade("fade", x, some_activation(dice)));
  } else {
    x = b.node("abs", Unary{Unary::Kind::abs}, {x});
    b.output(b.node("y", Unary{static_cast<Unary::Kind>(dice.pick(0, static_cast<int64_t>(Unary::Kind::cos)))}, {x}));
  }
  return std::move(b).finish();
}

inline Graph combined(Dice& dice, const Shape& shape, const Shape& other) {
  GraphBuilder b("combined", dice.random());
  const ValueId x = b.node("abs", Unary{Unary::Kind::abs}, {b.input("x", shape)}), z = b.input("z", other);
  ValueId y;
  if (dice.pick(0, 4) == 0) {
    y = b.node("y", PRelu{}, {b.input("v", shape), z});
  } else {
    y = b.node("y", Binary{static_cast<Binary::Kind>(dice.pick(0, static_cast<int64_t>(Binary::Kind::max)))}, {x, z});
  }
  b.output(dice.coin() ? b.activation("act", y, some_activation(dice)) : y);
  return std::move(b).finish();
}
inline Graph equal_shapes(Dice& dice) {
  const Shape shape = image(dice);
  return combined(dice, shape, shape);
}
inline Graph broadcast(Dice& dice) {
  const Shape shape = image(dice);
  Shape other = shape;
  for (int64_t& d : other) d = dice.coin() ? d : 1;
  if (dice.coin()) other.erase(other.begin(), other.begin() + dice.pick(0, 3));
  return combined(dice, shape, other);
}
/// One number a channel, a pixel or a sample, as gates of squeeze-and-excitation and of spatial attention are.
inline Graph gated(Dice& dice) {
  const Shape shape = image(dice);
  Shape gate = shape;
  if (dice.coin()) gate[0] = 1;
  if (dice.coin()) gate[1] = 1;
  if (dice.pick(0, 2)) gate[2] = gate[3] = 1;
  return combined(dice, shape, gate);
}

inline Graph pool(Dice& dice) {
  GraphBuilder b("pool", dice.random());
  const Size2 kernel{dice.pick(1, 4), dice.pick(1, 4)};
  const Padding padding{dice.pick(0, kernel[0] - 1), dice.pick(0, kernel[1] - 1), dice.pick(0, kernel[0] - 1),
                        dice.pick(0, kernel[1] - 1)};
  const Size2 stride{dice.pick(1, 3), dice.pick(1, 3)};
  const Shape shape{dice.pick(1, 2), dice.pick(1, 67), dice.pick(4, 20), dice.pick(4, 20)};
  const ValueId x = b.input("x", shape);
  if (dice.pick(0, 3) == 0) {
    b.output(b.node("y", GlobalAveragePool{}, {x}));
  } else if (dice.coin()) {
    b.output(b.node("y", MaxPool{kernel, stride, padding, {1, 1}, dice.coin()}, {x}));
  } else {
    b.output(b.node("y", AveragePool{kernel, stride, padding, dice.coin(), dice.coin()}, {x}));
  }
  return std::move(b).finish();
}

/// Means, sums and maxima over any axes.
inline Graph reduced(Dice& dice) {
  using Kind = Reduce::Kind;
  GraphBuilder b("reduced", dice.random());
  Shape shape;
  for (int64_t rank = dice.pick(2, 4); rank > 0; --rank) shape.push_back(dice.pick(1, 9));
  Reduce op{.kind = dice.one_of({Kind::mean, Kind::sum, Kind::max}), .keep_dims = dice.coin()};
  const int64_t kept = dice.pick(0, std::ssize(shape) - 1), another = kept == 0 ? 1 : 0;
  op.axes.push_back(another);
  for (int64_t axis = 0; axis < std::ssize(shape); ++axis) {
    if (axis != kept && axis != another && dice.coin())
      op.axes.push_back(dice.coin() ? axis : axis - std::ssize(shape));
  }
  b.output(b.node("y", op, {b.input("x", shape)}));
  return std::move(b).finish();
}
inline Graph reduced_planes(Dice& dice) {
  GraphBuilder b("reduced_planes", dice.random());
  const Shape shape{dice.pick(1, 2), dice.pick(1, 67), dice.pick(4, 20), dice.pick(4, 20)};
  const auto kind = dice.coin() ? Reduce::Kind::mean : Reduce::Kind::max;
  b.output(b.node("y", Reduce{.kind = kind, .axes = {-1, 2}, .keep_dims = dice.coin()}, {b.input("x", shape)}));
  return std::move(b).finish();
}

inline Graph concat(Dice& dice) {
  GraphBuilder b("concat", dice.random());
  Shape shape = image(dice);
  const int64_t axis = dice.pick(-4, 3);
  std::vector<ValueId> inputs;
  for (const char* name : {"x", "y", "z"}) {
    shape[static_cast<size_t>((axis + 4) % 4)] = dice.pick(1, 20);
    inputs.push_back(b.input(name, shape));
  }
  b.output(b.node("joined", Concat{axis}, inputs));
  return std::move(b).finish();
}

inline Graph concat_of_blocks(Dice& dice) {
  GraphBuilder b("concat_of_blocks", dice.random());
  const Shape shape = image(dice);
  std::vector<ValueId> inputs;
  for (const int64_t channels : {16 * dice.pick(1, 2), 16 * dice.pick(1, 2), dice.pick(1, 20)}) {
    inputs.push_back(b.input("x" + std::to_string(inputs.size()), {shape[0], channels, shape[2], shape[3]}));
  }
  b.output(b.node("joined", Concat{1}, inputs));
  return std::move(b).finish();
}

inline Graph moved(Dice& dice) {
  GraphBuilder b("moved", dice.random());
  const Shape shape{dice.pick(1, 2), dice.pick(3, 9), dice.pick(3, 9), dice.pick(3, 9)};
  const ValueId x = b.input("x", shape);
  if (dice.coin()) {
    std::vector<int64_t> perm{0, 1, 2, 3};
    std::shuffle(perm.begin(), perm.end(), dice.random);
    b.output(b.node("y", Transpose{perm}, {x}));
  } else {
    const auto mode = dice.one_of({Pad::Mode::constant, Pad::Mode::reflect, Pad::Mode::edge});
    const int64_t least = mode == Pad::Mode::constant ? -1 : 0;
    b.output(b.node("y",
                    Pad{mode,
                        {0, dice.pick(least, 2), dice.pick(least, 2), dice.pick(least, 2)},
                        {0, dice.pick(least, 2), dice.pick(least, 2), dice.pick(least, 2)},
                        1.5},
                    {x}));
  }
  return std::move(b).finish();
}

template <bool to_rows>
Graph rows_of_pixels(Dice& dice) {
  GraphBuilder b("rows_of_pixels", dice.random());
  const std::vector<int64_t> perm = to_rows ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{0, 3, 1, 2};
  b.output(b.node("y", Transpose{perm}, {b.input("x", image(dice))}));
  return std::move(b).finish();
}

/// Ops that move elements by constants.
inline Graph rearranged(Dice& dice) {
  GraphBuilder b("rearranged", dice.random());
  const Shape shape{dice.pick(1, 2), 4 * dice.pick(1, 3), 2 * dice.pick(1, 4), 2 * dice.pick(1, 4)};
  const ValueId x = b.input("x", shape);
  const auto integers = [&](const char* name, const std::vector<int64_t>& values) {
    return b.constant(name, Tensor::of({std::ssize(values)}, values));
  };
  switch (dice.pick(0, 4)) {
    case 0:
      b.output(b.node("y", Slice{{dice.pick(0, 1), -1}, {shape[1], -9}, {1, 3}, {dice.pick(1, 2), -1}}, {x}));
      break;
    case 1:
      b.output(b.node("y", Gather{dice.pick(1, 3)}, {x, integers("indices", {1, -1, 0, 1})}));
      break;
    case 2:
      b.output(b.node("y", Repeat{Repeat::Kind::tile}, {x, integers("times", {1, 2, 1, 3})}));
      break;
    case 3:
      b.output(b.node("y", SpaceDepth{SpaceDepth::Kind::depth_to_space, 2}, {x}));
      break;
    default:
      b.output(b.node("y", SpaceDepth{SpaceDepth::Kind::space_to_depth, 2}, {x}));
  }
  return std::move(b).finish();
}

inline Graph sliced_blocks(Dice& dice) {
  GraphBuilder b("sliced_blocks", dice.random());
  Shape shape = image(dice);
  const int64_t start = 16 * dice.pick(0, 2), taken = dice.pick(1, 35);
  shape[1] = start + taken + dice.pick(0, 20);
  b.output(b.node("y", Slice{{start}, {start + taken}, {1}, {1}}, {b.input("x", shape)}));
  return std::move(b).finish();
}

inline Graph normalized(Dice& dice) {
  GraphBuilder b("normalized", dice.random());
  const int64_t groups = dice.pick(1, 3);
  const Shape shape{dice.pick(1, 2), groups * dice.pick(1, 5), dice.pick(2, 9), dice.pick(1, 9)};
  const ValueId x = b.input("x", shape);
  const auto parameters = [&](const Shape& of) {
    return std::vector<ValueId>{x, b.constant("scale", random_tensor(of, dice.random)),
                                b.constant("norm.bias", random_tensor(of, dice.random))};
  };
  using Kind = Normalize::Kind;
  switch (dice.pick(0, 3)) {
    case 0:
      b.output(b.node("y", Normalize{.kind = Kind::layer, .axis = 2}, parameters({shape[2], shape[3]})));
      break;
    case 1:
      b.output(b.node("y", Normalize{.kind = Kind::layer, .axis = -3}, parameters({shape[1], 1, 1})));
      break;
    case 2:
      b.output(b.node("y", Normalize{.kind = Kind::instance}, parameters({shape[1]})));
      break;
    default: {
      const bool per_group = dice.coin();
      b.output(b.node("y", Normalize{.kind = Kind::group, .groups = groups, .per_group = per_group},
                      parameters({per_group ? groups : shape[1]})));
    }
  }
  return std::move(b).finish();
}

inline Graph resized(Dice& dice, Resize::Mode mode) {
  GraphBuilder b("resized", dice.random());
  const Shape shape{dice.pick(1, 2), dice.pick(1, 37), dice.pick(1, 9), dice.pick(1, 9)};
  const Resize op{.mode = mode,
                  .coordinates = static_cast<Resize::Coordinates>(dice.pick(0, 3)),
                  .rounding = static_cast<Resize::Rounding>(dice.pick(0, 3)),
                  .exclude_outside = dice.coin()};
  const ValueId x = b.input("x", shape), none = b.constant("none", Tensor::filled({0}, 0));
  if (dice.coin()) {
    std::vector<float> scales{1, 1, static_cast<float>(dice.pick(4, 12)) / 4, static_cast<float>(dice.pick(4, 12)) / 4};
    b.output(b.node("y", op, {x, none, b.constant("scales", Tensor::of({4}, scales))}));
  } else {
    std::vector<int64_t> sizes{shape[0], shape[1], dice.pick(1, 20), dice.pick(1, 20)};
    b.output(b.node("y", op, {x, none, none, b.constant("sizes", Tensor::of({4}, sizes))}));
  }
  return std::move(b).finish();
}
inline Graph moved_to_nearest(Dice& dice) {
  return resized(dice, Resize::Mode::nearest);
}
inline Graph interpolated(Dice& dice) {
  return resized(dice, dice.coin() ? Resize::Mode::linear : Resize::Mode::cubic);
}

inline Graph softmax(Dice& dice) {
  GraphBuilder b("softmax", dice.random());
  b.output(b.node("y", Softmax{dice.pick(-4, 3), dice.coin()}, {b.input("x", image(dice))}));
  return std::move(b).finish();
}

/// The same in 8 bits, every tensor with a scale; what an image-like output holds is read again (by a depthwise 1×1
/// layer of ones), so that it may be stored in bytes, and is an output too.
inline Graph in_narrow(Graph graph, Dice& dice) {
  const ValueId y = graph.outputs[0];
  if (graph[y].shape->size() == 4) {
    const int64_t channels = (*graph[y].shape)[1];
    Value ones{.name = "ones", .shape = Shape{channels, 1, 1, 1}};
    ones.constant = Tensor::filled(*ones.shape, 1, DType::f32);
    const ValueId weight = graph.add_value(std::move(ones));
    const ValueId read = graph.add_value({.name = "read", .shape = graph[y].shape});
    graph.nodes.push_back({"reader", Conv2d{.groups = channels}, {y, weight}, {read}, ""});
    graph.outputs.push_back(read);
  }
  Quantization scales;
  for (const Value& value : graph.values) {
    if (!value.constant) scales[value.name] = {0.01 * static_cast<double>(dice.pick(1, 9)), dice.pick(0, 255)};
  }
  set_quantization(graph, scales);
  return graph;
}

}  // namespace reducenet::testing
