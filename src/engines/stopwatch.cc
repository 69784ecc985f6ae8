#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "engines/onnxruntime.h"
#include "reducenet/engines.h"
#include "reducenet/error.h"
#include "reducenet/runtime.h"

namespace reducenet {

/// Holds the engine that lives outside this process.
class Stopwatch::Worker {
 public:
  explicit Worker(int threads) : engine(threads) {}
  OnnxRuntime engine;
};

namespace {

/// Of the op alone: conversions of layout at both ends belong to its neighbours.
double time_in_runtime(const Graph& graph, const MeasureOptions& options) {
  const Plan plan(graph, {.threads = options.threads});
  const std::vector<double> steps = plan.step_milliseconds(options.seconds);
  double total = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::string& kernel = plan.steps()[i].kernel;
    const bool moves = kernel == "to-blocked" || kernel == "to-plain" || kernel == "copy" || kernel == "view";
    if (!moves) total += steps[i];
  }
  return total;
}

}  // namespace

std::string_view name_of(Engine engine) {
  return engine == Engine::reducenet ? "reducenet" : "onnxruntime";
}

Stopwatch::Stopwatch(MeasureOptions options) : options_(std::move(options)) {
  known_ = {std::string(name_of(options_.engine)), cpu_name(), options_.threads, {}};
  asked_ = known_;
  if (options_.engine == Engine::onnxruntime) worker_ = std::make_unique<Worker>(options_.threads);
  if (options_.cache.empty() || !std::filesystem::exists(options_.cache)) return;
  try {
    CostTable cached = load_costs(options_.cache);
    const bool fits =
        cached.engine == known_.engine && cached.device == known_.device && cached.threads == known_.threads;
    if (fits) known_.entries = std::move(cached.entries);
  } catch (const Error&) {  // a damaged cache is measured again
  }
}

Stopwatch::~Stopwatch() = default;

double Stopwatch::measure(const Workload& workload) {
  ++measured_;
  const Graph graph = graph_of(workload);
  return worker_ ? worker_->engine.time(graph, options_.seconds) : time_in_runtime(graph, options_);
}

double Stopwatch::operator()(const Workload& workload) {
  const std::string key = key_of(workload);
  auto found = known_.entries.find(key);
  if (found == known_.entries.end()) {
    CostTable::Entry entry{name_of(workload.op), count_macs(workload), element_count(workload.output), 0, true};
    try {
      entry.ms = measure(workload);
    } catch (const Error&) {  // neither engine nor format knows it alone; it costs the same before and after
      entry.timed = false;
    }
    found = known_.entries.emplace(key, entry).first;
  }
  asked_.entries.insert(*found);
  return found->second.ms;
}

void Stopwatch::save() const {
  if (options_.cache.empty() || measured_ == 0) return;
  std::filesystem::create_directories(options_.cache.parent_path());
  save_costs(known_, options_.cache);
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != line.npos) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

std::filesystem::path default_cache(Engine engine, int threads) {
  const char* base = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (base && *base) {
    folder = base;
  } else if (home && *home) {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};
  }
  std::string cpu = cpu_name();
  for (char& c : cpu) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  return folder / "reducenet" /
         ("costs-" + std::string(name_of(engine)) + "-" + std::to_string(threads) + "-" + cpu + ".json");
}

}  // namespace reducenet
