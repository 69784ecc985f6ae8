#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "runtime/kernels/narrow_pack.h"
#include "runtime/kernels/target_test.h"

// Every kernel in 8 and 16 bits, on every SIMD target of this machine, against the oracle of the rounded network in
// double. In 8 bits the sums are exact; what remains are a few roundings in float32, so a stored byte is the oracle's
// or, where the number before rounding is that close to a tie, its neighbour.

namespace reducenet {
namespace {

using testing::concatenated;
using testing::Dice;
using testing::Trial;

/// x as bytes of that scale hold it; the quotient rounded to float32 as kernels (and ONNX's QuantizeLinear) do.
double rounded_to(const TensorScale& as, double x) {
  const double steps = static_cast<float>(x) / static_cast<float>(as.scale);
  const double q = std::clamp(std::nearbyint(steps) + static_cast<double>(as.zero), 0.0, 255.0);
  return as.scale * (q - static_cast<double>(as.zero));
}
/// As the graph's metadata say, which a float32 holds.
TensorScale in_float(TensorScale as) {
  return {static_cast<float>(as.scale), as.zero};
}
Tensor rounded_to(const TensorScale& as, const Tensor& tensor) {
  std::vector<double> values = tensor.to_doubles();
  for (double& v : values) v = rounded_to(as, v);
  return Tensor::from_doubles(tensor.shape(), values);
}
Tensor to_bf16(const Tensor& tensor) {
  return tensor.cast(DType::bf16).cast(DType::f64);
}

/// The layer with weights and bias as its kernel rounds them.
Graph with_rounded_weights(Graph graph, DType dtype, const TensorScale& x) {
  Node& layer = *std::ranges::find_if(graph.nodes, [](const Node& node) {
    return std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<Gemm>(node.op);
  });
  const Tensor weight = *graph.constant(layer.inputs[1]);
  const bool has_bias = layer.inputs.size() > 2 && layer.inputs[2];
  if (dtype == DType::bf16) {
    graph[layer.inputs[1]].constant = to_bf16(weight);
    return graph;
  }
  const std::vector<double> bias = has_bias ? graph.constant(layer.inputs[2])->to_doubles() : std::vector<double>{};
  const int64_t outputs = weight.shape()[0];
  const ByteLayer bytes = in_bytes(weight.to_doubles(), bias, outputs, x.scale);
  std::vector<double> w(bytes.weight.begin(), bytes.weight.end()), b(bytes.bias.begin(), bytes.bias.end());
  const size_t row = w.size() / static_cast<size_t>(outputs);
  for (size_t i = 0; i < w.size(); ++i) w[i] *= bytes.scales[i / row];
  for (size_t o = 0; o < b.size(); ++o) b[o] *= x.scale * bytes.scales[o];
  graph[layer.inputs[1]].constant = Tensor::from_doubles(weight.shape(), w);
  if (has_bias) graph[layer.inputs[2]].constant = Tensor::from_doubles({outputs}, b);
  return graph;
}

class NarrowKernelTest : public testing::TargetTest {};

/// A layer that nothing but its own op, a residual and an activation dress: no batch norm to merge.
Graph draw(const Trial& trial, Dice& dice) {
  for (;;) {
    Graph graph = trial.graph(dice);
    const bool plain =
        std::ranges::none_of(graph.nodes, [](const Node& n) { return std::holds_alternative<BatchNorm>(n.op); });
    if (!plain) continue;
    for (Value& value : graph.values) {
      if (value.name.ends_with(".bias")) value.constant = testing::random_tensor(*value.shape, dice.random);
    }
    return graph;
  }
}

TEST_P(NarrowKernelTest, AgreesWithTheRoundedOracleOnEveryTarget) {
  int in_bytes_stored = 0;
  std::set<std::string> used;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Dice dice(seed);
    const Graph float_graph = draw(GetParam(), dice), graph = testing::in_narrow(float_graph, dice);
    const Quantization scales = *quantization(graph);
    const std::vector<Tensor> inputs = testing::random_inputs(graph, dice.random);
    const std::string name = graph[graph.outputs[0]].name;
    const TensorScale y_as = in_float(scales.at(name));
    for (const DType dtype : {DType::i8, DType::bf16}) {
      const Executable plan(graph, {.threads = 2, .dtype = dtype, .narrow_everywhere = true});
      const Step* layer = nullptr;
      for (const Step& step : plan.steps()) {
        used.insert(std::string(step.kernel->name));
        if (!layer && !std::holds_alternative<Identity>(step.op)) layer = &step;
      }
      ASSERT_TRUE(layer);
      const bool narrow = layer->kernel->in != Layout::blocked && layer->kernel->in != Layout::plain;
      if (dtype == DType::bf16 && !narrow) continue;  // depthwise
      ASSERT_TRUE(narrow) << layer->kernel->name;
      const bool stored = layer->kernel->out == Layout::bytes, halves = layer->kernel->out == Layout::halves;
      in_bytes_stored += stored;

      const TensorScale x_as = in_float(scales.at(graph[graph.inputs[0]].name));
      std::vector<Tensor> rounded = inputs;
      for (size_t i = 0; i < rounded.size(); ++i) {
        if (i > 0 && !stored && !halves) continue;  // a residual that is added in float32
        rounded[i] = dtype == DType::bf16 ? to_bf16(inputs[i])
                                          : rounded_to(in_float(scales.at(graph[graph.inputs[i]].name)), inputs[i]);
      }
      const Graph oracle = with_rounded_weights(float_graph, dtype, x_as);
      const std::vector<double> expected = evaluate(oracle, rounded)[0].to_doubles();
      const std::vector<double> size = testing::magnitudes(oracle, rounded)[0].to_doubles();
      const Shape& w = layer->weight_shape;
      const int64_t terms = dtype == DType::i8 ? 0 : element_count(w) / w[0] * 2 + 1;  // that meet in one output
      const std::vector<float> input = concatenated(inputs);
      const auto arena = plan.arena();
      for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
        use(target);
        std::vector<float> output(static_cast<size_t>(plan.output_size()), std::nanf(""));
        plan.run(input.data(), output.data(), *arena);
        for (size_t i = 0; i < expected.size(); ++i) {
          // A handful of roundings: of the scale, its product with the sum, the residual's, their sum, the activation.
          double bound = 2 * testing::gamma(terms + 16) * (size[i] + std::abs(expected[i]) + 1);
          double want = expected[i];
          if (halves) bound += std::abs(want) * 0x1p-8;
          if (stored) {
            want = rounded_to(y_as, want);
            const double steps = expected[i] / y_as.scale, tie = std::abs(steps - std::floor(steps) - 0.5);
            bound = (tie * y_as.scale <= bound ? 1.001 : 1e-5) * y_as.scale + std::abs(want) * 0x1p-22;
          }
          ASSERT_NEAR(output[i], want, bound) << "element " << i << " of " << layer->kernel->name << " on "
                                              << hwy::TargetName(target) << ", seed " << seed << "\n"
                                              << print(float_graph);
        }
      }
      use(0);
    }
  }
  const std::string kernel(GetParam().kernel);
  EXPECT_TRUE(used.contains(kernel == "affine" ? "affine-int8" : kernel + "-int8-out"));
  if (kernel == "affine") {
    EXPECT_TRUE(used.contains("affine-bf16"));
  } else {
    EXPECT_TRUE(used.contains(kernel + "-int8"));
    EXPECT_GT(in_bytes_stored, 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, NarrowKernelTest, ::testing::ValuesIn(testing::kNarrowTrials), [](const auto& info) {
  return std::string(info.param.kernel) + "_" + std::to_string(info.index);
});

/// The instructions and their scalar twins agree: bytes exactly, bfloat16 within the order of the sum.
TEST(Narrow, TheScalarTwinsAgree) {
  using namespace narrow;
  const Runs &fast = fast_runs(), &plain = plain_runs();
  if (!fast.bytes && !fast.halves) GTEST_SKIP() << "this CPU has neither VNNI nor bf16 products";
  std::mt19937_64 random(4);
  std::vector<uint8_t> x(3 * 16 * 60 * 4), w(2 * 3 * 9 * 8 * 64), r(2 * 16 * 16 * 4);
  std::vector<float> scale(32), float_bias(32);
  std::vector<int32_t> bias(32);
  for (float& v : scale) v = 0.0001f * static_cast<float>(1 + random() % 9);
  for (float& v : float_bias) v = static_cast<float>(random() % 9) - 4;
  for (int32_t& v : bias) v = static_cast<int32_t>(random() % 100000) - 50000;
  struct Case {
    narrow::Run fast, plain;
    bool halves, depthwise;
  };
  for (const Case& c : {Case{fast.bytes, plain.bytes, false, false}, Case{fast.halves, plain.halves, true, false},
                        Case{fast.depthwise, plain.depthwise, false, true}}) {
    if (!c.fast) continue;
    const auto fill = [&](std::vector<uint8_t>& bytes) {
      for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
        const uint16_t bits =
            c.halves ? float_to_bfloat16(static_cast<float>(random() % 64) / 32 - 1) : static_cast<uint16_t>(random());
        std::memcpy(&bytes[i], &bits, 2);
      }
    };
    fill(x), fill(w);
    for (const Store store : {Store::floats, Store::bytes, Store::halves}) {
      if ((store == Store::halves) != c.halves && store != Store::floats) continue;  // not stored so
      if (store == Store::floats) {
        for (size_t i = 0; i < r.size(); i += 4) {
          const float v = static_cast<float>(random() % 100) / 10;
          std::memcpy(&r[i], &v, 4);
        }
      } else {
        fill(r);
      }
      const int64_t size = store == Store::floats ? 4 : store == Store::bytes ? 1 : 2, words = c.halves ? 8 : 4;
      for (int64_t pixels = 1; pixels <= kMostPixels; ++pixels) {
        for (const int64_t tap : {1, 2}) {  // as neighbours lie, and apart
          for (int64_t blocks = 1; blocks <= (c.depthwise ? 1 : kMostBlocks); ++blocks) {
            std::vector<uint8_t> a(2 * 16 * 16 * 4), b = a;
            Tile t{.x = x.data(), .w = w.data(), .scale = scale.data(), .bias = bias.data(), .residual = r.data()};
            if (c.halves) t.bias = float_bias.data();
            t.rows = 2, t.words = words, t.last_words = 3, t.kernel_h = 2, t.kernel_w = c.depthwise ? 5 : 3;
            t.x_tap = 4 * words * tap, t.x_pixel = 4 * words * tap, t.x_row = 12 * 4 * words, t.x_plane = 2 * t.x_row;
            t.w_block = (words + 3) * 6 * 64, t.y_block = 16 * 16 * size;
            t.low = -20, t.high = 90, t.zero = 20, t.residual_scale = 0.5f, t.residual_zero = 100, t.store = store;
            t.y = a.data();
            c.fast(t, pixels, blocks);
            t.y = b.data();
            c.plain(t, pixels, blocks);
            if (!c.halves && store == Store::bytes) {
              ASSERT_EQ(a, b) << pixels << "x" << blocks;
            } else if (store == Store::floats) {
              for (size_t i = 0; i < a.size(); i += 4) {
                float p, q;
                std::memcpy(&p, &a[i], 4), std::memcpy(&q, &b[i], 4);
                ASSERT_NEAR(p, q, 1e-5 * (1 + std::abs(q))) << pixels << "x" << blocks << " at " << i / 4;
              }
            } else {  // sums of another order may fall on the other side of a tie of bfloat16
              int64_t differ = 0;
              for (size_t i = 0; i < a.size(); ++i) differ += a[i] != b[i];
              ASSERT_LE(differ, static_cast<int64_t>(a.size()) / 100) << pixels << "x" << blocks;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace reducenet
