#include "verbs.h"

using namespace reducenet::cli;

namespace {

// The verbs that need LibTorch.
constexpr Verb verbs[] = {
    {"demo", "The whole way once: train, collapse, verify, bench, report.html",
     "  reducenet demo\n"
     "  reducenet demo --epochs 1 --out quick --json\n",
     declare_demo},
    {"train", "Train a network from a recipe",
     "  reducenet train recipes/cifar10-reduce20.toml --data cifar-10-binary.tar.gz --out run\n"
     "  reducenet train recipes/cifar10-reduce20.toml --set optimizer.lr=0.05 --epochs 20 --out run\n"
     "  reducenet train recipes/cifar10-reduce20.toml --out run --resume\n",
     declare_train},
};

}  // namespace

int main(int argc, char** argv) {
  return run(verbs, argc, argv);
}
