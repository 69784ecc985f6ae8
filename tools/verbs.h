#pragma once

#include "cli.h"

namespace reducenet::cli {

// One file per verb: declare_x in x.cc adds its options and returns what runs it.
Action declare_bench(CLI::App& app);
Action declare_collapse(CLI::App& app);
Action declare_eval(CLI::App& app);
Action declare_export(CLI::App& app);
Action declare_inspect(CLI::App& app);
Action declare_predict(CLI::App& app);
Action declare_verify(CLI::App& app);

// In reducenet-train.
Action declare_demo(CLI::App& app);
Action declare_frontier(CLI::App& app);
Action declare_squeeze(CLI::App& app);
Action declare_train(CLI::App& app);

// In both programs.
Action declare_prune(CLI::App& app);
inline constexpr Verb kPrune{
    "prune", "Cut channels or blocks, exactly; or measure many sub-networks of one budget",
    "  reducenet prune run/model.safetensors -o small.safetensors --ratio 0.5 --criterion l1\n"
    "  reducenet prune resnet.onnx -o small.onnx --ratio 0.3 --per-layer\n"
    "  reducenet prune run/model.safetensors --data cifar-10-binary.tar.gz --sample 50 --criterion random,l1,taylor "
    "--bn-batches 10\n",
    declare_prune};

}  // namespace reducenet::cli
