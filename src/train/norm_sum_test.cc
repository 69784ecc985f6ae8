#include "train/norm_sum.h"

#include <gtest/gtest.h>

#include "reducenet/builder.h"

namespace reducenet::train {
namespace {

constexpr Activation relu{Activation::Kind::relu};

/// One line a step: its node, and for a sum [branches + residuals | activation].
std::string text(const Graph& graph, const std::vector<Step>& steps) {
  std::string lines;
  for (const Step& step : steps) {
    lines += graph[step.node].name;
    if (!step.branches.empty()) {
      lines += " [";
      for (const NodeId id : step.branches) lines += graph[id].name + " ";
      lines += "+";
      for (const ValueId id : step.residuals) lines += " " + graph[id].name;
      lines += step.activation ? " | " + graph[step.activation].name + "]" : "]";
    }
    lines += "\n";
  }
  return lines;
}

TEST(FusedSteps, TakeAWholeSum) {
  GraphBuilder b("g");
  const ValueId x = b.input("x", {-1, 4, 8, 8});
  const ValueId inner = b.fade("fade", b.batch_norm("bn1", x), relu);
  const ValueId left = b.batch_norm("bn2", inner), right = b.batch_norm("bn3", x);
  b.output(b.activation("relu", b.add("add2", b.add("add1", left, right), x), relu));
  const Graph graph = std::move(b).finish();
  EXPECT_EQ(text(graph, fused_steps(graph)), "fade [bn1 + | fade]\nrelu [bn2 bn3 + x | relu]\n");
}

TEST(FusedSteps, LeaveWhatOthersRead) {
  GraphBuilder b("g");
  const ValueId x = b.input("x", {-1, 4, 8, 8});
  const ValueId norm = b.batch_norm("bn", x);
  b.output(b.add("add", b.activation("relu", norm, relu), norm));
  const Graph graph = std::move(b).finish();
  EXPECT_EQ(text(graph, fused_steps(graph)), "bn [bn +]\nrelu\nadd\n");
}

TEST(FusedSteps, LeaveOtherActivationsAndBroadcasts) {
  GraphBuilder b("g");
  const ValueId x = b.input("x", {-1, 4, 8, 8});
  const ValueId y = b.activation("gelu", b.batch_norm("bn1", x), {Activation::Kind::gelu});
  const ValueId bias = b.constant("bias", Tensor::filled({4, 1, 1}, 1));
  b.output(b.activation("relu", b.add("add", b.batch_norm("bn2", y), bias), relu));
  const Graph graph = std::move(b).finish();
  EXPECT_EQ(text(graph, fused_steps(graph)), "bn1 [bn1 +]\ngelu\nbn2 [bn2 +]\nadd\nrelu\n");
}

}  // namespace
}  // namespace reducenet::train
