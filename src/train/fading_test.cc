// Whole runs whose fades are controlled, with fine-tuning: what happened, and that an interruption changes nothing.
#include "reducenet/formats.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

class Fading : public Run {
 protected:
  /// A whole run, and the same in three parts; both must end in the same bits.
  Result whole_and_parts(const Recipe& recipe, const Options& start = {}) {
    Options whole = start, first = start;
    whole.out = out("whole");
    first.out = out("parts");
    const Result result = run(recipe, whole);
    EXPECT_TRUE(run_steps(recipe, first, 17).interrupted);
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts"), .resume = true}, 13).interrupted);
    const Result parts = run(recipe, {.out = out("parts"), .resume = true});
    expect_same_tensors(out("whole") / "checkpoint.safetensors", out("parts") / "checkpoint.safetensors");
    expect_same_tensors(out("whole") / "model.safetensors", out("parts") / "model.safetensors");
    EXPECT_EQ(result.top1, parts.top1);
    EXPECT_EQ(result.history.size(), parts.history.size());
    for (size_t i = 0; i < std::min(result.history.size(), parts.history.size()); ++i) {
      EXPECT_EQ(result.history[i].loss, parts.history[i].loss);
      EXPECT_EQ(result.history[i].fade.mean, parts.history[i].fade.mean);
      EXPECT_EQ(result.history[i].note, parts.history[i].note);
    }
    return result;
  }
  int64_t nonlinear(const char* folder) const { return count_nonlinear(load(out(folder) / "model.safetensors")); }
};

std::string notes_of(const Result& result) {
  std::string notes;
  for (const EpochMetrics& metrics : result.history) notes += metrics.note + "\n";
  return notes;
}

// reduce with one module a stage: three ReLUs that stay, two fades.
constexpr int64_t kOwn = 3, kFades = 2;

TEST_F(Fading, GateThatIsNeverContentLeavesEverything) {
  const Recipe recipe =
      small({"fade.control=gate", "fade.end=1", "fade.groups=2", "fade.bound=-1", "fade.retries=0", "train.epochs=7"});
  const Result result = whole_and_parts(recipe);
  EXPECT_EQ(nonlinear("whole"), kOwn + kFades);
  expect_contains(notes_of(result), "group 1 of 2 goes back and stays; group 2 of 2 begins");
  EXPECT_EQ(result.history[1].fade.min, 0);  // it did fade
  EXPECT_EQ(result.history.back().fade.min, 1);
}

TEST_F(Fading, GateThatIsAlwaysContentFadesEverything) {
  const Recipe recipe = small({"fade.control=gate", "fade.end=1", "fade.groups=2", "fade.bound=1", "train.epochs=6"});
  const Result result = whole_and_parts(recipe);
  EXPECT_EQ(nonlinear("whole"), kOwn);
  expect_contains(notes_of(result), "group 2 of 2 is gone");
}

TEST_F(Fading, RollingBackReturnsToTheSnapshot) {
  const Recipe recipe =
      small({"fade.control=gate", "fade.end=1", "fade.groups=1", "fade.bound=-1", "fade.retries=1", "train.epochs=8"});
  // 12 steps an epoch: the first ramp and hold are over, and the group is back, after three.
  EXPECT_TRUE(run_steps(recipe, {.out = out("a")}, 36).interrupted);
  expect_same_tensors(out("a") / "checkpoint.safetensors", out("a") / "snapshot.safetensors");
  EXPECT_TRUE(run_steps(recipe, {.out = out("a"), .resume = true}, 12).interrupted);
  const NamedTensors now = read_safetensors(out("a") / "checkpoint.safetensors");
  const NamedTensors then = read_safetensors(out("a") / "snapshot.safetensors");
  EXPECT_FALSE(now.tensors[1].second == then.tensors[1].second);
}

TEST_F(Fading, LossAndSlopeCanHoldTheFadeUp) {
  for (const std::string control : {"loss", "slope"}) {
    const std::string setting = "fade.control=" + control;
    // Any rise at all stops it; or none ever does.
    const Recipe strict = small({setting.c_str(), "fade.tolerance=0", "fade.end=0.9", "train.epochs=4"});
    const Recipe lax = small({setting.c_str(), "fade.tolerance=1000", "fade.end=0.9", "train.epochs=4"});
    const Result held = whole_and_parts(strict), free = run(lax, {.out = out("lax")});
    EXPECT_EQ(held.history.back().fade.max, 0);
    EXPECT_EQ(free.history[1].fade.max, 0);  // over at 0.45 of the run
    EXPECT_GT(held.history[1].fade.mean, 0);
    EXPECT_EQ(nonlinear("whole"), kOwn);
  }
}

TEST_F(Fading, FineTuningRestartsTheLearningRate) {
  const Recipe recipe = small({"train.epochs=5", "finetune.epochs=2", "finetune.lr=0.03", "fade.end=1"});
  const Result result = whole_and_parts(recipe);
  // Fractions are of the three epochs before; the last step of each part has nearly no learning rate left.
  EXPECT_LT(result.history[2].lr, 0.002);
  EXPECT_GT(result.history[1].fade.mean, 0);
  EXPECT_EQ(result.history[2].fade.max, 0);
  EXPECT_GT(result.history[3].lr, 0.014);
  EXPECT_LT(result.history[3].lr, 0.03);
  EXPECT_LT(result.history[4].lr, 0.002);
}

TEST_F(Fading, FineTuningCanWarmUp) {
  const Recipe recipe = small({"train.epochs=3", "finetune.epochs=2", "finetune.lr=0.03", "finetune.warmup=1"});
  const Result result = run(recipe, {.out = out("a")});  // the last step of an epoch
  EXPECT_NEAR(result.history[1].lr, 0.03, 1e-6);
  EXPECT_LT(result.history[2].lr, 0.002);
}

TEST_F(Fading, FineTuningCanKeepTheScheduleOfTheRun) {
  const auto rates = [&](std::initializer_list<const char*> settings) {
    std::vector<double> lr;
    for (const EpochMetrics& epoch : run(small(settings), {.out = out("a")}).history) lr.push_back(epoch.lr);
    return lr;
  };
  const std::vector<double> whole = rates({"train.epochs=4"});
  EXPECT_EQ(rates({"train.epochs=4", "finetune.epochs=3", "finetune.lr=0"}), whole);
  EXPECT_EQ(rates({"train.epochs=4", "finetune.epochs=3", "finetune.lr=0", "finetune.warmup=1"}), whole);
  EXPECT_NEAR(rates({"train.epochs=4", "finetune.epochs=3", "finetune.lr=0", "finetune.warmup=2"})[1], whole[1] / 2,
              1e-9);
}

TEST_F(Fading, FineTuningCanTrainTheCollapsedNetwork) {
  const Recipe recipe = small({"train.epochs=3", "finetune.epochs=2", "finetune.merge=true", "fade.end=0.9"});
  const Result result = whole_and_parts(recipe);  // interrupted after 17 and 30 of 36 steps: merged, and not begun
  const Graph trained = load(out("whole") / "model.safetensors");
  EXPECT_EQ(std::ranges::count_if(trained.nodes, [](const Node& n) { return std::holds_alternative<Conv2d>(n.op); }),
            3);
  EXPECT_EQ(count_nonlinear(trained), kOwn);
  EXPECT_EQ(result.history.back().fade.max, 0);
  EXPECT_LT(result.history.back().loss, result.history.front().loss);
  // Every kind of state that a run carries over.
  for (const char* setting : {"finetune.identity=true", "distill.teacher=ema", "fade.control=gate", "fade.control=loss",
                              "optimizer.algorithm=adamw"}) {
    whole_and_parts(small({"train.epochs=4", "finetune.epochs=1", "finetune.merge=true", "fade.end=0.9", setting}));
  }
}

TEST_F(Fading, HalfPrecisionIsNearAndNotTheSame) {
  const Recipe full = small({"train.epochs=1", "optimizer.lr=0.02"});
  const Recipe half = small({"train.epochs=1", "optimizer.lr=0.02", "train.precision=bf16"});
  const Result a = run(full, {.out = out("full")}), b = run(half, {.out = out("half")});
  EXPECT_NE(a.history[0].loss, b.history[0].loss);
  EXPECT_NEAR(a.history[0].loss, b.history[0].loss, 0.02 * a.history[0].loss);
}

TEST_F(Fading, SettingsThatContradictAreRefused) {
  const auto refused = [&](std::initializer_list<const char*> settings, const char* part) {
    const auto [kind, text] = failure(small(settings), {.out = out("a")});
    EXPECT_EQ(kind, ErrorKind::usage);
    expect_contains(text, part);
  };
  refused({"finetune.epochs=3"}, "finetune.epochs = 3 leaves none");
  refused({"finetune.merge=true"}, "finetune.epochs");
  refused({"finetune.epochs=1", "finetune.identity=true"}, "finetune.merge");
  refused({"fade.control=gate", "data.validation=0"}, "held-out images");
  refused({"distill.teacher=self"}, "fade.start");
  refused({"select.by=uniform"}, "select.count");
  refused({"select.by=sensitivity", "select.count=1"}, "fade.start");
  refused({"model.arch=import"}, "--from");
}

}  // namespace
}  // namespace reducenet::train
