#include <google/protobuf/text_format.h>
#include <onnx/onnx_pb.h>
#include <sys/stat.h>

#include <fstream>
#include <random>

#include "formats/onnx/onnx.h"
#include "formats/testing.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

Graph parse(const std::string& bytes) {
  return parse_onnx(std::as_bytes(std::span(bytes)), "m.onnx");
}

onnx::ModelProto model_of(const std::string& graph) {
  onnx::ModelProto model;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "ir_version: 8 opset_import { version: 17 } graph { name: 'g' " + graph + "}", &model));
  return model;
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

Graph small_graph() {
  GraphBuilder b("small", 3);
  const ValueId x = b.input("x", {1, 2, 5, 5});
  ValueId y = b.conv("conv", x, 2, {3, 3}, {.padding = {1, 1, 1, 1}});
  y = b.activation("act", b.batch_norm("bn", y), {Activation::Kind::silu});
  b.output(b.gemm("fc", b.node("flatten", Flatten{}, {b.node("pool", GlobalAveragePool{}, {y})}), 3));
  return std::move(b).finish();
}

TEST(OnnxMalformed, NamesFileAndPlace) {
  const std::string x = "input { name: 'x' type { tensor_type { elem_type: 1 shape { dim { dim_value: 3 } } } } } ";
  const std::string image =
      "input { name: 'x' type { tensor_type { elem_type: 1 shape { dim { dim_value: 1 } dim { dim_value: 1 } "
      "dim { dim_value: 4 } dim { dim_value: 4 } } } } } "
      "initializer { name: 'w' data_type: 1 dims: [1, 1, 2, 2] float_data: [1, 2, 3, 4] } ";
  const std::string y = "output { name: 'y' } ";
  const struct {
    std::string graph;
    std::vector<std::string> parts;
  } cases[] = {
      {x + y, {"graph output 'y'"}},
      {x + y + "node { name: 'n' op_type: 'Relu' input: 'z' output: 'y' }", {"node 'n' (Relu)", "'z'"}},
      {x + y +
           "node { name: 'n' op_type: 'Relu' input: 'x' output: 'y' } node { name: 'm' op_type: 'Abs' input: 'x' "
           "output: 'y' }",
       {"node 'm' (Abs)", "'y' is defined twice"}},
      {x + x + y, {"'x' is defined twice"}},
      {x + y +
           "node { name: 'n' op_type: 'Add' input: ['x', 'z'] output: 'y' } node { name: 'm' op_type: 'Abs' input: 'y' "
           "output: 'z' }",
       {"cycle"}},
      {x + y + "node { name: 'n' op_type: 'Add' input: 'x' output: 'y' }", {"node 'n' (Add)", "needs 2 inputs"}},
      {x + y +
           "initializer { name: 'w' data_type: 1 dims: 2 float_data: 1 } node { op_type: 'Add' input: ['x', 'w'] "
           "output: 'y' }",
       {"initialiser 'w'"}},
      {x + y + "initializer { name: 'w' data_type: 1 dims: -2 float_data: 1 }", {"initialiser 'w'", "negative"}},
      {x + y + "initializer { name: 'w' data_type: 1 dims: [4611686018427387904, 4] }",
       {"initialiser 'w'", "too many"}},
      {x + y + "initializer { name: 'w' data_type: 1 dims: 4611686018427387904 raw_data: 'abcd' }",
       {"initialiser 'w'"}},
      {x + y + "initializer { name: 'w' data_type: 1 dims: 1000000000000 raw_data: 'abcd' }", {"initialiser 'w'"}},
      {x + y +
           "node { name: 'n' op_type: 'LeakyRelu' input: 'x' output: 'y' attribute { name: 'alpha' type: INT i: 1 } }",
       {"node 'n' (LeakyRelu)", "alpha"}},
      {x + y +
           "node { name: 'n' op_type: 'Flatten' input: 'x' output: 'y' attribute { name: 'axis' type: INT i: "
           "99999999999 } }",
       {"node 'n' (Flatten)", "absurd"}},
      {x + y + "node { name: 'n' op_type: 'Flatten' input: 'x' output: 'y' attribute { name: 'axis' type: INT i: 5 } }",
       {"node 'n' (Flatten)", "axis 5"}},
      {image + y +
           "node { name: 'n' op_type: 'Conv' input: ['x', 'w'] output: 'y' attribute { name: 'strides' type: INTS "
           "ints: [0, 1] } }",
       {"node 'n' (Conv)", "positive"}},
      {image + y +
           "node { name: 'n' op_type: 'Conv' input: ['x', 'w'] output: 'y' attribute { name: 'group' type: INT i: 0 } "
           "}",
       {"node 'n' (Conv)", "groups"}},
      {image + y +
           "node { name: 'n' op_type: 'Conv' input: ['x', 'w'] output: 'y' attribute { name: 'kernel_shape' type: INTS "
           "ints: [3, 3] } }",
       {"node 'n' (Conv)", "kernel_shape"}},
      {image + y +
           "node { name: 'n' op_type: 'Conv' input: ['x', 'w'] output: 'y' attribute { name: 'strides' type: INTS "
           "ints: [-9223372036854775808, 1] } }",
       {"node 'n' (Conv)", "absurd"}},
      {"input { name: 'x' type { tensor_type { elem_type: 1 shape { dim { dim_value: 9223372036854775807 } } } } } " +
           y,
       {"absurd"}},
  };
  for (const auto& [graph, parts] : cases) {
    SCOPED_TRACE(graph);
    expect_error(ErrorKind::bad_input, {"m.onnx"}, [&] { parse(model_of(graph).SerializeAsString()); });
    for (const std::string& part : parts) {
      expect_error(ErrorKind::bad_input, {part}, [&] { parse(model_of(graph).SerializeAsString()); });
    }
  }
  for (const std::string& bytes : {std::string(), std::string("PNG image"), std::string(1000, '\xff')}) {
    expect_error(ErrorKind::bad_input, {"m.onnx", "not an ONNX model"}, [&] { parse(bytes); });
  }
}

TEST(OnnxMalformed, EveryTruncationIsAnError) {
  const std::string bytes = to_onnx(small_graph());
  for (size_t size = 0; size < bytes.size(); ++size) {
    expect_error(ErrorKind::bad_input, {"m.onnx"}, [&] { parse(bytes.substr(0, size)); });
  }
}

TEST(OnnxMalformed, BitFlipsAreHarmless) {
  const std::string good = to_onnx(small_graph());
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string bytes = good;
    for (int flips = 1 + i % 3; flips > 0; --flips)
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    try {
      const Graph graph = parse(bytes);
      to_onnx(graph);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

/// A model whose weight's data lie at that location.
std::string external(const std::string& entries) {
  return model_of("initializer { name: 'w' data_type: 1 dims: 2 data_location: EXTERNAL " + entries + "}")
      .SerializeAsString();
}
std::string at(const std::string& key, const std::string& value) {
  return "external_data { key: '" + key + "' value: '" + value + "' } ";
}

TEST(OnnxExternalData, StayInsideTheFolder) {
  const TestFolder folder;
  std::filesystem::create_directories(folder / "model/sub");
  write(folder / "secret", "12345678");
  write(folder / "model/data", "1234567890");
  write(folder / "model/sub/data", "1234567890");
  std::filesystem::create_symlink(folder / "secret", folder / "model/link");
  std::filesystem::create_directory_symlink(folder.path(), folder / "model/up");
  ASSERT_EQ(mkfifo((folder / "model/fifo").c_str(), 0600), 0);
  const auto load = [&](const std::string& entries) {
    write(folder / "model/m.onnx", external(entries));
    return load_onnx(folder / "model/m.onnx");
  };
  for (const std::string& good : {at("location", "data"), at("location", "sub/data") + at("offset", "2"),
                                  at("location", "./data") + at("offset", "1") + at("length", "8")}) {
    const Graph graph = load(good);
    EXPECT_EQ(graph.constant(graph.find_value("w"))->size(), 2);
  }
  for (const std::string& bad :
       {std::string(), at("location", ""), at("location", "../secret"), at("location", "sub/../../secret"),
        at("location", (folder / "secret").string()), at("location", "link"), at("location", "up/secret"),
        at("location", "fifo"), at("location", "sub"), at("location", "data") + at("offset", "3"),
        at("location", "data") + at("offset", "-1"), at("location", "data") + at("offset", "18446744073709551612"),
        at("location", "data") + at("offset", "99999999999999999999"), at("location", "data") + at("offset", "1x"),
        at("location", "data") + at("length", "9"), at("location", "data") + at("length", "")}) {
    SCOPED_TRACE(bad);
    expect_error(ErrorKind::bad_input, {"m.onnx", "'w'", "external data"}, [&] { load(bad); });
  }
  expect_error(ErrorKind::io, {"m.onnx", "'w'", "absent"}, [&] { load(at("location", "absent")); });
}

TEST(OnnxExternalData, AreWrittenBesideALargeModel) {
  const TestFolder folder;
  GraphBuilder b("large", 1);
  b.output(b.gemm("second", b.gemm("first", b.input("x", {1, 30}), 20), 10));
  const Graph graph = std::move(b).finish();
  save_onnx(graph, folder / "m.onnx", 1000);
  EXPECT_LT(std::filesystem::file_size(folder / "m.onnx"), 2000u);
  EXPECT_EQ(std::filesystem::file_size(folder / "m.onnx.data"), 600 * 4u);
  Graph back = load_onnx(folder / "m.onnx");
  save_onnx(back, folder / "m.onnx", 1000);  // over the files that it borrows from
  back = load_onnx(folder / "m.onnx");
  back.metadata.clear();
  expect_equal(back, graph);
}

}  // namespace
}  // namespace reducenet
