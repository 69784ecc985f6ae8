#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace reducenet::cli {

/// A progress bar with time left on stderr; silent unless stderr is a terminal. The bar disappears when it is
/// destroyed.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total`; time left follows from the pace so far.
  void update(int64_t done, int64_t total, std::string_view note = {});
  /// The same with the caller's own estimate of the seconds left.
  void update(int64_t done, int64_t total, std::string_view note, double seconds_left);
  /// A line that stays, above the bar.
  void line(const std::string& message);

 private:
  void clear();

  using Clock = std::chrono::steady_clock;
  std::string label_;
  Clock::time_point start_ = Clock::now(), drawn_{};
  bool visible_ = false;
};

/// 75 → "1:15", 3700 → "1:01:40".
std::string clock_time(double seconds);

}  // namespace reducenet::cli
