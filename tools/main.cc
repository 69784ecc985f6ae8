#include "verbs.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

using namespace reducenet::cli;

namespace {

// The one table of verbs. Those without a function live in reducenet-train (train_main.cc).
constexpr Verb verbs[] = {
    {"demo", "The whole way once: train, collapse, verify, bench, report.html", "", nullptr},
    {"train", "Train a network from a recipe", "", nullptr},
    {"frontier", "Accuracy, surviving non-linear layers and latency in one run", "", nullptr},
    {"squeeze", "Widen the middle of the modules until it no longer helps, then their ends", "", nullptr},
    {"collapse", "Merge everything that is linear, exactly, and certify the result",
     "  reducenet collapse run/model.safetensors -o small.onnx\n"
     "  reducenet collapse deep.onnx -o one.onnx --to single --explain\n"
     "  reducenet collapse deep.onnx -o small.onnx --data cifar-10-binary.tar.gz --json\n",
     declare_collapse},
    {"verify", "Are two models the same function?",
     "  reducenet verify deep.onnx small.onnx\n"
     "  reducenet verify deep.onnx small.onnx --data photos/\n",
     declare_verify},
    {"eval", "Top-1, top-5 and confusion on labelled images",
     "  reducenet eval small.onnx --data cifar-10-binary.tar.gz\n"
     "  reducenet eval small.safetensors --data photos.tar.zst --split train --json\n",
     declare_eval},
    {"predict", "Class names and probabilities for image files",
     "  reducenet predict small.onnx cat.jpg dog.png --top 3\n", declare_predict},
    kPrune,
    {"bench", "Latency and throughput of a model on this machine",
     "  reducenet bench small.onnx --threads 2\n"
     "  reducenet bench small.safetensors --batch 32 --tune full --json\n",
     declare_bench},
    {"export", "Save a model in another format, or as a C++ header",
     "  reducenet export small.safetensors -o small.onnx\n"
     "  reducenet export small.onnx -o small.hpp\n"
     "  reducenet export resnet.onnx -o described.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225\n",
     declare_export},
    {"inspect", "Layers, shapes, MACs, parameters; what is linear and what is not",
     "  reducenet inspect deep.onnx\n"
     "  reducenet inspect deep.onnx --json | jq .nonlinear\n",
     declare_inspect},
};

/// Keeps the memory of weights for the next weights: what is unmapped has to be faulted in and cleared again, page by
/// page. Larger blocks are given back at once.
void keep_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_memory();
  return run(verbs, argc, argv);
}
