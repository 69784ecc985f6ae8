#include "reducenet/formats.h"

#include "formats/testing.h"

namespace reducenet {
namespace {

Graph small_graph() {
  GraphBuilder b("small", 1);
  b.output(b.activation("relu", b.conv("conv", b.input("x", {1, 3, 8, 8}), 4, {3, 3}, {}), activation_named("relu")));
  return std::move(b).finish();
}

TEST(Formats, EveryFormatThatIsReadRoundTripsByExtension) {
  const TestFolder folder;
  for (const Format& format : formats()) {
    if (!format.load) continue;
    const auto path = folder / ("m" + std::string(format.extension));
    save(small_graph(), path);
    EXPECT_EQ(print(load(path)), print(small_graph())) << format.name;
  }
}

TEST(Formats, RefusesUnknownExtensionsAndUnwritableFolders) {
  const TestFolder folder;
  expect_error(ErrorKind::usage, {"m.txt", ".onnx, .safetensors, .hpp"}, [&] { load(folder / "m.txt"); });
  expect_error(ErrorKind::usage, {"m.txt", ".onnx, .safetensors, .hpp"},
               [&] { save(small_graph(), folder / "m.txt"); });
  for (const Format& format : formats()) {
    const auto path = folder / ("absent/m" + std::string(format.extension));
    expect_error(ErrorKind::io, {path.string()}, [&] { save(small_graph(), path); });
    expect_error(format.load ? ErrorKind::io : ErrorKind::usage, {path.string()}, [&] { load(path); });
  }
}

}  // namespace
}  // namespace reducenet
