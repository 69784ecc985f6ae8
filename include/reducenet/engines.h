#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "reducenet/cost.h"

namespace reducenet {

/// Whose milliseconds count.
enum class Engine { reducenet, onnxruntime };
std::string_view name_of(Engine engine);

/// Milliseconds by workload, as one engine took them on one device. As a file: JSON, docs/cost-tables.md.
struct CostTable {
  struct Entry {
    std::string op;        ///< "Conv"
    int64_t macs = 0;      ///< multiply-accumulates of one run
    int64_t elements = 0;  ///< of the output
    double ms = 0;
    bool timed = true;  ///< false: the engine cannot run it; it counts as 0
  };
  std::string engine, device;
  int threads = 1;
  std::map<std::string, Entry> entries;  ///< by key_of(workload)
};

/// Throws Error(io) or Error(bad_input), naming the file.
CostTable load_costs(const std::filesystem::path& path);
/// Writes atomically.
void save_costs(const CostTable& table, const std::filesystem::path& path);

/// Costs from a table. What it lacks is interpolated between entries of the same op by multiply-accumulates (by output
/// elements for ops that have none), in proportion beyond the largest; an op that it lacks altogether costs nothing.
/// `note` hears once of every workload that was not in the table.
Cost table_cost(CostTable table, std::function<void(const std::string&)> note);

struct MeasureOptions {
  Engine engine = Engine::reducenet;
  int threads = 1;
  double seconds = 0.02;        ///< for one workload
  std::filesystem::path cache;  ///< a table that is read first and written last; empty: none
};

/// Times workloads one by one on this machine and remembers them.
class Stopwatch {
 public:
  /// Throws Error(unsupported), saying what to install, when the engine cannot be found.
  explicit Stopwatch(MeasureOptions options);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  /// Milliseconds; 0 for what the engine cannot run by itself.
  double operator()(const Workload& workload);
  Cost cost() {
    return [this](const Workload& workload) { return (*this)(workload); };
  }
  /// Everything asked for so far.
  const CostTable& asked() const { return asked_; }
  int64_t measured() const { return measured_; }
  /// Writes the cache.
  void save() const;

 private:
  double measure(const Workload& workload);

  MeasureOptions options_;
  CostTable known_, asked_;
  int64_t measured_ = 0;
  class Worker;
  std::unique_ptr<Worker> worker_;
};

/// ~/.cache/reducenet/costs-ENGINE-THREADS-CPU.json, below XDG_CACHE_HOME where that is set; empty without a home.
std::filesystem::path default_cache(Engine engine, int threads);
/// "AMD EPYC", from /proc/cpuinfo; "unknown CPU" elsewhere.
std::string cpu_name();

/// Runs a model in ONNX Runtime, through the python3 on the path ($REDUCENET_PYTHON). Inputs in the graph's order,
/// outputs in float64. Throws Error(unsupported), saying what to install, or naming what ONNX Runtime says of the
/// model.
std::vector<std::vector<Tensor>> run_onnxruntime(const std::filesystem::path& model,
                                                 const std::vector<std::vector<Tensor>>& samples);

}  // namespace reducenet
