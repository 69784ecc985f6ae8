#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "reducenet/runtime.h"
#include "runtime/lower.h"
#include "runtime/threads.h"

namespace reducenet {

class Tuner;

/// What one run needs beside the plan: intermediate tensors, scratch of each thread, and the threads.
class Plan::Arena {
 public:
  Arena(int64_t floats, size_t buffers, int threads)
      : memory(static_cast<size_t>(floats), 0.0f), buffers(buffers), threads(threads) {}

  Floats memory;
  std::vector<float*> buffers;  ///< by buffer index; set anew by every run
  Threads threads;
  std::vector<std::unique_ptr<Arena>> lanes;  ///< of a plan that runs image by image: one for each thread
};

/// Whether a kernel may be chosen for a step; tests use it to single one out.
using KernelFilter = std::function<bool(const Kernel&, const Step&)>;

/// A program with its kernels chosen, weights packed and memory laid out.
class Executable {
 public:
  Executable(
      const Graph& graph, const PlanOptions& options,
      const KernelFilter& allowed = [](const Kernel&, const Step&) { return true; });

  std::unique_ptr<Plan::Arena> arena() const;
  /// `times`: seconds that each step took, if wanted.
  void run(const float* input, float* output, Plan::Arena& arena, double* times = nullptr) const noexcept;

  int64_t input_size() const { return input_size_; }
  int64_t output_size() const { return output_size_; }
  int64_t batch() const { return batch_; }
  int64_t arena_floats() const { return scratch_at_ + options_.threads * scratch_; }
  const std::vector<Step>& steps() const { return program_.steps; }

 private:
  struct Choice {
    const Kernel* kernel = nullptr;
    double cost = 0, error = 0;
  };
  bool can_lie(const Port& port, Layout layout) const;
  std::vector<const Kernel*> candidates(const Step& step, const KernelFilter& allowed) const;
  Choice cheapest(const Step& step, const KernelFilter& allowed, Tuner* tuner, bool compares,
                  const std::function<double(const Kernel&)>& extra) const;
  void narrow(const Graph& graph, const KernelFilter& allowed, Tuner* tuner);
  void choose_kernels(const KernelFilter& allowed, Tuner* tuner);
  void place_outputs();
  void lay_out();
  int add_reorder(int buffer, Layout to, std::string node);
  int root(int buffer) const;
  Buffer& buffer(int index) { return program_.buffers[static_cast<size_t>(index)]; }
  const Buffer& buffer(int index) const { return program_.buffers[static_cast<size_t>(index)]; }

  PlanOptions options_;
  Program program_;
  int64_t input_size_ = 0, output_size_ = 0, batch_ = 1;
  double most_error_ = 0;                 // that a kernel may add to a step
  int64_t scratch_at_ = 0, scratch_ = 0;  // floats: where scratch begins, and how much a thread has
};

}  // namespace reducenet
