#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace reducenet::train {

/// A body of work that is the same each time but for what stands in its tensors. On a GPU it is recorded as a CUDA
/// graph and repeated without the host's part in it; on a CPU, or with a LibTorch that has no CUDA, it runs each time.
class Recording {
 public:
  /// On a GPU the thread works on a stream of its own from here on, for as long as this lives: the default one cannot
  /// be recorded.
  explicit Recording(at::Device device);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  /// The body's work, once. The first calls run it, so that libraries choose their algorithms; then it is recorded.
  /// Tensors that outlive the body must keep their places. Error(unsupported) when something in it waits for the host.
  void run(const std::function<void()>& body);
  /// The next body is another: it is recorded anew.
  void forget();

 private:
  struct Tape;
  std::unique_ptr<Tape> tape_;
};

}  // namespace reducenet::train
