#pragma once

#include <atomic>

namespace reducenet::cli {

/// While it lives, the first SIGINT or SIGTERM asks the run to stop, and a second one ends the process.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
  const std::atomic<bool>& requested() const;
  /// The signal that was caught; 0: none.
  int signal() const;
};

}  // namespace reducenet::cli
