// An exported C++ header against the runtime, both on one thread in one process, round by round in turn; and how much
// CPU time the compiler takes for it. Medians over the rounds of the median run of each.
//
//   build/bench/header_speed FOLDER [NAME …]     (default: plain29 plain11 resnet20; files go to FOLDER)
//
// Each with float32 weights and with 8-bit ones, against the runtime in float32; with -march=native, or as named.
//
// Prints one JSON object a line.

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/quantize.h"
#include "reducenet/runtime.h"
#include "timing.h"

using namespace reducenet;

namespace {

/// Milliseconds of the median run in a round of about 50 ms.
double time_round(const std::function<void()>& run) {
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 3 || seconds_since(start) < 0.05) {
    const auto begin = Clock::now();
    run();
    times.push_back(1e3 * seconds_since(begin));
  }
  return median(times);
}

Graph deploy_net(const std::string& name) {
  return collapse(faded(build(name, {}))).graph;
}

using Run = void (*)(const float*, float*);

/// CPU seconds of the processes that this one has waited for.
double children_seconds() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Compiled {
  double compile_seconds;  // of the CPU
  Run run;
};

Compiled compile(const std::filesystem::path& folder, const std::string& name, const std::string& compiler) {
  const auto source = folder / (name + ".cc");
  std::ofstream(source) << fmt::format(
      "#include \"{0}.hpp\"\nextern \"C\" void run(const float* x, float* y) {{ {0}::run(x, y); }}\n", name);
  const bool has_target = compiler.find(" -m") != std::string::npos;
  const auto library = folder / (name + "-" + (has_target ? "target" : compiler) + ".so");
  const std::string command = fmt::format("{}{} -std=c++17 -O3 -shared -fPIC {} -o {}", compiler,
                                          has_target ? "" : " -march=native", source.string(), library.string());
  const double before = children_seconds();
  if (std::system(command.c_str()) != 0) throw Error(ErrorKind::check_failed, "failed: " + command);
  const double seconds = children_seconds() - before;
  void* const opened = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!opened) throw Error(ErrorKind::io, dlerror());
  return {seconds, reinterpret_cast<Run>(dlsym(opened, "run"))};
}

void measure_one(const std::filesystem::path& folder, const std::string& arch, bool in_bytes) {
  constexpr int kRounds = 15;
  Graph graph = deploy_net(arch);
  const std::string name = in_bytes ? arch + "_int8" : arch;
  if (in_bytes) {
    const auto size = static_cast<size_t>(Plan(graph).input_size());
    set_quantization(graph, calibrate(graph, std::vector<std::vector<float>>{std::vector<float>(size, 0.5f)}, 1));
  }
  save(graph, folder / (name + ".hpp"));
  const Plan plan(graph);
  std::vector<float> input(static_cast<size_t>(plan.input_size())), output(static_cast<size_t>(plan.output_size()));
  std::mt19937_64 random(0);
  std::normal_distribution<float> normal;
  for (float& value : input) value = normal(random);
  const auto arena = plan.arena();
  const double million = static_cast<double>(count_parameters(graph)) / 1e6;
  for (const std::string compiler : {"g++", "clang++", "g++ -mavx2 -mfma"}) {
    const Compiled header = compile(folder, name, compiler);
    std::vector<double> ours, headers;
    for (int round = 0; round < kRounds; ++round) {
      ours.push_back(time_round([&] { plan.run(input, output, *arena); }));
      headers.push_back(time_round([&] { header.run(input.data(), output.data()); }));
    }
    fmt::print(
        "{{\"network\": \"{}\", \"compiler\": \"{}\", \"parameters\": {}, \"macs\": {}, \"compile_cpu_s\": {:.2f}, "
        "\"compile_cpu_s_per_million\": {:.2f}, \"header_ms\": {:.4f}, \"runtime_ms\": {:.4f}, \"ratio\": {:.2f}}}\n",
        name, compiler, count_parameters(graph), count_macs(graph), header.compile_seconds,
        header.compile_seconds / million, median(headers), median(ours), median(headers) / median(ours));
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    fmt::print(stderr, "usage: {} FOLDER [NAME ...]\n", argv[0]);
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  std::vector<std::string> names(argv + 2, argv + argc);
  if (names.empty()) names = {"plain29", "plain11", "resnet20"};
  for (const std::string& name : names) {
    for (const bool in_bytes : {false, true}) measure_one(folder, name, in_bytes);
  }
} catch (const Error& error) {
  fmt::print(stderr, "{}\n", error.what());
  return static_cast<int>(error.kind());
}
