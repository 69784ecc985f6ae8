#include <gtest/gtest.h>

#include <filesystem>

#include "collapse/testing.h"
#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

// VanillaNet's series activation as ONNX: an activation, and a depthwise convolution of it.
TEST(OnnxSeriesActivation, IsTheSameNetworkWhenItComesBack) {
  const auto path = std::filesystem::temp_directory_path() / ("series-" + std::to_string(getpid()) + ".onnx");
  for (const char* name : {"vanillanet5", "vanillanet-cifar5"}) {
    const Graph trained =
        testing::as_trained(build(name, {.widths = {2, 3, 4, 5}, .height = 32, .width = 32, .seed = 3}));
    for (const Graph& graph : {settle(trained), collapse(trained).graph}) {
      save(graph, path);
      const Graph back = load(path);
      EXPECT_LT(testing::relative_error(graph, back, 1), 1e-6) << name;
      int64_t series = 0;
      const Uses uses(back);
      for (const Node& node : back.nodes) {
        const auto* conv = std::get_if<Conv2d>(&node.op);
        if (conv == nullptr || conv->groups == 1) continue;
        EXPECT_EQ(conv->padding, (Padding{3, 3, 3, 3}));
        EXPECT_TRUE(std::holds_alternative<Activation>(back[uses.producer_of(node.inputs[0])].op));
        ++series;
      }
      EXPECT_EQ(series, 1 + 3) << name;
    }
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace reducenet
