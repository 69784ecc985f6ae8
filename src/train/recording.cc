#include "train/recording.h"

#ifdef REDUCENET_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "reducenet/error.h"
#include "train/device.h"
#endif

namespace reducenet::train {

#ifdef REDUCENET_CUDA
namespace {

/// cuDNN and cuBLAS choose algorithms and take their working memory in the first calls.
constexpr int kCallsBefore = 3;

std::unique_ptr<at::cuda::CUDAGraph> record(const std::function<void()>& body) {
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  graph->capture_begin();
  try {
    body();
    graph->capture_end();
  } catch (const std::exception& error) {
    try {
      graph->capture_end();
    } catch (const c10::Error&) {  // the recording is void already, which is what the first error says
    }
    throw Error(ErrorKind::unsupported, "train.recorded: this step cannot be recorded: " + message_of(error));
  }
  return graph;
}

}  // namespace

struct Recording::Tape {
  Tape() { c10::cuda::device_synchronize(); }
  ~Tape() { stream.current_stream().synchronize(); }
  c10::cuda::CUDAStreamGuard stream{c10::cuda::getStreamFromPool()};
  std::unique_ptr<at::cuda::CUDAGraph> graph;
  int calls = 0;
};

Recording::Recording(at::Device device) {
  if (device.is_cuda()) tape_ = std::make_unique<Tape>();
}

void Recording::run(const std::function<void()>& body) {
  if (!tape_ || tape_->calls++ < kCallsBefore) return body();
  if (!tape_->graph) tape_->graph = record(body);
  tape_->graph->replay();
}

void Recording::forget() {
  if (!tape_) return;
  tape_->stream.current_stream().synchronize();
  tape_->graph.reset();
  tape_->calls = 0;
}

#else

struct Recording::Tape {};

Recording::Recording(at::Device) {}

void Recording::run(const std::function<void()>& body) {
  body();
}

void Recording::forget() {}

#endif

Recording::~Recording() = default;

}  // namespace reducenet::train
