#include "formats/header/header.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "formats/header/bytes_test.h"
#include "formats/header/text.h"
#include "formats/testing.h"
#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/data.h"
#include "reducenet/formats.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "runtime/test_graphs.h"

namespace reducenet {
namespace {

using Kind = Activation::Kind;

/// A model, and its input and the runtime's output for it.
struct Case {
  std::string name;
  Graph graph;
  DType dtype = DType::f32;  // of the plan that it is compared with
};

Graph with_fades_at(Graph graph, double lambda) {
  for (Node& node : graph.nodes) {
    if (auto* fade = std::get_if<Fade>(&node.op)) fade->lambda = lambda;
  }
  return graph;
}

/// Strides, dilations, asymmetric padding, one-pixel images, groups whose channels do not fill blocks.
Graph odd_convolutions() {
  GraphBuilder b("odd convolutions", 3);
  ValueId x = b.input("x", {-1, 5, 13, 9});
  const auto conv = [&](ValueId from, int64_t outputs, Size2 kernel, Conv2d op) {
    return b.conv(b.graph().unique_name("conv"), from, outputs, kernel, op, true);
  };
  x = conv(x, 37, {3, 4}, {.stride = {1, 2}, .padding = {2, 3, 1, 1}});
  x = b.activation("leaky", x, {Kind::leaky_relu, 0.2});
  const ValueId grouped = conv(x, 37, {1, 1}, {});
  x = conv(grouped, 30, {3, 3}, {.padding = {2, 2, 2, 2}, .dilation = {2, 2}});
  x = conv(x, 45, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 15});
  x = conv(x, 45, {5, 3}, {.stride = {2, 1}, .padding = {2, 1, 2, 1}, .groups = 45});
  const ValueId same = b.add("add", conv(x, 45, {1, 3}, {.padding = {0, 1, 0, 1}}), x);
  x = b.activation("relu6", same, activation_named("relu6"));
  x = conv(x, 20, {7, 5}, {});
  b.output(x);
  return std::move(b).finish();
}

/// Everything but convolutions.
Graph other_ops() {
  GraphBuilder b("other ops", 5);
  const ValueId image = b.input("image", {1, 3, 12, 10});
  ValueId x = b.conv("stem", image, 20, {3, 3}, {.stride = {2, 1}, .padding = {1, 1, 1, 1}}, true);
  x = b.node("prelu", PRelu{}, {x, b.constant("slope", Tensor::filled({20, 1, 1}, 0.3))});
  const ValueId most = b.node("max", MaxPool{{3, 2}, {1, 2}, {1, 0, 1, 0}, {1, 1}, true}, {x});
  const ValueId mean = b.node("mean", AveragePool{{2, 3}, {1, 2}, {1, 1, 0, 0}, false, true}, {x});
  x = b.node("joined", Concat{1},
             {most, b.node("mirrored", Pad{Pad::Mode::reflect, {0, 0, 0, 1}, {0, 0, 0, -1}}, {mean}),
              b.node("edge", Pad{Pad::Mode::edge, {0, 0, 1, 0}, {0, 0, -1, 0}}, {most})});
  for (int kind = 0; kind <= static_cast<int>(Kind::clip); ++kind) {
    Activation activation = activation_named(name_of(static_cast<Kind>(kind)));
    if (activation.kind == Kind::clip) activation = {Kind::clip, -0.5, 1.0 / 3};
    const ValueId bent = b.activation("activation." + std::to_string(kind), x, activation);
    x = b.node("sum." + std::to_string(kind), Binary{kind % 2 ? Binary::Kind::add : Binary::Kind::max}, {x, bent});
  }
  x = b.fade("fading", x, activation_named("gelu"));
  x = b.node("tanh", Activation{Kind::tanh}, {x});
  for (const auto kind : {Unary::Kind::neg, Unary::Kind::abs, Unary::Kind::exp, Unary::Kind::log, Unary::Kind::sin,
                          Unary::Kind::cos, Unary::Kind::erf, Unary::Kind::sign, Unary::Kind::reciprocal}) {
    x = b.node("unary." + std::to_string(static_cast<int>(kind)), Unary{kind}, {x});
    x = b.node("shifted." + std::to_string(static_cast<int>(kind)), Binary{Binary::Kind::add},
               {x, b.constant("c." + std::to_string(static_cast<int>(kind)), Tensor::filled({1, 1, 6, 5}, 0.75))});
  }
  const ValueId deconv = b.constant("deconv.weight", Tensor::filled({60, 3, 2, 3}, 0.05));
  ValueId up = b.node("deconv", ConvTranspose2d{.stride = {2, 1}, .padding = {0, 1, 1, 0}, .groups = 2}, {x, deconv});
  up = b.activation("up.relu", up, activation_named("relu"));
  const ValueId turned = b.node("turned", Transpose{{0, 2, 3, 1}}, {x});
  const ValueId rows =
      b.node("rows", Reshape{}, {turned, b.constant("shape", Tensor::of({2}, std::vector<int64_t>{30, 60}))});
  b.output(b.node("log", Softmax{-1, true}, {b.gemm("fc", rows, 7)}));
  b.output(b.node("channels", Softmax{1}, {up}));
  b.output(b.node("pooled", Flatten{}, {b.node("gap", GlobalAveragePool{}, {x})}));
  b.output(b.node("side", Concat{0}, {rows, rows}));
  const auto resized = [&](const char* name, Resize op, std::vector<float> scales) {
    const ValueId none = b.constant(std::string(name) + ".roi", Tensor::of({0}, std::vector<float>{}));
    b.output(b.node(name, op, {most, none, b.constant(std::string(name) + ".scales", Tensor::of({4}, scales))}));
  };
  resized("nearest", {.rounding = Resize::Rounding::floor}, {1, 1, 2, 1.5});
  resized("linear", {.mode = Resize::Mode::linear, .coordinates = Resize::Coordinates::align_corners},
          {1, 1, 2.5, 0.6F});
  resized("cubic", {.mode = Resize::Mode::cubic, .exclude_outside = true}, {1, 1, 0.5, 3});
  const auto normed = [&](const std::string& name, Normalize op, ValueId from, int64_t parameters) {
    std::mt19937_64 random(3);
    const ValueId scale = b.constant(name + ".scale", testing::random_tensor({parameters}, random));
    b.output(b.node(name, op, {from, scale, b.constant(name + ".bias", testing::random_tensor({parameters}, random))}));
  };
  normed("layer norm", {.epsilon = 1e-6}, turned, 60);
  normed("instance norm", {.kind = Normalize::Kind::instance}, x, 60);
  normed("group norm", {.kind = Normalize::Kind::group, .groups = 4}, x, 60);
  b.output(image);
  return std::move(b).finish();
}

/// What a transformer adds: products of two inputs that broadcast, and elements that only move.
Graph transformer_ops() {
  GraphBuilder b("transformer ops", 7);
  const auto ints = [&](const std::string& name, std::vector<int64_t> values) {
    return b.constant(name, Tensor::of({std::ssize(values)}, values));
  };
  const ValueId x = b.input("x", {1, 4, 6, 10});
  const ValueId turned = b.node("turned", Transpose{{0, 1, 3, 2}}, {x});
  const ValueId scores = b.node("scores", MatMul{}, {x, turned});
  b.output(b.node("mixed", MatMul{}, {b.node("softmax", Softmax{-1}, {scores}), x}));
  const ValueId head = b.node("head", Gather{1}, {x, ints("second", {2})});
  b.output(b.node("shared", MatMul{}, {scores, head}));
  const ValueId one = b.node("one", Squeeze{}, {head, ints("axes", {0, 1})});
  b.output(b.node("plain", MatMul{}, {turned, one}));
  const ValueId steps = b.node(
      "steps", Slice{}, {x, ints("from", {-1, 1}), ints("to", {-100, 9}), ints("along", {2, 3}), ints("by", {-2, 3})});
  b.output(steps);
  b.output(b.node("twice", Repeat{Repeat::Kind::tile}, {steps, ints("times", {1, 1, 2, 1})}));
  b.output(b.node("padded", Pad{Pad::Mode::constant, {0, 1, 0, 2}, {0, 0, -1, 0}, 0.5}, {x}));
  const ValueId mask =
      b.constant("mask", Tensor::from_doubles({6, 1}, std::vector<double>{1, 0, 0, 1, 1, 0}, DType::boolean));
  b.output(b.node("masked", Where{}, {mask, b.constant("minus", Tensor::filled({}, -7)), x}));
  const ValueId first = b.node("row", Gather{0}, {one, ints("rows", {3, 0})});
  b.output(first);
  return std::move(b).finish();
}

/// PReLUs with a slope of its own for each channel, of either sign, behind every kind of layer.
Graph slopes_everywhere(bool residual) {
  GraphBuilder b("slopes", 6);
  std::mt19937_64 random(8);
  const auto bent = [&](ValueId x) {
    Shape shape(b.graph()[x].shape->size() - 1, 1);
    shape[0] = b.channels(x);
    const ValueId slope = b.constant(b.graph().unique_name("slope"), testing::random_tensor(shape, random));
    return b.node(b.graph().unique_name("prelu"), PRelu{}, {x, slope});
  };
  ValueId x = bent(b.conv("stem", b.input("x", {-1, 3, 12, 10}), 37, {3, 3}, {.padding = {1, 1, 1, 1}}, true));
  x = bent(b.conv("depthwise", x, 37, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 37}, true));
  const ValueId pointwise = b.conv("pointwise", x, 37, {1, 1}, {}, true);
  x = bent(residual ? b.add("sum", pointwise, x) : pointwise);
  x = bent(b.conv("strided", x, 30, {3, 3}, {.stride = {2, 1}}, true));
  x = bent(b.conv("grouped", x, 20, {3, 3}, {.groups = 5}, true));
  const ValueId weight = b.constant("deconv.weight", testing::random_tensor({20, 9, 2, 3}, random));
  x = bent(b.node("deconv", ConvTranspose2d{.stride = {2, 1}, .padding = {0, 1, 1, 0}, .groups = 2}, {x, weight}));
  b.output(bent(b.gemm("fc", b.node("flat", Flatten{}, {x}), 23)));
  return std::move(b).finish();
}

Graph with_bf16_weights(Graph graph) {
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<Conv2d>(node.op)) continue;
    Value& weight = graph[node.inputs[1]];
    weight.constant = weight.constant->cast(DType::bf16);
    weight.dtype = DType::bf16;
  }
  return graph;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* arch : {"plain11", "reduce20", "resnet20", "gen2"}) {
    all.push_back({arch, build(arch, {.branches = {"1x1"}})});
  }
  all.push_back({"shallow", collapse(with_fades_at(build("reduce20", {}), 0)).graph});
  all.push_back(
      {"one",
       collapse(with_fades_at(build("article20", {.height = 12, .width = 12}), 0), {.target = Target::single}).graph});
  all.push_back({"odd", build("plain11", {.widths = {5, 19, 33}, .head = "flatten", .height = 21, .width = 13})});
  all.push_back({"softmax", build("phase-softmax", {})});
  all.push_back({"convolutions", odd_convolutions()});
  all.push_back({"slopes", slopes_everywhere(true)});
  all.push_back({"others", other_ops()});
  all.push_back({"transformer", transformer_ops()});
  all.push_back({"halves", with_bf16_weights(collapse(build("plain11", {.widths = {4, 8, 20}})).graph)});
  for (const char* arch : {"plain11", "resnet20", "slopes"}) {
    Graph bytes =
        arch == std::string("slopes") ? slopes_everywhere(false) : collapse(build(arch, {.widths = {4, 8, 20}})).graph;
    Shape image = *bytes[bytes.inputs[0]].shape;
    image[0] = 1;
    std::mt19937_64 random(13);
    std::vector<std::vector<float>> batches;
    for (int i = 0; i < 4; ++i) batches.push_back(testing::random_tensor(image, random).to_floats());
    set_quantization(bytes, calibrate(bytes, batches, 1));
    all.push_back({std::string("bytes_") + arch, testing::with_bytes_as_outputs(bytes), DType::i8});
  }
  return all;
}

void write(const std::filesystem::path& path, const std::vector<float>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}
std::vector<float> read(const std::filesystem::path& path) {
  std::vector<float> values(std::filesystem::file_size(path) / sizeof(float));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

/// Whether the program can be run here.
bool available(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null").c_str()) == 0;
}

class Header : public ::testing::TestWithParam<const char*> {};

/// All headers in one program: they must not meet. Its outputs are the runtime's, within what float32 does; in 8 bits
/// each layer of either is what the oracle makes of the bytes before it.
TEST_P(Header, ComputesWhatTheRuntimeComputes) {
  const std::string compiler = std::string(GetParam()).substr(0, std::string(GetParam()).find(' '));
  if (!available(compiler)) GTEST_SKIP() << compiler << " is not installed";
  const std::string suite = ::testing::UnitTest::GetInstance()->current_test_info()->test_suite_name();
  if (suite.starts_with("Full") && !std::getenv("REDUCENET_FULL")) GTEST_SKIP() << "only in the full run";
  const TestFolder folder;
  std::string source = "#include <cstdio>\n#include <cstdlib>\n", calls;
  std::map<std::string, std::pair<std::vector<float>, std::vector<double>>> expected;  // output and tolerance
  std::map<std::string, std::pair<Graph, Tensor>> in_bytes;                            // and the image
  std::mt19937_64 random(11);
  for (const Case& c : cases()) {
    save(c.graph, folder / (c.name + ".hpp"));
    Graph graph = c.graph;
    set_batch(graph, 1);
    std::vector<Tensor> inputs = testing::random_inputs(graph, random);
    const auto scales = quantization(graph);
    if (c.dtype == DType::i8) inputs[0] = testing::in_bytes(scales->at(graph[graph.inputs[0]].name), inputs[0]);
    const std::vector<float> input = testing::concatenated(inputs);
    write(folder / (c.name + ".input"), input);
    const Plan plan(graph, {.dtype = c.dtype, .narrow_everywhere = true});
    std::vector<float> output(static_cast<size_t>(plan.output_size()));
    plan.run(input, output);
    if (c.dtype == DType::i8) {
      testing::expect_bytes(graph, inputs[0], output, c.name + " in the runtime,");
      in_bytes.emplace(c.name, std::pair(graph, inputs[0]));
    }
    // As plan_test: 4 times what the network rounded to float after every operation is off, plus 1e-5 relative.
    const std::vector<Tensor> exact = evaluate(graph, inputs),
                              rounded = evaluate(graph, inputs, {.round_to_f32 = true});
    std::vector<double> tolerance;
    for (size_t i = 0; i < exact.size(); ++i) {
      const std::vector<double> a = exact[i].to_doubles(), b = rounded[i].to_doubles();
      double off = 0, largest = 0;
      for (size_t k = 0; k < a.size(); ++k) {
        off = std::max(off, std::abs(b[k] - a[k]));
        largest = std::max(largest, std::abs(a[k]));
      }
      // Twice, for the runtime has one as well.
      tolerance.insert(tolerance.end(), a.size(), 2 * (4 * off + 1e-5 * largest));
    }
    expected[c.name] = {output, tolerance};
    source += "#include \"" + c.name + ".hpp\"\n";
    calls += "  { static float x[" + c.name + "::input_size], y[" + c.name + "::output_size], z[" + c.name +
             "::output_size];\n    std::FILE* f = std::fopen(\"" + c.name +
             ".input\", \"rb\"); if (std::fread(x, 4, sizeof x / 4, f) != sizeof x / 4) return 1; std::fclose(f);\n"
             "    " +
             c.name + "::run(x, z);\n    " + c.name + "::run(x, y);\n    f = std::fopen(\"" + c.name +
             ".output\", \"wb\"); std::fwrite(y, 4, sizeof y / 4, f); std::fclose(f);\n"
             "    for (std::size_t i = 0; i < sizeof y / 4; ++i) if (!(y[i] == z[i])) return 2; }\n";
  }
  std::ofstream(folder / "main.cc") << source << "int main() {\n" << calls << "}\n";
  const std::string in = "cd " + folder.path().string() + " && ";
  ASSERT_EQ(std::system((in + GetParam() + " -std=c++17 -Wall -Wextra -Werror -pedantic main.cc -o main").c_str()), 0);
  ASSERT_EQ(std::system((in + "./main").c_str()), 0) << "1: cannot read its input, 2: a second run differs";
  for (const auto& [name, want] : expected) {
    const std::vector<float> got = read(folder / (name + ".output"));
    ASSERT_EQ(got.size(), want.first.size()) << name;
    if (const auto found = in_bytes.find(name); found != in_bytes.end()) {
      testing::expect_bytes(found->second.first, found->second.second, got, name);
      continue;
    }
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want.first[i], want.second[i]) << name << " " << i;
  }
}

// The long ones only in the full run: every one compiles all headers.
INSTANTIATE_TEST_SUITE_P(Compilers, Header, ::testing::Values("g++ -O1", "g++ -O1 -march=native", "clang++ -O1"));
INSTANTIATE_TEST_SUITE_P(Full, Header,
                         ::testing::Values("g++ -O3 -march=native", "g++ -O2 -mavx2 -mfma", "clang++ -O2 -march=native",
                                           "g++ -O1 -fno-exceptions -fno-rtti -fsanitize=address,undefined"));

TEST(HeaderText, CarriesClassNamesAndPreprocessing) {
  Graph graph = build("plain11", {.widths = {4}});
  const std::vector<double> mean{0.5, 0.25, 0.1}, deviation{0.5, 0.2, 0.25};
  Preprocessing{.height = 32, .width = 32, .channels = 3, .mean = mean, .std = deviation}.to_metadata(graph.metadata);
  set_class_names(graph.metadata, {"cat", "\"dog\"", "caf\xc3\xa9"});
  const std::string text = to_header(graph, "my-net.v2");
  for (const char* part :
       {"namespace my_net_v2 {", "\"cat\",", "\"\\042dog\\042\"", "caf\\303\\251", "image_height = 32",
        "mean[] = {0.5f, 0.25f, 0.1f}, deviation[] = {0.5f, 0.2f, 0.25f}", "channel_order[] = \"RGB\""}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
}

TEST(HeaderText, NarrowWeightsAreSmall) {
  Graph graph = collapse(build("plain11", {})).graph;
  const size_t floats = to_header(graph, "net").size();
  graph = with_bf16_weights(graph);
  const size_t halves = to_header(graph, "net").size();
  set_quantization(graph, calibrate(graph, std::vector<std::vector<float>>{std::vector<float>(3072, 0.5f)}, 1));
  const size_t bytes = to_header(graph, "net").size();
  const double text_of_weights = 5.0 / 4 * 4 * static_cast<double>(count_parameters(graph));
  EXPECT_NEAR(static_cast<double>(floats - halves), text_of_weights / 2, text_of_weights / 20);
  EXPECT_NEAR(static_cast<double>(floats - bytes), text_of_weights * 3 / 4, text_of_weights / 10);
}

TEST(HeaderText, NamesWhatItCannotRun) {
  const TestFolder folder;
  GraphBuilder b("products", 1);
  const ValueId x = b.input("x", {2, 2});
  b.output(b.node("square", Gemm{}, {x, x}));
  const Graph graph = std::move(b).finish();
  expect_error(ErrorKind::unsupported, {"m.hpp", "'square'"}, [&] { save(graph, folder / "m.hpp"); });
  EXPECT_FALSE(std::filesystem::exists(folder / "m.hpp"));
}

TEST(HeaderText, IdentifiersAreOnes) {
  EXPECT_EQ(header::identifier("net"), "net");
  EXPECT_EQ(header::identifier("3x3 net"), "model_3x3_net");
  EXPECT_EQ(header::identifier("a--b"), "a_b");
  EXPECT_EQ(header::identifier("__"), "model");
  EXPECT_EQ(header::identifier("class"), "class_");
}

TEST(HeaderText, LiteralsStayWithinWhatCompilersMustTake) {
  std::vector<std::byte> bytes(header::kRowBytes + 1, std::byte{0x5a});
  const header::Literals literals = header::as_literals(bytes);
  EXPECT_EQ(literals.rows, 2u);
  EXPECT_EQ(std::ranges::count_if(literals.text, [](char c) { return c == '?' || c == '\\'; }), 0);
  EXPECT_LT(header::kRowCharacters, 65536u);
}

}  // namespace
}  // namespace reducenet
