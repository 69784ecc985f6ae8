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
Action declare_prune(CLI::App& app);  // in both programs
Action declare_verify(CLI::App& app);

// In reducenet-train.
Action declare_demo(CLI::App& app);
Action declare_frontier(CLI::App& app);
Action declare_squeeze(CLI::App& app);
Action declare_train(CLI::App& app);

}  // namespace reducenet::cli
