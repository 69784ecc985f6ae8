#include <gtest/gtest.h>

#include <cmath>

#include "fades/fades.h"
#include "reducenet/builder.h"
#include "reducenet/error.h"
#include "reducenet/graph.h"

namespace reducenet {
namespace {

Tensor counting(Shape shape) {
  std::vector<double> values(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) + 1;
  return Tensor::from_doubles(std::move(shape), values);
}

/// op(x, constants…) on its own.
std::vector<double> run(const Op& op, const Tensor& x, const std::vector<Tensor>& constants = {},
                        const EvaluateOptions& options = {}) {
  GraphBuilder b("one");
  std::vector<ValueId> inputs{b.input("x", x.shape())};
  for (const Tensor& c : constants) inputs.push_back(b.constant("c" + std::to_string(inputs.size()), c));
  b.output(b.node("y", op, inputs));
  const Graph graph = std::move(b).finish();
  return evaluate(graph, std::vector<Tensor>{x}, options)[0].to_doubles();
}

using Values = std::vector<double>;

TEST(Oracle, ConvWithAsymmetricPaddingStrideAndBias) {
  // x = 1..6 as 2×3, kernel 1 2 / 3 4, one row of padding on top, one column on the right, stride (1, 2).
  const Values y = run(Conv2d{.stride = {1, 2}, .padding = {1, 0, 0, 1}}, counting({1, 1, 2, 3}),
                       {counting({1, 1, 2, 2}), Tensor::filled({1}, 10)});
  EXPECT_EQ(y, (Values{3 * 1 + 4 * 2 + 10, 3 * 3 + 10, 1 + 2 * 2 + 3 * 4 + 4 * 5 + 10, 3 + 3 * 6 + 10}));
}

TEST(Oracle, GroupedAndDilatedConv) {
  const Values y = run(Conv2d{.dilation = {1, 2}, .groups = 2}, counting({1, 2, 1, 3}), {counting({2, 1, 1, 2})});
  EXPECT_EQ(y, (Values{1 * 1 + 2 * 3, 3 * 4 + 4 * 6}));
}

TEST(Oracle, ConvTransposeIsTheAdjointOfConv) {
  // ⟨conv(x), z⟩ = ⟨x, convᵀ(z)⟩ for the same kernel, stride, padding, dilation and groups.
  const Tensor w = counting({4, 2, 3, 2});
  const Tensor x = counting({1, 4, 7, 6}), z = counting({1, 4, 3, 5});
  const Padding padding{0, 1, 1, 0};
  const Values forward = run(Conv2d{.stride = {2, 1}, .padding = padding, .dilation = {1, 2}, .groups = 2}, x, {w});
  const Values back = run(
      ConvTranspose2d{.stride = {2, 1}, .padding = padding, .dilation = {1, 2}, .output_padding = {1, 0}, .groups = 2},
      z, {w});
  ASSERT_EQ(forward.size(), 4u * 3 * 5);
  ASSERT_EQ(back.size(), 4u * 7 * 6);
  double left = 0, right = 0;
  const Values xs = x.to_doubles(), zs = z.to_doubles();
  for (size_t i = 0; i < forward.size(); ++i) left += forward[i] * zs[i];
  for (size_t i = 0; i < back.size(); ++i) right += back[i] * xs[i];
  EXPECT_EQ(left, right);
}

TEST(Oracle, BatchNorm) {
  const Tensor two = Tensor::filled({1}, 2), three = Tensor::filled({1}, 3);
  EXPECT_EQ(run(BatchNorm{.epsilon = 1}, counting({1, 1, 1, 2}), {two, three, two, three}), (Values{2, 3}));
}

TEST(Oracle, GemmAndMatMul) {
  EXPECT_EQ(run(Gemm{.alpha = 2, .beta = 3, .trans_b = true}, counting({1, 2}), {counting({2, 2}), counting({2})}),
            (Values{2 * (1 + 4) + 3, 2 * (3 + 8) + 6}));
  EXPECT_EQ(run(Gemm{.trans_a = true}, counting({2, 1}), {counting({2, 2})}), (Values{1 + 6, 2 + 8}));
  EXPECT_EQ(run(MatMul{}, counting({2, 1, 2}), {counting({2, 1})}), (Values{5, 11}));
  EXPECT_EQ(run(MatMul{}, counting({2}), {counting({2, 2})}), (Values{7, 10}));
}

TEST(Oracle, BroadcastsLikeNumPy) {
  EXPECT_EQ(run(Binary{Binary::Kind::sub}, counting({2, 1}), {counting({3})}), (Values{0, -1, -2, 1, 0, -1}));
  EXPECT_EQ(run(PRelu{}, Tensor::from_doubles({2, 2}, Values{-1, 1, -2, 2}), {counting({2})}), (Values{-1, 1, -2, 2}));
}

TEST(Oracle, Pools) {
  const Tensor x = counting({1, 1, 3, 3});
  EXPECT_EQ(run(MaxPool{.kernel = {2, 2}, .stride = {2, 2}, .ceil_mode = true}, x), (Values{5, 6, 8, 9}));
  EXPECT_EQ(run(AveragePool{.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 1, 0, 0}}, x), (Values{1, 2.5, 5.5, 7}));
  EXPECT_EQ(run(AveragePool{.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 1, 0, 0}, .count_include_pad = true}, x),
            (Values{0.25, 1.25, 2.75, 7}));
  EXPECT_EQ(run(GlobalAveragePool{}, x), (Values{5}));
}

TEST(Oracle, PadCropsToo) {
  const Tensor x = counting({2, 2});
  EXPECT_EQ(run(Pad{.begin = {-1, 1}, .end = {0, 0}, .value = 7}, x), (Values{7, 3, 4}));
  EXPECT_EQ(run(Pad{.mode = Pad::Mode::reflect, .begin = {0, 1}, .end = {0, 1}}, x), (Values{2, 1, 2, 1, 4, 3, 4, 3}));
  EXPECT_EQ(run(Pad{.mode = Pad::Mode::edge, .begin = {0, 2}, .end = {0, 0}}, x), (Values{1, 1, 1, 2, 3, 3, 3, 4}));
}

TEST(Oracle, MovesElements) {
  EXPECT_EQ(run(Transpose{{1, 0}}, counting({2, 3})), (Values{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(run(Concat{.axis = 1}, counting({2, 1}), {counting({2, 2})}), (Values{1, 1, 2, 2, 3, 4}));
}

TEST(Oracle, SoftmaxIsStable) {
  const Values y = run(Softmax{.axis = 0}, Tensor::from_doubles({2}, Values{1000, 1000}));
  EXPECT_EQ(y, (Values{0.5, 0.5}));
  EXPECT_NEAR(run(Softmax{.axis = 0, .log = true}, Tensor::from_doubles({2}, Values{0, 0}))[0], -std::log(2), 1e-15);
}

TEST(Oracle, ActivationsMeetTheirDefinitions) {
  const auto at = [](std::string_view name, double x) { return apply(activation_named(name), x); };
  EXPECT_EQ(at("relu", -2), 0);
  EXPECT_EQ(at("relu6", 7), 6);
  EXPECT_EQ(at("leaky_relu", -2), -0.02);
  EXPECT_NEAR(at("elu", -1), std::exp(-1) - 1, 1e-15);
  EXPECT_NEAR(at("gelu", 1), 0.8413447460685429, 1e-15);  // x·Φ(x)
  EXPECT_NEAR(at("gelu_tanh", 1), at("gelu", 1), 3e-4);
  EXPECT_NEAR(at("silu", 2), 2 / (1 + std::exp(-2)), 1e-15);
  EXPECT_EQ(at("hard_swish", 3), 3);
  EXPECT_EQ(at("hard_swish", -3), 0);
  const Activation bytes{Activation::Kind::bytes, 0.5, 3};
  for (const auto& [x, y] : {std::pair{0.3, 0.5}, {0.25, 0.0}, {0.75, 1.0}, {-9.0, -1.5}, {400.0, 126.0}}) {
    EXPECT_EQ(apply(bytes, x), y) << x;
  }
  EXPECT_NEAR(at("mish", 1), std::tanh(std::log1p(std::exp(1))), 1e-15);
  EXPECT_NEAR(at("softplus", 800), 800, 0);
  EXPECT_TRUE(std::isnan(at("relu", NAN)));
  EXPECT_THROW(activation_named("rely"), Error);
}

TEST(Oracle, Float32ModeRoundsEachStep) {
  const Tensor x = Tensor::from_doubles({1, 3}, Values{1, 0x1p-24, 0x1p-24});
  const Tensor ones = Tensor::filled({3, 1}, 1);
  EXPECT_EQ(run(Gemm{}, x, {ones})[0], 1 + 0x1p-23);
  EXPECT_EQ(run(Gemm{}, x, {ones}, {.round_to_f32 = true})[0], 1);
}

TEST(Oracle, ThreadsDoNotChangeTheResult) {
  const Tensor x = counting({2, 3, 9, 9}), w = counting({5, 3, 3, 3});
  EXPECT_EQ(run(Conv2d{}, x, {w}), run(Conv2d{}, x, {w}, {.threads = 3}));
}

TEST(Oracle, OpaqueIsRefusedByName) {
  try {
    run(Opaque{.type = "Mystery"}, counting({1}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("'y' (Mystery)"), std::string::npos) << error.what();
  }
}

TEST(Fades, EndAsTheyStartedOut) {
  const Tensor x = Tensor::from_doubles({5}, Values{-3, -0.5, 0, 0.5, 7});
  for (Fade fade : find_fade("activation").examples) {
    fade.lambda = 0;
    EXPECT_EQ(run(fade, x), run(Identity{}, x)) << describe(fade);
    fade.lambda = 1;
    EXPECT_EQ(run(fade, x), run(fade.activation, x)) << describe(fade);
    fade.lambda = 0.5;
    EXPECT_NE(run(fade, x), run(Identity{}, x)) << describe(fade);
  }
}

TEST(Fades, ReluBlendIsLeakyRelu) {
  const Tensor x = Tensor::from_doubles({2}, Values{-2, 3});
  const Fade fade{.activation = {Activation::Kind::relu}, .lambda = 0.25};
  EXPECT_EQ(run(fade, x), run(Activation{Activation::Kind::leaky_relu, 0.75}, x));
}

}  // namespace
}  // namespace reducenet
