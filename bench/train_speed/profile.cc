// Where a training step's time goes: steps of `reduce20` on a batch of noise, the time of every LibTorch operation
// counted to the operation itself and not to those it calls. Prints a markdown table.
//
//   build/bench/train_profile [threads [expansion [steps]]]

#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "reducenet/arch.h"
#include "reducenet/error.h"
#include "train/network.h"

using namespace reducenet;
using Clock = std::chrono::steady_clock;

namespace {

struct Frame {
  std::string name;
  Clock::time_point start;
  double inner = 0;  // seconds in operations that this one called
};

struct Total {
  double seconds = 0;
  int64_t calls = 0;
};

bool recording = false;
std::vector<Frame> stack;  // one thread calls operations; its workers do not
std::map<std::string, Total> totals;

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& function) {
  if (recording) stack.push_back({function.name(), Clock::now()});
  return nullptr;
}

void on_end(const at::RecordFunction&, at::ObserverContext*) {
  if (!recording || stack.empty()) return;
  const Frame frame = std::move(stack.back());
  stack.pop_back();
  const double seconds = std::chrono::duration<double>(Clock::now() - frame.start).count();
  Total& total = totals[frame.name];
  total.seconds += seconds - frame.inner;
  ++total.calls;
  if (!stack.empty()) stack.back().inner += seconds;
}

int argument(int argc, char** argv, int index, int otherwise) {
  return index < argc ? std::atoi(argv[index]) : otherwise;
}

}  // namespace

int main(int argc, char** argv) try {
  const int threads = argument(argc, argv, 1, 1), expansion = argument(argc, argv, 2, 1),
            steps = argument(argc, argv, 3, 20);
  at::set_num_threads(threads);
  ArchOptions options;
  options.expansion = expansion;
  train::Network network(build("reduce20", options));
  std::vector<at::Tensor> parameters = network.decayed_parameters();
  const std::vector<at::Tensor> others = network.undecayed_parameters();
  parameters.insert(parameters.end(), others.begin(), others.end());
  torch::optim::SGD optimizer(parameters, torch::optim::SGDOptions(0.01).momentum(0.9).nesterov(true));
  const at::Tensor images = torch::randn({128, 3, 32, 32}).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor labels = torch::randint(10, {128}, torch::kLong);
  const auto step = [&] {
    const at::Tensor loss = torch::cross_entropy_loss(network.forward(images, true), labels);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  };
  for (int i = 0; i < 5; ++i) step();
  at::addGlobalCallback(at::RecordFunctionCallback(on_start, on_end));
  recording = true;
  const auto start = Clock::now();
  for (int i = 0; i < steps; ++i) step();
  const double whole = std::chrono::duration<double>(Clock::now() - start).count();
  recording = false;

  std::vector<std::pair<std::string, Total>> sorted(totals.begin(), totals.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  double named = 0;
  std::printf("| operation | ms a step | share | calls a step |\n| --- | --- | --- | --- |\n");
  for (size_t i = 0; i < sorted.size() && i < 10; ++i) {
    const auto& [name, total] = sorted[i];
    named += total.seconds;
    std::printf("| %s | %.2f | %.1f %% | %.1f |\n", name.c_str(), 1e3 * total.seconds / steps,
                100 * total.seconds / whole, static_cast<double>(total.calls) / steps);
  }
  std::printf("| everything else | %.2f | %.1f %% | |\n", 1e3 * (whole - named) / steps, 100 * (whole - named) / whole);
  std::printf("\n%.0f images/s, %d thread(s), expansion %d, %d steps of 128 images\n", 128 * steps / whole, threads,
              expansion, steps);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
