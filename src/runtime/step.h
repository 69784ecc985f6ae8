#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reducenet/op.h"
#include "runtime/kernels/narrow.h"

// What a plan is made of: buffers, steps that fill them, and the kernels that run the steps.

namespace reducenet {
inline namespace engine {  // names apart from the public ones: collapse.h has a Step too

/// Channels in a block, the innermost dimension of Layout::blocked.
inline constexpr int64_t kBlock = 16;

/// How a tensor lies in memory: `plain` row-major; `blocked` [N][⌈C/16⌉][H][W][16], where what stands behind the last
/// channel is unspecified and never enters another channel; `bytes` and `halves` the same as 8-bit integers and as
/// bfloat16, where what stands behind the last channel is finite; rows [N,K] lie there as [N,K,1,1].
enum class Layout { plain, blocked, bytes, halves };

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}
/// Floats that a tensor takes in memory.
inline int64_t storage(const Shape& shape, Layout layout) {
  if (layout == Layout::plain) return element_count(shape);
  const int64_t elements = shape[0] * round_up(shape[1], kBlock) * (shape.size() == 4 ? shape[2] * shape[3] : 1);
  return layout == Layout::blocked ? elements : elements / (layout == Layout::bytes ? 4 : 2);
}

/// On cache lines, so that no vector straddles two; what is large on huge pages where the system has them, so that
/// streaming through weights does not wait for page tables. Throws std::bad_alloc.
void* allocate_aligned(size_t bytes);

/// Allocates with allocate_aligned.
template <class T>
struct CacheAligned {
  using value_type = T;
  CacheAligned() = default;
  template <class U>
  explicit CacheAligned(const CacheAligned<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(allocate_aligned(n * sizeof(T))); }
  void deallocate(T* p, size_t) noexcept { std::free(p); }
  friend bool operator==(const CacheAligned&, const CacheAligned&) { return true; }
};
using Floats = std::vector<float, CacheAligned<float>>;

/// A tensor in memory during a run.
struct Buffer {
  enum class Place { arena, input, output, constant };

  std::string name;
  Shape shape;
  Layout layout = Layout::plain;
  Place place = Place::arena;
  int view_of = -1;    ///< another buffer that has the same memory
  int64_t offset = 0;  ///< in floats: from the start of the arena, of the inputs or of the outputs
  Floats constant;
  bool can_narrow = false, narrow = false;  ///< may be, and is to be, stored as bytes or halves (see narrow.h)
  narrow::Affine affine;                    ///< what the bytes mean
};

/// A buffer as a step sees it: the same elements, perhaps under another shape (then the buffer is plain).
struct Port {
  int buffer = -1;
  Shape shape;
};

/// What a kernel does to y before it stores it:  y ← curve(min(max(y + residual, low), high)), or in its place with
/// slopes  y ← y + residual where that is not negative, slope·(y + residual) where it is (PReLU).
struct Epilogue {
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  std::optional<Op> curve;    ///< Activation or Fade
  std::vector<float> slopes;  ///< of the output channels, in whole blocks; empty: none
  int residual = -1;          ///< index in the step's inputs
  bool empty() const { return residual < 0 && !has_activation(); }
  /// Something follows the clamp.
  bool bends() const { return curve || !slopes.empty(); }
  /// Of a block of output channels; null: none.
  const float* slopes_of(int64_t block) const { return slopes.empty() ? nullptr : slopes.data() + block * kBlock; }
  bool has_activation() const {
    return bends() || low != -std::numeric_limits<float>::infinity() || high != std::numeric_limits<float>::infinity();
  }
};

struct Kernel;

/// One operation of a plan. Weights stand here until a kernel has packed them.
struct Step {
  std::string node;
  Op op;
  std::vector<Port> inputs;
  Port output;
  Epilogue epilogue;
  int64_t macs = 0;

  std::optional<Layout> in_layout, out_layout;            ///< only a kernel of these layouts may run it
  narrow::Affine in_affine, out_affine, residual_affine;  ///< of inputs and output that are bytes

  std::vector<double> weight, bias;    ///< bias: one per output channel, or empty
  Shape weight_shape;                  ///< of a Normalize: rows that have parameters of their own, elements of a row
  std::array<double, 2> scales{1, 1};  ///< of a Resize: how many times as high, as wide

  const Kernel* kernel = nullptr;
  double error = 0;  ///< the kernel's, see Kernel::error
  double cost = 0;   ///< the kernel's, predicted or measured, in the time of one multiply–add
  Floats packed, packed_bias;
  std::vector<int64_t> table;  ///< offsets that a kernel computes beforehand
  float outside = 0;           ///< the elements of y for which such a table has none (see moves.h)
  int64_t scratch = 0;         ///< floats that each thread needs during the step
  int threads = 1;             ///< that the plan has
  int parts = 1;               ///< into how many the step is divided
  int gate = -1;               ///< a buffer of one number: while it is 0 the step does not run
  int zeroed = -1;             ///< it runs all the same, this one of its inputs being zeros
};

/// What a kernel is called with.
struct Call {
  const Step& step;
  float* const* buffers;  ///< by buffer index
  float* scratch;         ///< this part's own
  int part, parts;

  const float* in(size_t i = 0) const { return buffers[step.inputs[i].buffer]; }
  float* out() const { return buffers[step.output.buffer]; }
  /// What is added before the activation, laid out as the output; nullptr: nothing.
  const float* residual() const {
    return step.epilogue.residual < 0 ? nullptr : in(static_cast<size_t>(step.epilogue.residual));
  }
  const Shape& x(size_t i = 0) const { return step.inputs[i].shape; }
  const Shape& y() const { return step.output.shape; }
  /// This part's share of `items`, half open.
  struct Range {
    int64_t first, last;
  };
  Range share(int64_t items) const { return {items * part / parts, items * (part + 1) / parts}; }
};

/// A row of the table of kernels. A kernel reads all inputs in layout `in` and writes layout `out`.
struct Kernel {
  std::string_view name;
  Layout in, out;
  bool (*supports)(const Step&);
  /// Predicted time, in the time of one multiply–add of a well filled convolution.
  double (*cost)(const Step&);
  /// Weights → packed; also sets scratch and table.
  void (*pack)(Step&);
  /// Computes a part of the output; parts write disjoint memory. nullptr: the output is the input's memory.
  void (*run)(const Call&) noexcept;
  /// What it adds to the rounding of plain sums: |ŷ − y| / max |y|, measured on the step's weights. nullptr: nothing.
  double (*error)(const Step&) = nullptr;
};

}  // namespace engine

/// The one table.
std::span<const Kernel* const> kernels();

}  // namespace reducenet
