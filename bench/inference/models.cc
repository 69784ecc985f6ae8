// Writes the networks that need no Python: what collapses yield, and the training form of one of them.
//
//   build/bench/inference_models FOLDER
//
// FOLDER/reduce56.onnx (training form, fades over), deploy29.onnx and deploy11.onnx (reduce56 and reduce20 collapsed),
// affine.onnx (an all-linear network collapsed to one layer), nothing.onnx (one ReLU of one number: what a call costs).

#include <cstdio>
#include <filesystem>
#include <string>

#include "reducenet/arch.h"
#include "reducenet/builder.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"

using namespace reducenet;

namespace {

Graph trained(const char* name, ArchOptions options) {
  return settle(faded(build(name, std::move(options))));
}

void write(const std::filesystem::path& folder) {
  const auto put = [&](const Graph& graph, const char* name) { save(graph, folder / (std::string(name) + ".onnx")); };
  const Graph deep = trained("reduce56", {});
  put(deep, "reduce56");
  put(collapse(deep).graph, "deploy29");
  put(collapse(trained("reduce20", {})).graph, "deploy11");
  put(collapse(trained("article20", {.head = "flatten", .linear = true}), {.target = Target::single}).graph, "affine");
  GraphBuilder b("nothing");
  b.output(b.activation("relu", b.input("x", {-1, 1}), {}));
  put(std::move(b).finish(), "nothing");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: inference_models FOLDER\n", stderr);
    return 2;
  }
  try {
    std::filesystem::create_directories(argv[1]);
    write(argv[1]);
  } catch (const Error& error) {
    std::fprintf(stderr, "inference_models: %s\n", error.what());
    return 1;
  }
}
