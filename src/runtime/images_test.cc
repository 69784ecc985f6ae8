#include "runtime/images.h"

#include <gtest/gtest.h>

#include "reducenet/arch.h"
#include "reducenet/runtime.h"
#include "runtime/executable.h"
#include "runtime/test_graphs.h"

namespace reducenet {
namespace {

/// A 3×3 convolution of [N,4,6,6], then what `tail` adds.
template <class Tail>
Graph with_tail(Tail tail) {
  GraphBuilder b("tail", 1);
  const ValueId x = b.input("x", {-1, 4, 6, 6});
  b.output(tail(b, b.conv("conv", x, 6, {3, 3}, {.padding = {1, 1, 1, 1}})));
  return std::move(b).finish();
}

ValueId reshaped(GraphBuilder& b, ValueId x, std::vector<int64_t> shape) {
  const auto rank = static_cast<int64_t>(shape.size());
  return b.node("reshaped", Reshape{}, {x, b.constant("shape", Tensor::of({rank}, shape))});
}

/// Every image of a batch through a plan of one.
std::vector<float> one_by_one(const Graph& graph, const std::vector<float>& input, int64_t batch) {
  const Plan plan(graph);
  const auto in = static_cast<size_t>(plan.input_size()), out = static_cast<size_t>(plan.output_size());
  std::vector<float> outputs(out * static_cast<size_t>(batch));
  for (size_t i = 0; i < static_cast<size_t>(batch); ++i) {
    plan.run(std::span(input).subspan(i * in, in), std::span(outputs).subspan(i * out, out));
  }
  return outputs;
}

bool runs_images_apart(const Plan& plan) {
  return plan.steps()[0].shape.starts_with("1x");
}

TEST(Images, OfConvolutionalNetworksStandAlone) {
  for (const char* name : {"plain11", "reduce20", "resnet20", "densenet", "mobilenetv2", "vanillanet-cifar6",
                           "condconv8", "detachnet8", "skipnet14"}) {
    EXPECT_TRUE(images_stand_alone(build(name, {}), 4)) << name;
  }
}

TEST(Images, ThatANodeMixesDoNot) {
  const auto alone = [](auto tail) { return images_stand_alone(with_tail(tail), 6); };
  EXPECT_TRUE(alone([](GraphBuilder&, ValueId x) { return x; }));
  EXPECT_TRUE(alone([](GraphBuilder& b, ValueId x) { return b.node("softmax", Softmax{1}, {x}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) { return b.node("softmax", Softmax{0}, {x}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) { return b.node("softmax", Softmax{-4}, {x}); }));
  EXPECT_TRUE(alone([](GraphBuilder& b, ValueId x) { return b.node("turned", Transpose{{0, 2, 3, 1}}, {x}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) { return b.node("turned", Transpose{{1, 0, 2, 3}}, {x}); }));
  EXPECT_TRUE(alone([](GraphBuilder& b, ValueId x) { return reshaped(b, x, {0, -1}); }));
  EXPECT_TRUE(alone([](GraphBuilder& b, ValueId x) { return reshaped(b, x, {-1, 6 * 6 * 6}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) { return reshaped(b, x, {1, -1}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) { return reshaped(b, x, {-1, 6}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) { return reshaped(b, x, {6, -1}); }));  // one image: six rows
  EXPECT_TRUE(alone([](GraphBuilder& b, ValueId x) {
    return b.add("sum", x, b.constant("bias", Tensor::filled({6, 1, 1}, 2)));
  }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) {  // each image its own bias
    return b.add("sum", x, b.constant("bias", Tensor::filled({6, 1, 1, 1}, 2)));
  }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) {  // each image's means on every image
    return b.add("sum", x, reshaped(b, b.node("mean", GlobalAveragePool{}, {x}), {0, 6, 1}));
  }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) { return b.node("joined", Concat{0}, {x, x}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) {
    return b.node("padded", Pad{.begin = {1, 0, 0, 0}, .end = {0, 0, 0, 0}}, {x});
  }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) {
    return b.node("mean over the batch", Reduce{.kind = Reduce::Kind::mean, .axes = {0}}, {x});
  }));
  EXPECT_TRUE(alone([](GraphBuilder& b, ValueId x) {
    return b.node("mean", Reduce{.kind = Reduce::Kind::mean, .axes = {2, -1}, .keep_dims = false}, {x});
  }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) {
    return b.add("sum", x, b.node("mean of all", Reduce{.kind = Reduce::Kind::mean}, {x}));
  }));
  EXPECT_TRUE(alone([](GraphBuilder& b, ValueId x) { return b.node("part", Slice{{1}, {3}, {1}, {1}}, {x}); }));
  EXPECT_FALSE(alone([](GraphBuilder& b, ValueId x) {  // the images in reverse
    return b.node("part", Slice{{-1}, {-100}, {0}, {-1}}, {x});
  }));
  const auto first = [](int64_t axis) {
    return [axis](GraphBuilder& b, ValueId x) {
      return b.node("first", Gather{axis}, {x, b.constant("one", Tensor::of({1}, std::vector<int64_t>{0}))});
    };
  };
  EXPECT_TRUE(alone(first(1)));
  EXPECT_FALSE(alone(first(-4)));
}

TEST(Images, OfAFixedBatchAreRunTogether) {
  GraphBuilder b("fixed", 1);
  b.output(b.conv("conv", b.input("x", {4, 4, 6, 6}), 6, {3, 3}, {}));
  const Graph graph = std::move(b).finish();
  EXPECT_FALSE(images_stand_alone(graph, 4));
  EXPECT_FALSE(runs_images_apart(Plan(graph, {.batch = 4})));
}

TEST(Images, RunApartGiveWhatEachGivesAlone) {
  for (const char* name : {"plain11", "skipnet14", "resnet20"}) {
    const Graph graph = build(name, {.widths = {5, 19, 33}, .height = 21, .width = 13});
    for (const int64_t batch : {2, 5, 8}) {
      std::mt19937_64 random(7);
      const std::vector<float> input = testing::random_tensor({batch, 3, 21, 13}, random).to_floats();
      const std::vector<float> expected = one_by_one(graph, input, batch);
      for (const int threads : {1, 2, 3}) {
        if (batch < threads) continue;
        const Plan plan(graph, {.batch = batch, .threads = threads});
        ASSERT_TRUE(runs_images_apart(plan)) << name;
        ASSERT_EQ(plan.batch(), batch);
        std::vector<float> output(static_cast<size_t>(plan.output_size()));
        plan.run(input, output);
        EXPECT_EQ(output, expected) << name << " batch " << batch << " threads " << threads;
      }
    }
  }
}

TEST(Images, AgreeWithTheBatchAsOne) {
  const Graph graph = build("resnet20", {});
  const Plan apart(graph, {.batch = 4, .threads = 2});
  const Executable together(graph, {.batch = 4, .threads = 2});
  ASSERT_TRUE(runs_images_apart(apart));
  ASSERT_EQ(together.steps()[0].output.shape[0], 4);
  std::mt19937_64 random(9);
  const std::vector<float> input = testing::random_tensor({apart.input_size()}, random).to_floats();
  std::vector<float> a(static_cast<size_t>(apart.output_size())), b = a;
  apart.run(input, a);
  together.run(input.data(), b.data(), *together.arena());
  float largest = 0;
  for (const float value : b) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 4e-5 * largest) << i;  // each within 1e-5, and rounding
  int64_t macs = 0;
  for (const Plan::Step& step : apart.steps()) macs += step.macs;
  EXPECT_EQ(macs, 4 * count_macs(graph));
  EXPECT_EQ(apart.step_milliseconds(0.01).size(), apart.steps().size());
}

TEST(Images, ShareWeightsThatAreUsedOnce) {
  GraphBuilder b("dense", 1);
  b.output(b.gemm("dense", b.input("x", {-1, 512}), 256));
  const Graph graph = std::move(b).finish();
  EXPECT_TRUE(images_stand_alone(graph, 16));
  EXPECT_FALSE(runs_images_apart(Plan(graph, {.batch = 16})));
}

TEST(Images, FewerThanThreadsAreRunTogether) {
  EXPECT_FALSE(runs_images_apart(Plan(build("plain11", {}), {.batch = 2, .threads = 3})));
}

}  // namespace
}  // namespace reducenet
