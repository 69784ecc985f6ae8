#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "runtime/kernels/target_test.h"

// Every kernel, on every SIMD target, with each tensor and its scratch between two pages that must not be touched: once
// with the last byte before the page behind, once with the first byte behind the page before.

namespace reducenet {
namespace {

/// Floats between two forbidden pages.
class Guarded {
 public:
  Guarded(int64_t floats, bool at_end) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    const size_t bytes = static_cast<size_t>(floats) * sizeof(float), inner = (bytes + page_ - 1) / page_ * page_;
    size_ = inner + 2 * page_;
    void* memory = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<std::byte*>(memory);
    if (inner > 0 && mprotect(memory_ + page_, inner, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    data_ = reinterpret_cast<float*>(memory_ + page_ + (at_end ? inner - bytes : 0));
  }
  Guarded(Guarded&& other) noexcept
      : page_(other.page_), size_(other.size_), memory_(std::exchange(other.memory_, nullptr)), data_(other.data_) {}
  ~Guarded() {
    if (memory_) munmap(memory_, size_);
  }
  float* data() const { return data_; }

 private:
  size_t page_, size_;
  std::byte* memory_;
  float* data_;
};

/// Runs one step by itself, in `parts`.
void run_guarded(const Step& step, bool at_end, int parts, std::mt19937_64& random) {
  std::map<int, Guarded> buffers;
  std::normal_distribution<float> normal;
  const auto provide = [&](const Port& port, Layout layout) {
    if (buffers.contains(port.buffer)) return;
    const int64_t size = storage(port.shape, layout);
    const Guarded& made = buffers.emplace(port.buffer, Guarded(size, at_end)).first->second;
    for (int64_t i = 0; i < size; ++i) made.data()[i] = normal(random);
  };
  int most = step.output.buffer;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const bool residual = static_cast<int>(i) == step.epilogue.residual;
    provide(step.inputs[i], residual ? step.kernel->out : step.kernel->in);
    most = std::max(most, step.inputs[i].buffer);
  }
  provide(step.output, step.kernel->out);
  std::vector<float*> pointers(static_cast<size_t>(most) + 1);
  for (const auto& [index, buffer] : buffers) pointers[static_cast<size_t>(index)] = buffer.data();
  for (int part = 0; part < parts; ++part) {
    const Guarded scratch(round_up(step.scratch, kBlock), at_end);
    step.kernel->run({step, pointers.data(), scratch.data(), part, parts});
  }
}

/// Every step of a plan on every target, whole and in two parts.
class GuardTest : public testing::TargetTest {
 protected:
  static void run_everywhere(const Executable& plan, std::mt19937_64& random) {
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      use(target);
      for (const Step& step : plan.steps()) {
        for (const bool at_end : {true, false}) {
          run_guarded(step, at_end, 1, random);
          run_guarded(step, at_end, 2, random);
        }
      }
    }
  }
};

TEST_P(GuardTest, TouchesNothingOutside) {
  const testing::Trial& trial = GetParam();
  for (uint64_t seed = 100; seed < 100 + testing::seeds(20); ++seed) {
    testing::Dice dice(seed);
    const Executable plan(trial.graph(dice), {.threads = 2, .tolerance = 1}, only(trial));
    run_everywhere(plan, dice.random);
  }
}

class NarrowGuardTest : public GuardTest {};

TEST_P(NarrowGuardTest, TouchesNothingOutside) {
  for (uint64_t seed = 200; seed < 210; ++seed) {
    testing::Dice dice(seed);
    const Graph graph = testing::in_narrow(GetParam().graph(dice), dice);
    for (const DType dtype : {DType::i8, DType::bf16}) {
      const Executable plan(graph, {.threads = 2, .dtype = dtype, .narrow_everywhere = true});
      run_everywhere(plan, dice.random);
      use(0);
    }
  }
}

TEST(GuardedDeathTest, CatchesAStrayByte) {
  const Guarded end(17, true), start(17, false);
  EXPECT_DEATH(static_cast<volatile float*>(end.data())[17] = 1, "");
  EXPECT_DEATH(static_cast<volatile float*>(start.data())[-1] = 1, "");
}

INSTANTIATE_TEST_SUITE_P(Kernels, GuardTest, ::testing::ValuesIn(testing::kTrials), [](const auto& info) {
  std::string name(info.param.kernel);
  std::replace(name.begin(), name.end(), '-', '_');
  return name + "_" + std::to_string(info.index);
});

INSTANTIATE_TEST_SUITE_P(Kernels, NarrowGuardTest, ::testing::ValuesIn(testing::kNarrowTrials), [](const auto& info) {
  return std::string(info.param.kernel) + "_" + std::to_string(info.index);
});

}  // namespace
}  // namespace reducenet
