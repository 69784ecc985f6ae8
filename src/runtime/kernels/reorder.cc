// The same elements elsewhere: between layouts, and as a view under another shape.
#include <algorithm>

#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

bool supports_reorder(const Step& step) {
  return std::holds_alternative<Identity>(step.op);
}
bool supports_view(const Step& step) {
  return std::holds_alternative<Reshape>(step.op) || std::holds_alternative<Flatten>(step.op);
}
double cost(const Step& step) {
  return 4.0 * static_cast<double>(element_count(step.output.shape));
}
double nothing(const Step&) {
  return 0;
}
void pack(Step&) {}

/// Calls move(row of one channel in the plain tensor, the same in the blocked one, width) for this part's rows.
template <class Move>
void each_row(const Call& call, Move move) {
  const Shape& shape = call.y();
  const int64_t height = shape[2], width = shape[3], blocks = ceil_div(shape[1], kBlock);
  const Call::Range rows = call.share(shape[0] * shape[1] * height);
  for (int64_t row = rows.first; row < rows.last; ++row) {
    const int64_t i = row % height, c = row / height % shape[1], n = row / (height * shape[1]);
    move(row * width, (((n * blocks + c / kBlock) * height + i) * width) * kBlock + c % kBlock, width);
  }
}

void to_blocked(const Call& call) noexcept {
  each_row(call, [&](int64_t plain, int64_t blocked, int64_t width) {
    for (int64_t j = 0; j < width; ++j) call.out()[blocked + j * kBlock] = call.in()[plain + j];
  });
}

void to_plain(const Call& call) noexcept {
  each_row(call, [&](int64_t plain, int64_t blocked, int64_t width) {
    for (int64_t j = 0; j < width; ++j) call.out()[plain + j] = call.in()[blocked + j * kBlock];
  });
}

void copy(const Call& call) noexcept {
  const Call::Range part = call.share(element_count(call.y()));
  std::copy(call.in() + part.first, call.in() + part.last, call.out() + part.first);
}

constexpr Layout kPlain = Layout::plain, kBlocked = Layout::blocked;

}  // namespace

constinit const Kernel kPlainToBlocked{"to-blocked", kPlain, kBlocked, supports_reorder, cost, pack, to_blocked};
constinit const Kernel kBlockedToPlain{"to-plain", kBlocked, kPlain, supports_reorder, cost, pack, to_plain};
constinit const Kernel kCopy{"copy", kPlain, kPlain, supports_reorder, cost, pack, copy};
constinit const Kernel kView{"view", kPlain, kPlain, supports_view, nothing, pack, nullptr};

}  // namespace reducenet
