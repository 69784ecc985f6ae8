#include "signals.h"

#include <csignal>

namespace reducenet::cli {
namespace {

std::atomic<bool> stop_requested = false;
volatile std::sig_atomic_t signal_caught = 0;

}  // namespace

StopOnSignal::StopOnSignal() {
  struct sigaction action {};
  action.sa_handler = [](int number) {
    signal_caught = number;
    stop_requested = true;
  };
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
}

StopOnSignal::~StopOnSignal() {
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, SIG_DFL);
}

const std::atomic<bool>& StopOnSignal::requested() const {
  return stop_requested;
}

int StopOnSignal::signal() const {
  return signal_caught;
}

}  // namespace reducenet::cli
