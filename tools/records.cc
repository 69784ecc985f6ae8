#include "records.h"

#include <fmt/format.h>

#include <fstream>
#include <thread>

#include "reducenet/collapse.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"
#include "reducenet/runtime.h"

namespace reducenet::cli {

std::string machine() {
  std::ifstream in("/proc/cpuinfo");
  std::string cpu = "unknown";
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("model name")) continue;
    cpu = line.substr(line.find(':') + 2);
    break;
  }
  return fmt::format("{}, {} logical processors", cpu, std::thread::hardware_concurrency());
}

Json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) return nullptr;
  try {
    return Json::parse(in);
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::bad_input, path.string() + ": " + error.what());
  }
}

void write_json(const std::filesystem::path& path, const Json& json) {
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
  const std::string text = json.dump(1) + "\n";
  write_atomically(path, std::as_bytes(std::span(text)));
}

Json measure_latency(const Graph& deployed, double seconds) {
  const BenchResult timed = bench(Plan(deployed, {.batch = 1, .threads = 1}), seconds);
  return {{"ms", timed.median_ms}, {"p90_ms", timed.p90_ms}};
}

}  // namespace reducenet::cli
