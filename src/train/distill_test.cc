#include "train/distill.h"

#include <ATen/ATen.h>

#include "reducenet/arch.h"
#include "reducenet/builder.h"
#include "reducenet/formats.h"
#include "train/graphs.h"
#include "train/testing.h"

namespace reducenet::train {
namespace {

TEST(DistillationLoss, IsHintonsFormula) {
  const at::Tensor s = at::tensor({0.5, -1.0, 2.0, 0.0, 0.0, 1.0}, at::kDouble).view({2, 3}).requires_grad_();
  const at::Tensor t = at::tensor({1.0, 1.0, -1.0, 3.0, 0.0, 1.0}, at::kDouble).view({2, 3});
  double expected = 0;
  for (int64_t n = 0; n < 2; ++n) {
    const at::Tensor p = at::softmax(t[n] / 3, 0), q = at::softmax(s[n] / 3, 0);
    for (int64_t c = 0; c < 3; ++c) {
      expected += p[c].item<double>() * std::log(p[c].item<double>() / q[c].item<double>()) * 9 / 2;
    }
  }
  const at::Tensor loss = distillation_loss(s, t, 3);
  EXPECT_NEAR(loss.item<double>(), expected, 1e-12);
  loss.backward();
  const at::Tensor gradient = (at::softmax(s / 3, 1) - at::softmax(t / 3, 1)) * 3 / 2;
  EXPECT_LT((s.grad() - gradient).abs().max().item<double>(), 1e-12);
}

TEST(Teacher, CollapsedOrNotSaysTheSameAndRecordsNothing) {
  ArchOptions options{.modules = 1, .widths = {4, 6}, .height = 16, .width = 16};
  const Graph graph = build("reduce", options);
  Teacher plain(conclude(graph), at::kCPU, false), collapsed(graph, at::kCPU);
  EXPECT_LT(collapsed.network().state().size(), plain.network().state().size());
  at::manual_seed(0);
  const at::Tensor x = at::randn({4, 3, 16, 16});
  const at::Tensor a = plain.scores(x), b = collapsed.scores(x);
  EXPECT_LT((a - b).abs().max().item<double>(), 1e-4);
  EXPECT_FALSE(a.requires_grad());
}

TEST(Teacher, HintsVanishForTheSameNetworkAndHaveAGradient) {
  const ArchOptions options{.modules = 1, .widths = {4, 6}, .height = 16, .width = 16};
  ArchOptions wider = options;
  wider.widths = {8, 12};
  const Graph graph = build("plain", options);
  const at::Tensor x = at::randn({4, 3, 16, 16});
  Network student(graph);
  Teacher same(graph, at::kCPU), other(build("reduce", wider), at::kCPU);
  same.pair(student);
  same.scores(x);
  student.forward(x, false);
  EXPECT_LT(same.hint_loss(student).item<double>(), 1e-9);
  other.pair(student);
  other.scores(x);
  student.forward(x, true);
  const at::Tensor loss = other.hint_loss(student);
  EXPECT_GT(loss.item<double>(), 1e-4);
  loss.backward();
  EXPECT_GT(student.decayed_parameters().front().grad().abs().sum().item<double>(), 0);
  Network flat(build("softmax", options));
  EXPECT_THROW(other.pair(flat), Error);
}

class Distilled : public Run {
 protected:
  void interrupt_and_compare(const Recipe& recipe, const Result& whole) {
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts")}, 20).interrupted);
    EXPECT_TRUE(run_steps(recipe, {.out = out("parts"), .resume = true}, 7).interrupted);
    const Result parts = run(recipe, {.out = out("parts"), .resume = true});
    expect_same_tensors(out("whole") / "model.safetensors", out("parts") / "model.safetensors");
    EXPECT_EQ(whole.history.back().loss, parts.history.back().loss);
  }
};

TEST_F(Distilled, FromEveryTeacherAndTheSameAfterAnInterruption) {
  run(small({"model.arch=resnet", "model.widths=8,16", "train.epochs=1"}), {.out = out("teacher")});
  const std::string path = "distill.teacher=" + (out("teacher") / "checkpoint.safetensors").string();
  for (const char* arch : {"model.arch=reduce", "model.arch=plain"}) {  // the control learns from the same teacher
    const Result alone = run(small({arch, "fade.start=0.4", "fade.end=0.7"}), {.out = out("alone")});
    for (const char* teacher : {"distill.teacher=self", "distill.teacher=ema", path.c_str()}) {
      const Recipe recipe = small({arch, "fade.start=0.4", "fade.end=0.7", teacher, "distill.hints=10"});
      const Result whole = run(recipe, {.out = out("whole")});
      EXPECT_NE(whole.history.back().loss, alone.history.back().loss) << teacher;
      interrupt_and_compare(recipe, whole);
    }
  }
}

TEST_F(Distilled, TheDeepSelfIsTheNetworkWhenItsFadingBegins) {
  // 12 steps an epoch, 36 in all: fading begins before step 18.
  const Recipe recipe = small({"fade.start=0.5", "fade.end=0.8", "distill.teacher=self", "optimizer.ema=0"});
  EXPECT_TRUE(run_steps(recipe, {.out = out("a")}, 18).interrupted);
  EXPECT_FALSE(fs::exists(out("a") / "teacher.safetensors"));
  const Graph before = load(out("a") / "checkpoint.safetensors");
  run(recipe, {.out = out("a"), .resume = true});
  const Graph teacher = load(out("a") / "teacher.safetensors");
  EXPECT_EQ(count_nonlinear(teacher), 5);
  for (const Value& value : before.values) {
    if (!value.constant || !is_float(value.constant->dtype())) continue;
    EXPECT_TRUE(*value.constant == *teacher.constant(teacher.find_value(value.name))) << value.name;
  }
}

TEST_F(Distilled, AStudentFollowsItsTeacherAlone) {
  // Only the teacher's scores count: labels that say nothing do no harm to the agreement.
  run(small({"model.arch=plain", "optimizer.ema=0"}), {.out = out("teacher")});
  const std::string path = "distill.teacher=" + (out("teacher") / "model.safetensors").string();
  const Recipe recipe = small({"model.arch=plain", "optimizer.ema=0", path.c_str(), "distill.alpha=1",
                               "optimizer.lr=0.05", "train.epochs=6", "train.seed=3"});
  const Result result = run(recipe, {.out = out("student")});
  EXPECT_LT(result.history.back().loss, 0.5 * result.history.front().loss);
}

TEST_F(Distilled, ATeacherMayBeFixedToABatch) {
  GraphBuilder b("teacher", 1);
  const ValueId x = b.conv("conv", b.input("x", {1, 3, 16, 16}), 4, {16, 16}, {});
  b.output(b.gemm(
      "fc", b.node("view", Reshape{}, {x, b.constant("shape", Tensor::of({2}, std::vector<int64_t>{1, 4}))}), 10));
  save(std::move(b).finish(), out("teacher.onnx"));
  const std::string path = "distill.teacher=" + out("teacher.onnx").string();
  EXPECT_FALSE(run(small({path.c_str(), "train.epochs=1"}), {.out = out("a")}).interrupted);
  const auto [kind, text] = failure(small({path.c_str(), "model.height=12", "model.width=12"}), {.out = out("b")});
  EXPECT_EQ(kind, ErrorKind::usage);
  expect_contains(text, "its input is 1x3x16x16");
}

TEST_F(Distilled, TeachersThatDoNotFitAreRefused) {
  run(small({"train.epochs=1", "model.height=12", "model.width=12"}), {.out = out("teacher")});
  const std::string path = "distill.teacher=" + (out("teacher") / "model.safetensors").string();
  const auto [kind, text] = failure(small({path.c_str()}), {.out = out("a")});
  EXPECT_EQ(kind, ErrorKind::usage);
  expect_contains(text, "another size");
  EXPECT_EQ(failure(small({"distill.teacher=/nowhere.onnx"}), {.out = out("a")}).first, ErrorKind::io);
}

}  // namespace
}  // namespace reducenet::train
