#include "runtime/kernels/narrow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "runtime/test_graphs.h"

namespace reducenet {
namespace {

using testing::concatenated;

/// Values rounded as a byte tensor holds them.
void round_to(std::vector<double>& values, const TensorScale& as) {
  for (double& v : values) {
    const double q = std::clamp(std::nearbyint(v / as.scale) + static_cast<double>(as.zero), 0.0, 255.0);
    v = as.scale * (q - static_cast<double>(as.zero));
  }
}

/// One convolution, and what its dtype leaves of weights and input: the oracle of the rounded network in double.
struct Single {
  Graph graph;
  std::vector<Tensor> inputs;
};
Single single(int64_t channels, int64_t outputs, int64_t height, int64_t width, Size2 kernel, Conv2d op, bool residual,
              bool relu, std::mt19937_64& random) {
  GraphBuilder b("single", random());
  ValueId y = b.conv("conv", b.input("x", {2, channels, height, width}), outputs, kernel, op, true);
  if (residual) y = b.add("sum", y, b.input("r", *b.graph()[y].shape));
  if (relu) y = b.activation("relu", y, activation_named("relu"));
  b.output(y);
  Graph graph = std::move(b).finish();
  return {graph, testing::random_inputs(graph, random)};
}

struct Sizes {
  int64_t channels, outputs, height, width;
  Size2 kernel;
  Conv2d op;
};
const Sizes kSizes[] = {
    {1, 1, 1, 1, {1, 1}, {}},
    {3, 16, 9, 7, {3, 3}, {.padding = {1, 1, 1, 1}}},
    {16, 33, 8, 13, {3, 3}, {.padding = {1, 1, 1, 1}}},
    {67, 20, 5, 25, {1, 1}, {}},
    {18, 48, 11, 12, {3, 3}, {.stride = {2, 2}, .padding = {1, 1, 1, 1}}},
    {35, 5, 12, 9, {5, 2}, {.stride = {1, 2}, .padding = {2, 0, 1, 3}, .dilation = {2, 3}}},
    {4, 16, 1, 40, {1, 7}, {.padding = {0, 6, 0, 0}}},
};

std::vector<float> run_plan(const Graph& graph, const std::vector<Tensor>& inputs, DType dtype, int threads) {
  const Plan plan(graph, {.threads = threads, .dtype = dtype});
  std::vector<float> output(static_cast<size_t>(plan.output_size()));
  plan.run(concatenated(inputs), output);
  return output;
}

/// Products of bytes are exact: what remains are a few roundings of the scaled sum in float32.
TEST(Narrow, Int8ConvolutionsAreExactOnTheRoundedNetwork) {
  std::mt19937_64 random(2);
  for (const Sizes& s : kSizes) {
    for (const bool residual : {false, true}) {
      Single net = single(s.channels, s.outputs, s.height, s.width, s.kernel, s.op, residual, !residual, random);
      set_quantization(net.graph, {{"x", {0.03, 117}}});
      Graph rounded = net.graph;
      Value& weight = rounded[rounded.find_value("conv.weight")];
      std::vector<double> w = weight.constant->to_doubles();
      const std::vector<double> scales = weight_scales(w, s.outputs);
      const size_t row = w.size() / scales.size();
      for (size_t i = 0; i < w.size(); ++i) w[i] = scales[i / row] * std::nearbyint(w[i] / scales[i / row]);
      weight.constant = Tensor::from_doubles(weight.constant->shape(), w);
      std::vector<Tensor> inputs = net.inputs;
      std::vector<double> x = inputs[0].to_doubles();
      round_to(x, {0.03, 117});
      inputs[0] = Tensor::from_doubles(inputs[0].shape(), x);
      const std::vector<double> exact = evaluate(rounded, inputs)[0].to_doubles();
      const std::vector<double> sizes = testing::magnitudes(rounded, inputs)[0].to_doubles();
      for (const int threads : {1, 3}) {
        const std::vector<float> got = run_plan(net.graph, net.inputs, DType::i8, threads);
        ASSERT_EQ(got.size(), exact.size());
        for (size_t i = 0; i < got.size(); ++i) {
          // The zero point's share of the sum cancels: 256 bounds it against the magnitudes.
          ASSERT_NEAR(got[i], exact[i], testing::gamma(256) * (sizes[i] + 1)) << s.channels << "->" << s.outputs;
        }
      }
    }
  }
}

TEST(Narrow, Bf16ConvolutionsAreWithinTheRoundingsOfTheirSums) {
  std::mt19937_64 random(3);
  for (const Sizes& s : kSizes) {
    Single net = single(s.channels, s.outputs, s.height, s.width, s.kernel, s.op, true, true, random);
    Graph rounded = net.graph;
    Value& weight = rounded[rounded.find_value("conv.weight")];
    weight.constant = weight.constant->cast(DType::bf16).cast(DType::f32);
    std::vector<Tensor> inputs = net.inputs;
    inputs[0] = inputs[0].cast(DType::bf16).cast(DType::f32);
    const std::vector<double> exact = evaluate(rounded, inputs)[0].to_doubles();
    const std::vector<double> sizes = testing::magnitudes(rounded, inputs)[0].to_doubles();
    const int64_t terms = s.channels * s.kernel[0] * s.kernel[1];
    const std::vector<float> got = run_plan(net.graph, net.inputs, DType::bf16, 2);
    ASSERT_EQ(got.size(), exact.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], exact[i], 2 * testing::gamma(terms + 8) * (sizes[i] + 1)) << s.channels << "->" << s.outputs;
    }
  }
}

/// The instructions and their scalar twins agree: bytes exactly, bfloat16 within the order of the sum.
TEST(Narrow, TheScalarTwinsAgree) {
  using namespace narrow;
  if (!bytes_avx512() || !halves_avx512()) GTEST_SKIP() << "this CPU has neither VNNI nor bf16 products";
  std::mt19937_64 random(4);
  std::vector<uint8_t> x(3 * 16 * 40 * 4), w(2 * 3 * 9 * 8 * 64), r(2 * 16 * 16 * 4);
  std::vector<float> scale(32), bias(32);
  for (float& v : scale) v = 0.001f * static_cast<float>(1 + random() % 9);
  for (float& v : bias) v = static_cast<float>(random() % 9) - 4;
  for (const bool halves : {false, true}) {
    const auto fill = [&](std::vector<uint8_t>& bytes) {
      for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
        const uint16_t bits =
            halves ? float_to_bfloat16(static_cast<float>(random() % 64) / 32 - 1) : static_cast<uint16_t>(random());
        std::memcpy(&bytes[i], &bits, 2);
      }
    };
    fill(x), fill(w), fill(r);
    for (const Store store : {Store::floats, Store::bytes, Store::halves}) {
      if (store == Store::floats) {
        for (size_t i = 0; i < r.size(); i += 4) {
          const float v = static_cast<float>(random() % 100) / 10;
          std::memcpy(&r[i], &v, 4);
        }
      } else {
        fill(r);
      }
      const int64_t size = store == Store::floats ? 4 : store == Store::bytes ? 1 : 2, words = halves ? 8 : 4;
      for (int64_t pixels = 1; pixels <= kMostPixels; ++pixels) {
        for (int64_t blocks = 1; blocks <= kMostBlocks; ++blocks) {
          std::vector<uint8_t> fast(2 * 16 * 16 * 4), plain = fast;
          Tile t{.x = x.data(), .w = w.data(), .scale = scale.data(), .bias = bias.data(), .residual = r.data()};
          t.rows = 2, t.words = words, t.last_words = 3, t.kernel_h = 2, t.kernel_w = 3;
          t.x_tap = 4 * words, t.x_pixel = 4 * words, t.x_row = 12 * t.x_tap, t.x_plane = 2 * t.x_row;
          t.w_block = (words + 3) * 6 * 64, t.y_block = 16 * 16 * size;
          t.low = -2, t.high = 30, t.out = {0.1f, 20}, t.residual_as = {0.05f, 100}, t.store = store;
          t.y = fast.data();
          (halves ? halves_avx512() : bytes_avx512())(t, pixels, blocks);
          t.y = plain.data();
          (halves ? halves_plain : bytes_plain)(t, pixels, blocks);
          if (store == Store::floats) {
            for (size_t i = 0; i < fast.size(); i += 4) {
              float a, b;
              std::memcpy(&a, &fast[i], 4), std::memcpy(&b, &plain[i], 4);
              ASSERT_NEAR(a, b, 1e-5 * (1 + std::abs(b))) << pixels << "x" << blocks << " at " << i / 4;
            }
          } else {
            // Sums of another order or fused differently may fall on the other side of a tie.
            int64_t differ = 0;
            for (size_t i = 0; i < fast.size(); ++i) differ += fast[i] != plain[i];
            ASSERT_LE(differ, static_cast<int64_t>(fast.size()) / 100) << pixels << "x" << blocks;
          }
        }
      }
    }
  }
}

std::vector<std::vector<float>> random_batches(const Graph& graph, int count, uint64_t seed) {
  Graph one = graph;
  set_batch(one, 1);
  std::mt19937_64 random(seed);
  std::vector<std::vector<float>> batches;
  for (int i = 0; i < count; ++i) batches.push_back(concatenated(testing::random_inputs(one, random)));
  return batches;
}

class NarrowNetworks : public ::testing::TestWithParam<const char*> {};

/// A whole network: mean error over the standard deviation of the outputs. 8 bits leave about 2⁻⁸ of the range a layer.
TEST_P(NarrowNetworks, StayNearFloat32) {
  Graph graph = build(GetParam(), {});
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = 0;
  }
  graph = collapse(graph).graph;
  set_quantization(graph, calibrate(graph, random_batches(graph, 8, 5), 1));
  ASSERT_TRUE(quantization(graph));
  const Plan exact(graph), bytes(graph, {.threads = 2, .dtype = DType::i8}), halves(graph, {.dtype = DType::bf16});
  double error8 = 0, error16 = 0, power = 0;
  for (const std::vector<float>& input : random_batches(graph, 16, 6)) {
    std::vector<float> a(static_cast<size_t>(exact.output_size())), b = a, c = a;
    exact.run(input, a), bytes.run(input, b), halves.run(input, c);
    for (size_t i = 0; i < a.size(); ++i) {
      error8 += (a[i] - b[i]) * (a[i] - b[i]);
      error16 += (a[i] - c[i]) * (a[i] - c[i]);
      power += a[i] * a[i];
    }
  }
  EXPECT_LT(std::sqrt(error8 / power), 0.1);
  EXPECT_GT(error8, 0);  // the plan did compute in 8 bits
  EXPECT_LT(std::sqrt(error16 / power), 0.02);
  EXPECT_GT(error16, 0);
  const auto count = [](const Plan& plan, std::string_view name) {
    return std::ranges::count_if(plan.steps(), [&](const Plan::Step& s) { return s.kernel.starts_with(name); });
  };
  const auto convolutions =
      std::ranges::count_if(graph.nodes, [](const Node& node) { return std::holds_alternative<Conv2d>(node.op); });
  EXPECT_EQ(count(bytes, "conv-int8"), convolutions);
  // The last convolution writes floats; what is added to it there has to be floats as well.
  EXPECT_LE(count(bytes, "from-int8"), GetParam() == std::string_view("resnet20") ? 1 : 0);
  EXPECT_EQ(count(halves, "conv-bf16"), convolutions);
}
INSTANTIATE_TEST_SUITE_P(Deployed, NarrowNetworks, ::testing::Values("reduce20", "plain11", "resnet20"),
                         [](const auto& name) { return std::string(name.param); });

TEST(Narrow, RefusesWhatItDoesNotKnow) {
  const Graph graph = build("plain11", {});
  try {
    const Plan plan(graph, {.dtype = DType::i8});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
  }
  EXPECT_THROW(Plan(graph, {.dtype = DType::f64}), Error);
}

/// x → the same function, with channels between the convolutions scaled by powers of two, from 2⁻⁶ to 2⁶.
Graph badly_scaled(Graph graph, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Node*> convs;
  for (Node& node : graph.nodes) {
    if (std::holds_alternative<Conv2d>(node.op)) convs.push_back(&node);
  }
  for (size_t layer = 0; layer + 1 < convs.size(); ++layer) {
    const auto edit = [&](ValueId id, auto f) {
      std::vector<double> values = graph.constant(id)->to_doubles();
      for (size_t i = 0; i < values.size(); ++i) f(i, values[i]);
      graph[id].constant = Tensor::from_doubles(graph.constant(id)->shape(), values, DType::f32);
    };
    const Shape next = graph.constant(convs[layer + 1]->inputs[1])->shape();
    std::vector<double> s(static_cast<size_t>(next[1]));
    for (double& v : s) v = std::ldexp(1.0, static_cast<int>(random() % 13) - 6);
    const size_t row = static_cast<size_t>(graph.constant(convs[layer]->inputs[1])->size()) / s.size();
    const auto taps = static_cast<size_t>(next[2] * next[3]);
    edit(convs[layer]->inputs[1], [&](size_t i, double& w) { w *= s[i / row]; });
    if (convs[layer]->inputs.size() > 2) edit(convs[layer]->inputs[2], [&](size_t i, double& b) { b *= s[i]; });
    edit(convs[layer + 1]->inputs[1], [&](size_t i, double& w) { w /= s[i / taps % s.size()]; });
  }
  return graph;
}

/// Share of inputs for which the 8-bit network and the float one name the same class: the output that stands out most
/// from its mean over the inputs (an untrained network's own favourite is the same for every input).
double agreement(const Graph& graph) {
  Graph calibrated = graph;
  set_quantization(calibrated, calibrate(graph, random_batches(graph, 16, 7), 1));
  const Plan exact(graph), bytes(calibrated, {.dtype = DType::i8});
  const std::vector<std::vector<float>> inputs = random_batches(graph, 200, 8);
  const auto outputs = static_cast<size_t>(exact.output_size());
  std::vector<std::vector<float>> a(inputs.size(), std::vector<float>(outputs)), b = a;
  std::vector<float> mean(outputs, 0);
  for (size_t i = 0; i < inputs.size(); ++i) {
    exact.run(inputs[i], a[i]), bytes.run(inputs[i], b[i]);
    for (size_t o = 0; o < outputs; ++o) mean[o] += a[i][o] / static_cast<float>(inputs.size());
  }
  const auto standing_out = [&](std::vector<float> scores) {
    for (size_t o = 0; o < outputs; ++o) scores[o] -= mean[o];
    return std::ranges::max_element(scores) - scores.begin();
  };
  int agree = 0;
  for (size_t i = 0; i < inputs.size(); ++i) agree += standing_out(a[i]) == standing_out(b[i]);
  return static_cast<double>(agree) / static_cast<double>(inputs.size());
}

// RepVGG's issues: 8 bits after re-parameterisation lose the network (94.46 → 46.35 %), equalised they do not.
TEST(Narrow, EqualisationSavesANetworkOfBadlyScaledChannels) {
  const Graph good = collapse(build("plain11", {.widths = {8, 16, 16}, .height = 16, .width = 16})).graph;
  const Graph bad = badly_scaled(good, 9), saved = equalise(bad);
  const double before = agreement(bad), after = agreement(saved), reference = agreement(good);
  EXPECT_LT(before, 0.6);
  EXPECT_GT(after, 0.85);
  EXPECT_GT(after, reference - 0.1);
  // The same function all along.
  const Plan a(bad), b(saved);
  for (const std::vector<float>& input : random_batches(good, 3, 10)) {
    std::vector<float> x(static_cast<size_t>(a.output_size())), y = x;
    a.run(input, x), b.run(input, y);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-4 * (1 + std::abs(x[i])));
  }
}

TEST(Narrow, QuantizationTravelsInMetadata) {
  Graph graph = build("plain11", {});
  EXPECT_FALSE(quantization(graph));
  const Quantization scales{{"a b", {0.1, 3}}, {"c", {1e-30, 255}}};
  set_quantization(graph, scales);
  EXPECT_EQ(*quantization(graph), scales);
  for (const char* bad : {"x 0 name\n", "1 0\n", "1 256 name\n", "-1 0 name\n", "nan 0 name\n", "1 name\n"}) {
    graph.metadata["reducenet.int8"] = bad;
    EXPECT_THROW(quantization(graph), Error) << bad;
  }
  set_quantization(graph, {});
  EXPECT_FALSE(quantization(graph));
}

}  // namespace
}  // namespace reducenet
