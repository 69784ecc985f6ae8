// y = f(x) and y = a ∘ b, element by element: over all that is stored where shapes agree, otherwise row by row with
// broadcasting.
#include <algorithm>
#include <array>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/elementwise.cc"
#include "graph/strides.h"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/rows.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

float unary(Unary::Kind kind, float x) {
  using Kind = Unary::Kind;
  switch (kind) {
    case Kind::neg:
      return -x;
    case Kind::abs:
      return std::abs(x);
    case Kind::exp:
      return std::exp(x);
    case Kind::log:
      return std::log(x);
    case Kind::sqrt:
      return std::sqrt(x);
    case Kind::reciprocal:
      return 1 / x;
    case Kind::erf:
      return std::erf(x);
    case Kind::floor:
      return std::floor(x);
    case Kind::ceil:
      return std::ceil(x);
    case Kind::round:
      return std::nearbyint(x);
    case Kind::sign:
      return static_cast<float>((x > 0) - (x < 0));
    case Kind::sin:
      return std::sin(x);
    case Kind::cos:
      return std::cos(x);
    case Kind::tan:
      return std::tan(x);
    case Kind::asin:
      return std::asin(x);
    case Kind::acos:
      return std::acos(x);
    case Kind::atan:
      return std::atan(x);
    case Kind::sinh:
      return std::sinh(x);
    case Kind::cosh:
      return std::cosh(x);
    case Kind::asinh:
      return std::asinh(x);
    case Kind::acosh:
      return std::acosh(x);
    case Kind::atanh:
      return std::atanh(x);
    case Kind::logical_not:
      return static_cast<float>(x == 0);
    case Kind::is_nan:
      return static_cast<float>(std::isnan(x));
  }
  return x;
}

float binary(Binary::Kind kind, float a, float b) {
  using Kind = Binary::Kind;
  switch (kind) {
    case Kind::add:
      return a + b;
    case Kind::sub:
      return a - b;
    case Kind::mul:
      return a * b;
    case Kind::div:
      return a / b;
    case Kind::pow:
      return std::pow(a, b);
    case Kind::min:
      return std::min(a, b);
    case Kind::max:
      return std::max(a, b);
    case Kind::mod:
      return a - b * std::floor(a / b);
    case Kind::fmod:
      return std::fmod(a, b);
  }
  return a;
}

/// `count` elements of x, from `first`, through the step's op and epilogue.
void map(const Call& call, Layout layout) {
  const Call::Range part = call.share(storage(call.y(), layout));
  const size_t count = static_cast<size_t>(part.last - part.first);
  const float* x = call.in() + part.first;
  float* y = call.out() + part.first;
  if (const auto* op = std::get_if<Unary>(&call.step.op)) {
    for (size_t i = 0; i < count; ++i) y[i] = unary(op->kind, x[i]);
  } else {
    std::copy_n(x, count, y);
  }
  finish(call.step.epilogue, nullptr, y, nullptr, count);
}

/// y[i] = a[i·a_step] ∘ b[i·b_step]
HWY_INLINE void combine(const Op& op, const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t count,
                        float* y) {
  if (std::holds_alternative<PRelu>(op)) {
    for (int64_t i = 0; i < count; ++i) y[i] = a[i * a_step] < 0 ? b[i * b_step] * a[i * a_step] : a[i * a_step];
    return;
  }
  const Binary::Kind kind = std::get<Binary>(op).kind;
  const Lanes d;
  int64_t i = 0;
  const auto vectors = [&](auto f) HWY_ATTR {
    for (; i + static_cast<int64_t>(kLanes) <= count; i += kLanes) {
      const auto left = a_step == 0 ? hn::Set(d, *a) : hn::LoadU(d, a + i);
      const auto right = b_step == 0 ? hn::Set(d, *b) : hn::LoadU(d, b + i);
      hn::StoreU(f(left, right), d, y + i);
    }
  };
  if (a_step <= 1 && b_step <= 1) {
    if (kind == Binary::Kind::add) vectors([](auto l, auto r) HWY_ATTR { return hn::Add(l, r); });
    if (kind == Binary::Kind::sub) vectors([](auto l, auto r) HWY_ATTR { return hn::Sub(l, r); });
    if (kind == Binary::Kind::mul) vectors([](auto l, auto r) HWY_ATTR { return hn::Mul(l, r); });
    if (kind == Binary::Kind::div) vectors([](auto l, auto r) HWY_ATTR { return hn::Div(l, r); });
  }
  for (; i < count; ++i) y[i] = binary(kind, a[i * a_step], b[i * b_step]);
}

/// What the input has for each pixel of a block of channels, where the output has `pixels` in [N][blocks]: one number
/// for every channel, or a whole block.
class BlockedInput {
 public:
  BlockedInput(const Call& call, size_t i) : from_(call.in(i)) {
    const Shape &x = call.x(i), &y = call.y();
    const bool image = y.size() == 4;
    pixels_ = image ? y[2] * y[3] : 1;
    moves_ = !image || x[2] * x[3] == pixels_;
    single_ = x[1] == 1 && y[1] != 1;
    blocks_ = single_ ? 1 : ceil_div(y[1], kBlock);
    of_blocks_ = ceil_div(y[1], kBlock);
    samples_ = x[0];
  }
  bool is_single() const { return single_; }
  int64_t step() const { return moves_ ? kBlock : 0; }
  /// Of pixel `item`, counted through all blocks of all samples.
  const float* at(int64_t item) const {
    const int64_t block = item / pixels_, sample = samples_ == 1 ? 0 : block / of_blocks_;
    const int64_t own = sample * blocks_ + (single_ ? 0 : block % of_blocks_);
    return from_ + (moves_ ? own * pixels_ + item % pixels_ : own) * kBlock;
  }

 private:
  const float* from_;
  int64_t pixels_, blocks_, of_blocks_, samples_;
  bool moves_, single_;
};

/// Shapes of four dimensions, or of two, of which each of the inputs' is the output's or 1, height and width together.
void binary_blocked(const Call& call) {
  const BlockedInput inputs[] = {{call, 0}, {call, 1}};
  const int64_t pixels = call.y().size() == 4 ? call.y()[2] * call.y()[3] : 1;
  const Call::Range part = call.share(storage(call.y(), Layout::blocked) / kBlock);
  for (int64_t first = part.first; first < part.last;) {
    const int64_t end = std::min(part.last, (first / pixels + 1) * pixels);
    const float *a = inputs[0].at(first), *b = inputs[1].at(first);
    const int64_t a_step = inputs[0].step(), b_step = inputs[1].step();
    const bool a_single = inputs[0].is_single(), b_single = inputs[1].is_single();
    float* const y = call.out() + first * kBlock;
    const int64_t count = end - first;
    if (a_step && b_step && !a_single && !b_single) {
      combine(call.step.op, a, 1, b, 1, count * kBlock, y);
    } else {
      for (int64_t p = 0; p < count; ++p) {
        combine(call.step.op, a + p * a_step, !a_single, b + p * b_step, !b_single, kBlock, y + p * kBlock);
      }
    }
    finish(call.step.epilogue, nullptr, y, nullptr, static_cast<size_t>(count * kBlock));
    first = end;
  }
}

/// table: steps of a and b along the last axis, then where each row of a and b begins.
void broadcast(const Call& call) {
  const std::vector<int64_t>& table = call.step.table;
  const int64_t columns = call.y().empty() ? 1 : call.y().back();
  const Call::Range rows = call.share(static_cast<int64_t>(table.size()) / 2 - 1);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const int64_t* from = table.data() + 2 + 2 * row;
    float* y = call.out() + row * columns;
    combine(call.step.op, call.in(0) + from[0], table[0], call.in(1) + from[1], table[1], columns, y);
    finish(call.step.epilogue, nullptr, y, nullptr, static_cast<size_t>(columns));
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(map);
HWY_EXPORT(binary_blocked);
HWY_EXPORT(broadcast);

double cost(const Step& step) {
  return 4.0 * static_cast<double>(element_count(step.output.shape));
}
void pack(Step&) {}

bool supports_map(const Step& step) {
  return std::holds_alternative<Unary>(step.op) || std::holds_alternative<Activation>(step.op) ||
         std::holds_alternative<Fade>(step.op);
}
template <Layout layout>
void run_map(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(map)(call, layout);
}

bool supports_broadcast(const Step& step) {
  return std::holds_alternative<Binary>(step.op) || std::holds_alternative<PRelu>(step.op);
}
/// Every input is the output, or one number a channel, a pixel or a sample of it.
bool supports_blocked(const Step& step) {
  const Shape& y = step.output.shape;
  if (!supports_broadcast(step) || (y.size() != 2 && y.size() != 4)) return false;
  return std::ranges::all_of(step.inputs, [&](const Port& input) {
    const Shape& x = input.shape;
    if (x.size() != y.size()) return false;
    const bool image = y.size() == 4;
    const bool pixels = !image || (x[2] == y[2] && x[3] == y[3]) || (x[2] == 1 && x[3] == 1);
    return pixels && (x[0] == y[0] || x[0] == 1) && (x[1] == y[1] || x[1] == 1);
  });
}
void run_blocked(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(binary_blocked)(call);
}

void pack_broadcast(Step& step) {
  Shape rows = step.output.shape;
  auto a = broadcast_strides(step.inputs[0].shape, rows), b = broadcast_strides(step.inputs[1].shape, rows);
  step.table = {0, 0};
  if (!rows.empty()) {
    step.table = {a.back(), b.back()};
    rows.pop_back();
    a.pop_back();
    b.pop_back();
  }
  for_each_index<2>(rows, {a, b}, [&](int64_t, const std::array<int64_t, 2>& from) {
    step.table.insert(step.table.end(), from.begin(), from.end());
  });
}
void run_broadcast(const Call& call) noexcept {
  HWY_DYNAMIC_DISPATCH(broadcast)(call);
}

constexpr Layout kPlain = Layout::plain, kBlocked = Layout::blocked;

}  // namespace

constinit const Kernel kMap{"map", kPlain, kPlain, supports_map, cost, pack, run_map<kPlain>};
constinit const Kernel kMapBlocked{"map-blocked", kBlocked, kBlocked, supports_map, cost, pack, run_map<kBlocked>};
constinit const Kernel kBinaryBlocked{"binary-blocked", kBlocked, kBlocked, supports_blocked, cost, pack, run_blocked};
constinit const Kernel kBroadcast{"broadcast", kPlain, kPlain, supports_broadcast, cost, pack_broadcast, run_broadcast};

}  // namespace reducenet
#endif
