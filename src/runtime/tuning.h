#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "runtime/step.h"

namespace reducenet {

/// Seconds that kernels took for steps, kept in a file from one plan to the next. A line of the file is
/// "seconds TAB key"; a key names the processor, the step's op and shapes, what is fused, and the kernel. Lines that
/// are not of that form are ignored, and a file that cannot be read or written is as good as none.
class TuningCache {
 public:
  /// `path` empty: nothing is read or kept.
  explicit TuningCache(std::filesystem::path path);
  std::optional<double> find(const std::string& key) const;
  void put(const std::string& key, double seconds);
  /// Writes what is new, beside the target first, then renamed; what another process wrote meanwhile is kept.
  void save() const noexcept;

 private:
  void read();

  std::filesystem::path path_;
  std::map<std::string, double> seconds_;
  std::map<std::string, double> added_;
};

/// What identifies a measurement. `context`: what else it depends on (threads, how carefully it was taken, the memory
/// that lies between two runs).
std::string tuning_key(const Step& step, const Kernel& kernel, const std::string& context);

/// This machine's processor as it names itself: "AMD EPYC 9354, 25/17/1".
const std::string& processor_name();

}  // namespace reducenet
