#include <map>
#include <numeric>

#include "formats/onnx/testing.h"

namespace reducenet {
namespace {

TEST(OnnxComposed, ReadsABatchNormOfAKernelByItsOwnStatisticsAsInstanceNormalization) {
  const auto norm = [](const std::string& input, const std::string& batch, const std::string& output) {
    std::string constants =
        "initializer { data_type: 1 name: 'w' dims: " + batch + " dims: 3 dims: 1 float_data: [1, 2, 3";
    constants += std::string(batch == "2" ? ", 4, 5, 6" : "") + "] } ";
    for (const char* name : {"a", "b", "c", "d"}) {
      constants += "initializer { dims: 3 data_type: 1 name: '" + std::string(name) + "' float_data: [1, 2, 3] } ";
    }
    const std::vector<std::string> dims{batch, "3", "1"};
    return read(model_of("input " + info("x", dims) + "output " + info(output, dims) + constants + "node { input: ['" +
                             input +
                             "', 'a', 'b', 'c', 'd'] output: ['y', 'm', 'v'] name: 'norm' op_type: "
                             "'BatchNormalization' attribute { name: 'training_mode' type: INT i: 1 } "
                             "attribute { name: 'epsilon' type: FLOAT f: 0.25 } }",
                         "ir_version: 8 opset_import { version: 17 }"));
  };
  const Graph graph = norm("w", "1", "y");
  EXPECT_TRUE(graph.nodes[0].op == Op(Normalize{.kind = Normalize::Kind::instance, .epsilon = 0.25}))
      << describe(graph.nodes[0].op);
  EXPECT_EQ(graph.nodes[0].inputs.size(), 3u);
  for (const Graph& kept : {norm("x", "1", "y"), norm("w", "2", "y"), norm("w", "1", "m")}) {
    const auto* const opaque = std::get_if<Opaque>(&kept.nodes[0].op);
    ASSERT_NE(opaque, nullptr) << describe(kept.nodes[0].op);
    EXPECT_NE(opaque->why.find("model.eval()"), std::string::npos) << opaque->why;
  }
}

/// What the one node makes of 0, 1, 2, … in an input of `shape`; `attributes` and an int64 constant `c` of `dims`.
Tensor made_of_counting(const std::string& type, const Shape& shape, const std::string& dims, const std::string& c,
                        const std::string& attributes = "") {
  std::vector<std::string> sizes;
  for (const int64_t size : shape) sizes.push_back(std::to_string(size));
  const Graph graph =
      read(model_of("input " + info("x", sizes) + "output { name: 'y' type { tensor_type { elem_type: 1 } } } " +
                        "initializer { " + dims + " data_type: 7 name: 'c' int64_data: [" + c + "] } " +
                        "node { input: ['x', 'c'] output: 'y' name: 'n' op_type: '" + type + "' " + attributes + "}",
                    "ir_version: 8 opset_import { version: 17 }"));
  std::vector<float> x(static_cast<size_t>(element_count(shape)));
  std::iota(x.begin(), x.end(), 0.0f);
  const Tensor counting = Tensor::of(shape, x);
  const Tensor made = evaluate(graph, std::span(&counting, 1))[0];
  EXPECT_EQ(evaluate(round_trip(graph), std::span(&counting, 1))[0], made) << type;
  return made;
}

TEST(OnnxComposed, ReadsCumSumAsAProductWithATriangle) {
  const auto sums = [](const char* axis, const std::string& flags = "") {
    return made_of_counting("CumSum", {2, 3}, "", axis, flags).to_doubles();
  };
  const std::string exclusive = "attribute { name: 'exclusive' type: INT i: 1 } ";
  const std::string reverse = "attribute { name: 'reverse' type: INT i: 1 } ";
  EXPECT_EQ(sums("1"), (std::vector<double>{0, 1, 3, 3, 7, 12}));
  EXPECT_EQ(sums("-2"), (std::vector<double>{0, 1, 2, 3, 5, 7}));
  EXPECT_EQ(sums("1", exclusive), (std::vector<double>{0, 0, 1, 0, 3, 7}));
  EXPECT_EQ(sums("1", reverse), (std::vector<double>{3, 3, 2, 12, 9, 5}));
  EXPECT_EQ(sums("0", exclusive + reverse), (std::vector<double>{3, 4, 5, 0, 0, 0}));
}

TEST(OnnxComposed, ReadsGatherNDAsAGatherFromJoinedAxes) {
  const auto gathered = [](const std::string& dims, const std::string& places) {
    return made_of_counting("GatherND", {2, 3, 2}, dims, places);
  };
  const Tensor rows = gathered("dims: 2 dims: 2", "1, 0, -2, -1");
  EXPECT_EQ(rows.shape(), (Shape{2, 2}));
  EXPECT_EQ(rows.to_doubles(), (std::vector<double>{6, 7, 4, 5}));
  EXPECT_EQ(gathered("dims: 1 dims: 3", "1, 2, 1").to_doubles(), std::vector<double>{11});
  EXPECT_EQ(gathered("dims: 1 dims: 1", "1").shape(), (Shape{1, 3, 2}));
  EXPECT_THROW(gathered("dims: 1 dims: 2", "0, 3"), Error);
}

TEST(OnnxComposed, GatherNDLeavesABatchBehindThePlacesOpen) {
  for (const char* batch : {"1", "3", "-1"}) {
    const Graph graph =
        read(model_of("input " + info("x", {"4", batch, "2"}) + "output " + info("y", {"2", batch, "2"}) +
                          "initializer { dims: 2 dims: 1 data_type: 7 name: 'c' int64_data: [3, 0] } "
                          "node { input: ['x', 'c'] output: 'y' name: 'n' op_type: 'GatherND' }",
                      "ir_version: 8 opset_import { version: 17 }"));
    EXPECT_EQ(graph.constant(graph.nodes[0].inputs[1])->to_ints(), (std::vector<int64_t>{4, -1, 2})) << batch;
  }
}

TEST(OnnxComposed, ReadsRMSNormalizationAsSeveralOps) {
  const Graph graph = read(model_of("input " + info("x", {"1", "2"}) + "output " + info("y", {"1", "2"}) +
                                        "initializer { dims: 2 data_type: 1 name: 's' float_data: [2, 1] } "
                                        "node { input: ['x', 's'] output: 'y' name: 'n' op_type: 'RMSNormalization' "
                                        "attribute { name: 'epsilon' type: FLOAT f: 3.5 } }",
                                    "ir_version: 10 opset_import { version: 23 }"));
  const Tensor x = Tensor::of({1, 2}, std::vector<float>{3, 4});
  EXPECT_EQ(evaluate(graph, std::span(&x, 1))[0].to_doubles(), (std::vector<double>{1.5, 1}));  // 12.5 + 3.5 = 4²
  EXPECT_EQ(evaluate(round_trip(graph), std::span(&x, 1))[0].to_doubles(), (std::vector<double>{1.5, 1}));
}

TEST(OnnxComposed, ReadsAttentionAsSeveralOpsOrSaysWhyNot) {
  // One query; keys 0 and ln 3, so that the weights are a quarter and three.
  const auto attention = [](const std::string& rest, const std::string& more_inputs = "") {
    return read(model_of("input " + info("x", {"1", "1", "1", "1"}) + "output " + info("y", {"1", "1", "1", "2"}) +
                             "initializer { dims: [1, 1, 2, 1] data_type: 1 name: 'k' float_data: [0, 1.0986123] } "
                             "initializer { dims: [1, 1, 2, 2] data_type: 1 name: 'v' float_data: [4, 0, 0, 8] } "
                             "initializer { dims: [1, 2] data_type: 1 name: 'm' float_data: [1.0986123, 0] } "
                             "node { input: ['x', 'k', 'v'" +
                             more_inputs + "] output: 'y' name: 'n' op_type: 'Attention' " + rest + "}",
                         "ir_version: 10 opset_import { version: 23 }"));
  };
  const auto answers = [](const Graph& graph, float query) {
    const Tensor x = Tensor::of({1, 1, 1, 1}, std::vector<float>{query});
    return evaluate(graph, std::span(&x, 1))[0].to_doubles();
  };
  const auto expect_near = [](const std::vector<double>& a, double first, double second) {
    EXPECT_NEAR(a.at(0), first, 1e-6);
    EXPECT_NEAR(a.at(1), second, 1e-6);
  };
  expect_near(answers(attention(""), 1), 1, 6);
  expect_near(answers(round_trip(attention("")), 1), 1, 6);
  expect_near(answers(attention("attribute { name: 'scale' type: FLOAT f: 0.5 }"), 2), 1, 6);
  expect_near(answers(attention("", ", 'm'"), 1), 2, 4);
  for (const char* rest :
       {"attribute { name: 'is_causal' type: INT i: 1 }", "attribute { name: 'softcap' type: FLOAT f: 1 }"}) {
    EXPECT_TRUE(std::holds_alternative<Opaque>(attention(rest).nodes.back().op)) << rest;
  }
}

/// Of x = 0, 1, 2, … and w = 1, 2, 3, …, summed by hand over every label that the output lacks.
void expect_einsum(const std::string& left, const std::string& right, const std::string& out, const Shape& x_shape,
                   const Shape& w_shape) {
  SCOPED_TRACE(left + "," + right + "->" + out);
  std::map<char, int64_t> sizes;
  for (size_t i = 0; i < left.size(); ++i) sizes[left[i]] = x_shape[i];
  for (size_t i = 0; i < right.size(); ++i) sizes[right[i]] = w_shape[i];
  std::map<char, int64_t> at;
  const auto place = [&](const std::string& labels) {
    int64_t index = 0;
    for (const char label : labels) index = index * sizes[label] + at[label];
    return index;
  };
  int64_t results = 1, all = 1;
  for (const char label : out) results *= sizes[label];
  for (const auto& [label, size] : sizes) all *= size;
  std::vector<double> wanted(static_cast<size_t>(results));
  for (int64_t step = 0; step < all; ++step) {
    int64_t rest = step;
    for (const auto& [label, size] : sizes) at[label] = rest % size, rest /= size;
    const auto product = static_cast<double>(place(left) * (right.empty() ? 1 : place(right) + 1));
    wanted[static_cast<size_t>(place(out))] += product;
  }
  std::vector<std::string> dims;
  for (const int64_t size : x_shape) dims.push_back(std::to_string(size));
  std::string weights;
  for (const int64_t size : w_shape) weights += " dims: " + std::to_string(size);
  for (int64_t i = 0; i < element_count(w_shape); ++i) weights += " float_data: " + std::to_string(i + 1);
  const std::string equation = left + (right.empty() ? "" : ", " + right) + " -> " + out;
  const Graph graph = read(
      model_of("input " + info("x", dims) +
                   "output { name: 'y' type { tensor_type { elem_type: 1 } } } initializer { data_type: 1 name: 'w'" +
                   weights + " } node { input: ['x'" + (right.empty() ? "" : ", 'w'") +
                   "] output: 'y' name: 'n' op_type: 'Einsum' attribute { name: 'equation' type: STRING s: '" +
                   equation + "' } }",
               "ir_version: 8 opset_import { version: 17 }"));
  std::vector<float> numbers(static_cast<size_t>(element_count(x_shape)));
  std::iota(numbers.begin(), numbers.end(), 0.0f);
  const Tensor x = Tensor::of(x_shape, numbers);
  EXPECT_EQ(evaluate(graph, std::span(&x, 1))[0].to_doubles(), wanted);
  EXPECT_EQ(evaluate(round_trip(graph), std::span(&x, 1))[0].to_doubles(), wanted);
}

TEST(OnnxComposed, ReadsEinsumAsAProductOfMatrices) {
  expect_einsum("ij", "jk", "ik", {2, 3}, {3, 4});
  expect_einsum("ij", "kj", "ki", {2, 3}, {4, 3});
  expect_einsum("bid", "bjd", "bij", {2, 3, 2}, {2, 4, 2});
  expect_einsum("bhwc", "hkc", "bhwk", {2, 2, 3, 2}, {2, 4, 2});
  expect_einsum("nctv", "vw", "nctw", {1, 2, 2, 3}, {3, 2});
  expect_einsum("nckv", "kvw", "ncw", {1, 2, 2, 3}, {2, 3, 2});
  expect_einsum("bij", "bij", "b", {2, 2, 3}, {2, 2, 3});
  expect_einsum("i", "j", "ji", {3}, {2});
  expect_einsum("bij", "", "jb", {2, 2, 3}, {});
  expect_einsum("bij", "", "ibj", {2, 2, 3}, {});
}

}  // namespace
}  // namespace reducenet
