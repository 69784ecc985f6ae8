#include "verbs.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

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
    {"frontier", "Accuracy, surviving non-linear layers and latency in one run",
     "  reducenet frontier recipes/cifar10-frontier11.toml --data cifar-10-binary.tar.gz --out frontier\n"
     "  reducenet frontier recipes/cifar10-frontier11.toml --list\n"
     "  reducenet frontier recipes/cifar10-frontier11.toml --data PATH --out frontier --only '*-s1'\n",
     declare_frontier},
    {"squeeze", "Widen the middle of the modules until it no longer helps, then their ends",
     "  reducenet squeeze recipes/cifar10-squeeze.toml --data cifar-10-binary.tar.gz --out squeeze\n", declare_squeeze},
    kPrune,
};

/// Every step of training allocates the same large buffers: glibc is to keep them, not to return and fault them in
/// again.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  return run(verbs, argc, argv);
}
