#include "formats/native.h"

#include <limits>
#include <random>

#include "formats/base64.h"
#include "formats/testing.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

Graph small_graph() {
  GraphBuilder b("small", 1);
  const ValueId x = b.input("x", {-1, 3, 8, 8});
  b.output(b.activation("relu", b.conv("conv", x, 4, {3, 3}, {.padding = {1, 1, 1, 1}}), activation_named("relu")));
  return std::move(b).finish();
}

/// The graph's JSON in the metadata with one piece of text replaced.
NamedTensors edited(const Graph& graph, const std::string& from, const std::string& to) {
  NamedTensors content = to_native(graph);
  std::string& text = content.metadata.at("reducenet.graph");
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << " is not in " << text;
  text.replace(at, from.size(), to);
  return content;
}

TEST(Native, RoundTripsEveryOp) {
  const TestFolder folder;
  const Graph graph = graph_of_every_op();
  save_native(graph, folder / "a.safetensors");
  expect_equal(load_native(folder / "a.safetensors"), graph);
  expect_equal(from_native(to_native(graph_of_index_ops(21)), "m"), graph_of_index_ops(21));
}

TEST(Native, KeepsWhatOnlySomeModelsHave) {
  Graph graph = small_graph();
  graph.opset = 13;
  graph.metadata = {{"names", "{}"}, {"reducenet.recipe", "epochs = 1"}};
  graph[graph.inputs[0]].dim_names = {"batch", "", "", ""};
  graph.nodes[0].doc = "the first";
  const double infinity = std::numeric_limits<double>::infinity();
  graph.nodes[1].op = Activation{Activation::Kind::clip, -infinity, 0.1};
  Value made{.name = "opaque"};
  const ValueId out = graph.add_value(made);
  graph.nodes.push_back(
      {"opaque", Opaque{"my.domain", "If", std::string("\0\xff{}", 4), 1}, {ValueId{}, graph.outputs[0]}, {out}, ""});
  graph.outputs.push_back(out);
  expect_equal(from_native(to_native(graph), "m"), graph);
}

TEST(Native, IgnoresOtherTensors) {
  const Graph graph = small_graph();
  NamedTensors content = to_native(graph);
  content.tensors.emplace_back("momentum.conv.weight", Tensor::filled({2}, 1));
  expect_equal(from_native(content, "m"), graph);
}

TEST(Native, RefusesWhatItCannotMean) {
  const Graph graph = small_graph();
  const struct {
    std::string from, to, part;
  } cases[] = {
      {"\"Conv2d\"", "\"Conv9d\"", "unknown op \"Conv9d\""},
      {"\"groups\":1", "\"group\":1", "groups"},
      {"\"groups\":1", "\"groups\":1.5", "1.5"},
      {"\"groups\":1", "\"groups\":9223372036854775808", "9223372036854775808"},
      {"\"stride\":[1,1]", "\"stride\":[1]", "[height, width]"},
      {"\"stride\":[1,1]", "\"stride\":[0,1]", "conv"},
      {"\"kind\":\"relu\"", "\"kind\":\"rely\"", "rely"},
      {"\"dtype\":\"f32\"", "\"dtype\":\"f99\"", "f99"},
      {"\"inputs\":[\"x\"", "\"inputs\":[\"y\"", "there is no value"},
      {"\"constant\":true", "\"constant\":true,\"constant\":true", "twice"},
      {"4,3,3,3", "4,3,3,4", "shape"},
      {"\"nodes\":[", "\"nodes\":[7,", "number"},
      {"{", "[", "JSON"},
  };
  for (const auto& [from, to, part] : cases) {
    SCOPED_TRACE(to);
    expect_error(ErrorKind::bad_input, {"m.safetensors", part},
                 [&] { from_native(edited(graph, from, to), "m.safetensors"); });
  }
  NamedTensors content = to_native(graph);
  content.tensors.clear();
  expect_error(ErrorKind::bad_input, {"m", "value 'conv.weight': the constant has no tensor"},
               [&] { from_native(content, "m"); });
  content.metadata["reducenet.schema"] = "2";
  expect_error(ErrorKind::unsupported, {"m", "schema 2"}, [&] { from_native(content, "m"); });
  content.metadata.erase("reducenet.schema");
  expect_error(ErrorKind::bad_input, {"m", "without a ReduceNet graph"}, [&] { from_native(content, "m"); });
}

TEST(Native, BitFlipsAreHarmless) {
  const NamedTensors good = to_native(graph_of_every_op());
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 2'000; ++i) {
    NamedTensors content = good;
    std::string& text = content.metadata.at("reducenet.graph");
    for (int flips = 1 + i % 3; flips > 0; --flips)
      text[random() % text.size()] ^= static_cast<char>(1 << random() % 7);
    try {
      from_native(content, "m");
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(Native, RefusesTextThatIsNotUtf8) {
  Graph graph = small_graph();
  graph.nodes[0].doc = "\xff";
  const TestFolder folder;
  expect_error(ErrorKind::bad_input, {"a.safetensors", "UTF-8"}, [&] { save_native(graph, folder / "a.safetensors"); });
  EXPECT_FALSE(std::filesystem::exists(folder / "a.safetensors"));
}

TEST(Base64, FollowsTheStandard) {
  const std::pair<std::string, std::string> vectors[] = {
      // RFC 4648, section 10
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe", "//4="}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(from_base64(text), bytes);
  }
  for (const char* text : {"Z", "Zg", "Zg=", "====", "Zh==", "Zg==Zg==", "Z!=="}) {
    EXPECT_THROW(from_base64(text), Error) << text;
  }
}

}  // namespace
}  // namespace reducenet
