// A step that finds its numbers on the device, beside one that is told them; on a CPU, and on a GPU where there is one.
#include "train/recording.h"

#include <ATen/Context.h>

#include "train/testing.h"

namespace reducenet::train {
namespace {

class Recorded : public Run {
 protected:
  /// A run to its end on a device.
  Result result_of(const Recipe& recipe, const std::string& folder, const std::string& device = "cpu") {
    return run(recipe, {.out = out(folder.c_str()), .device = device});
  }
  /// Losses of every epoch agree to that relative difference. They drift apart as rounding does: few epochs, low rates.
  static void expect_alike(const Result& a, const Result& b, double tolerance) {
    ASSERT_EQ(a.history.size(), b.history.size());
    for (size_t i = 0; i < a.history.size(); ++i) {
      EXPECT_NEAR(a.history[i].loss, b.history[i].loss, tolerance * a.history[i].loss) << "epoch " << i + 1;
      EXPECT_EQ(a.history[i].fade.mean, b.history[i].fade.mean);
    }
  }
};

Recipe recorded(Recipe recipe) {
  set(recipe, "train.recorded=true");
  return recipe;
}

TEST_F(Recorded, StepsLearnAsDirectOnesDo) {
  const std::vector<Recipe> recipes{
      small({"optimizer.lr=0.01", "optimizer.clip=0.5"}),
      small({"optimizer.algorithm=adamw", "optimizer.lr=0.001", "model.activation=gelu"}),
      small({"model.arch=resnet", "model.fades=block", "optimizer.lr=0.01", "fade.order=backward"}),
      small(
          {"fade.start=0.3", "distill.teacher=self", "optimizer.lr=0.01", "finetune.epochs=1", "finetune.merge=true"}),
      small({"model.arch=plain", "select.by=sensitivity", "select.count=1", "fade.start=0.3", "optimizer.lr=0.01"}),
  };
  for (size_t i = 0; i < recipes.size(); ++i) {
    SCOPED_TRACE(i);
    const std::string name = std::to_string(i);
    expect_alike(result_of(recipes[i], name), result_of(recorded(recipes[i]), name + "-recorded"), 1e-3);
  }
}

TEST_F(Recorded, RunsResumeBitForBit) {
  const Recipe recipe = recorded(small());
  run(recipe, {.out = out("whole")});
  EXPECT_TRUE(run_steps(recipe, {.out = out("parts")}, 17).interrupted);
  run(recipe, {.out = out("parts"), .resume = true});
  expect_same_tensors(out("whole") / "checkpoint.safetensors", out("parts") / "checkpoint.safetensors");
  expect_same_tensors(out("whole") / "model.safetensors", out("parts") / "model.safetensors");
}

TEST_F(Recorded, StepsThatChangeAreRefused) {
  const auto refused = [&](std::initializer_list<const char*> settings) {
    return failure(recorded(small(settings)), {.out = out("refused")});
  };
  const auto ema = refused({"distill.teacher=ema"});
  EXPECT_EQ(ema.first, ErrorKind::usage);
  expect_contains(ema.second, "distill.teacher = ema");
  const auto drop = refused({"model.arch=resnet", "model.survival=0.8"});
  EXPECT_EQ(drop.first, ErrorKind::unsupported);
  expect_contains(drop.second, "train.recorded");
}

// cuDNN multiplies in TF32, with 10 bits of mantissa.
TEST_F(Recorded, FirstStepsOnAGpuAreTheCpus) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "needs a GPU, and a LibTorch built with CUDA";
  const Recipe recipe = small({"optimizer.lr=0.01", "train.epochs=2"});
  const Result cpu = result_of(recipe, "cpu");
  expect_alike(cpu, result_of(recipe, "cuda", "cuda"), 1e-2);
  expect_alike(cpu, result_of(recorded(recipe), "cuda-recorded", "cuda"), 1e-2);
}

}  // namespace
}  // namespace reducenet::train
