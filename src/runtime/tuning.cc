#include "runtime/tuning.h"

#include <charconv>
#include <cstdio>
#include <fstream>
#include <system_error>

namespace reducenet {

TuningCache::TuningCache(std::filesystem::path path) : path_(std::move(path)) {
  read();
}

void TuningCache::read() {
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) {
    const size_t tab = line.find('\t');
    double seconds = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + std::min(tab, line.size()), seconds);
    const bool sound = tab != std::string::npos && error == std::errc() && end == line.data() + tab && seconds > 0;
    if (sound) seconds_[line.substr(tab + 1)] = seconds;
  }
}

std::optional<double> TuningCache::find(const std::string& key) const {
  const auto found = seconds_.find(key);
  if (found == seconds_.end()) return std::nullopt;
  return found->second;
}

void TuningCache::put(const std::string& key, double seconds) {
  seconds_[key] = added_[key] = seconds;
}

void TuningCache::save() const noexcept {
  if (path_.empty() || added_.empty()) return;
  try {
    std::error_code ignored;
    if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), ignored);
    TuningCache now(path_);
    for (const auto& [key, seconds] : added_) now.seconds_[key] = seconds;
    std::filesystem::path beside = path_;
    beside += "." + std::to_string(reinterpret_cast<uintptr_t>(this)) + ".part";
    {
      std::ofstream file(beside);
      for (const auto& [key, seconds] : now.seconds_) {
        char text[32];
        std::snprintf(text, sizeof text, "%.6e", seconds);
        file << text << '\t' << key << '\n';
      }
      if (!file.flush()) {
        std::filesystem::remove(beside, ignored);
        return;
      }
    }
    std::filesystem::rename(beside, path_, ignored);
    if (ignored) std::filesystem::remove(beside, ignored);
  } catch (...) {  // as good as no cache
  }
}

std::string tuning_key(const Step& step, const Kernel& kernel, const std::string& context) {
  std::string key = processor_name() + " | " + context + " | " + describe(step.op);
  for (const Port& port : step.inputs) key += " " + to_string(port.shape);
  key += " w " + to_string(step.weight_shape) + " -> " + to_string(step.output.shape);
  if (step.epilogue.residual >= 0) key += " +r";
  if (!step.epilogue.slopes.empty()) key += " prelu";
  if (step.epilogue.curve) key += " " + describe(*step.epilogue.curve);
  const auto digit = [](Layout layout) { return std::to_string(static_cast<int>(layout)); };
  return key + " | " + std::string(kernel.name) + " " + digit(kernel.in) + digit(kernel.out);
}

const std::string& processor_name() {
  static const std::string name = [] {
    std::string model = "unknown", numbers;
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line) && !line.empty();) {
      const size_t colon = line.find(':');
      if (colon == std::string::npos || colon + 2 > line.size()) continue;
      const std::string value = line.substr(colon + 2);
      if (line.starts_with("model name")) {
        model = value;
      } else if (line.starts_with("cpu family") || line.starts_with("model\t") || line.starts_with("stepping")) {
        numbers += (numbers.empty() ? "" : "/") + value;
      }
    }
    return model + ", " + numbers;
  }();
  return name;
}

}  // namespace reducenet
