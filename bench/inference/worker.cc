// Ours, as a worker of run.py: loads and plans a model, then does what each line of stdin says.
//
//   build/bench/inference_worker MODEL BATCH THREADS TUNE INPUT.f32
//
//   run SECONDS   runs for so long (at least once) and prints {"median_ms": …}
//   output FILE   one run, its output written as raw floats

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"
#include "timing.h"

using namespace reducenet;

namespace {

Tune tune_named(const std::string& name) {
  return name == "full" ? Tune::full : name == "fast" ? Tune::fast : Tune::none;
}

/// Bytes of this process in memory, by the system.
long resident_bytes() {
  long pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

int serve(char** argv) {
  const long idle = resident_bytes();
  const Graph graph = settle(load(argv[1]));
  const auto start = Clock::now();
  const Plan plan(graph, {.batch = std::stol(argv[2]), .threads = std::stoi(argv[3]), .tune = tune_named(argv[4])});
  const double planned = seconds_since(start);
  std::vector<float> input(static_cast<size_t>(plan.input_size())), output(static_cast<size_t>(plan.output_size()));
  std::ifstream(argv[5], std::ios::binary)
      .read(reinterpret_cast<char*>(input.data()), static_cast<std::streamsize>(input.size() * sizeof(float)));
  const auto arena = plan.arena();
  std::printf("{\"version\": \"this checkout\", \"plan_ms\": %.1f, \"arena_bytes\": %lld, \"idle_bytes\": %ld}\n",
              1e3 * planned, static_cast<long long>(plan.arena_bytes()), idle);
  std::fflush(stdout);
  for (std::string verb, argument; std::cin >> verb >> argument;) {
    if (verb == "run") {
      std::vector<double> times;
      for (const auto begin = Clock::now(); times.empty() || seconds_since(begin) < std::stod(argument);) {
        const auto at = Clock::now();
        plan.run(input, output, *arena);
        times.push_back(seconds_since(at));
      }
      std::ranges::sort(times);
      std::printf("{\"median_ms\": %.6f}\n", 1e3 * times[times.size() / 2]);
    } else {
      plan.run(input, output, *arena);
      std::ofstream(argument, std::ios::binary)
          .write(reinterpret_cast<const char*>(output.data()),
                 static_cast<std::streamsize>(output.size() * sizeof(float)));
      std::puts("{}");
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fputs("usage: inference_worker MODEL BATCH THREADS none|fast|full INPUT.f32\n", stderr);
    return 2;
  }
  try {
    return serve(argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "inference_worker: %s\n", error.what());
    return 1;
  }
}
