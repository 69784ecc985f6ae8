#include "progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli.h"

namespace reducenet::cli {

Progress::Progress(std::string label) : label_(std::move(label)) {}

Progress::~Progress() {
  clear();
}

void Progress::clear() {
  if (visible_) std::fputs("\r\033[K", stderr);
  visible_ = false;
}

void Progress::line(const std::string& message) {
  clear();
  note(message);
}

void Progress::update(int64_t done, int64_t total, std::string_view note) {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  update(done, total, note, done > 0 ? elapsed * static_cast<double>(total - done) / static_cast<double>(done) : 0);
}

void Progress::update(int64_t done, int64_t total, std::string_view note, double seconds_left) {
  constexpr auto interval = std::chrono::milliseconds(100);
  if (!interactive() || total <= 0 || (done < total && Clock::now() - drawn_ < interval)) return;
  drawn_ = Clock::now();
  visible_ = true;
  constexpr int width = 24;
  const int filled = static_cast<int>(std::clamp<int64_t>(done * width / total, 0, width));
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
  fmt::print(stderr, "\r{} {} {:3d} %  {}  {}\033[K", label_, bar, done * 100 / total, clock_time(seconds_left), note);
  std::fflush(stderr);
}

std::string clock_time(double seconds) {
  const auto s = static_cast<int64_t>(std::ceil(std::max(0.0, seconds)));
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace reducenet::cli
