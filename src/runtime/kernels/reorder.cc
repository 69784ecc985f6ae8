// The same elements elsewhere: between layouts, as a view under another shape, and with the channels of a pixel in a
// row.
#include <algorithm>
#include <initializer_list>

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

/// Transposes from [N,C,H,W] to [N,H,W,C], and back.
bool is_transpose(const Step& step, std::initializer_list<int64_t> perm) {
  const auto* transpose = std::get_if<Transpose>(&step.op);
  return transpose && std::ranges::equal(transpose->perm, perm);
}
bool supports_to_rows(const Step& step) {
  return is_transpose(step, {0, 2, 3, 1});
}
bool supports_from_rows(const Step& step) {
  return is_transpose(step, {0, 3, 1, 2});
}
/// What the blocked side stores, with what stands behind the last channel: a few channels are not worth it.
double cost_to_rows(const Step& step) {
  return static_cast<double>(storage(step.inputs[0].shape, Layout::blocked));
}
double cost_from_rows(const Step& step) {
  return static_cast<double>(storage(step.output.shape, Layout::blocked));
}

/// Calls move(where a block of a pixel's channels begins in its row, the same in the blocked tensor, their number) for
/// this part's pixels of a tensor [N,C,H,W] of that shape.
template <class Move>
void each_run(const Call& call, const Shape& shape, Move move) {
  const int64_t channels = shape[1], plane = shape[2] * shape[3], blocks = ceil_div(channels, kBlock);
  const Call::Range pixels = call.share(shape[0] * plane);
  for (int64_t pixel = pixels.first; pixel < pixels.last; ++pixel) {
    const int64_t blocked = (pixel / plane * blocks * plane + pixel % plane) * kBlock;
    for (int64_t c = 0; c < channels; c += kBlock) {
      move(pixel * channels + c, blocked + c * plane, std::min(kBlock, channels - c));
    }
  }
}

void to_rows(const Call& call) noexcept {
  each_run(call, call.x(), [&](int64_t row, int64_t blocked, int64_t count) {
    std::copy_n(call.in() + blocked, count, call.out() + row);
  });
}

void from_rows(const Call& call) noexcept {
  each_run(call, call.y(), [&](int64_t row, int64_t blocked, int64_t count) {
    std::copy_n(call.in() + row, count, call.out() + blocked);
  });
}

constexpr Layout kPlain = Layout::plain, kBlocked = Layout::blocked;

}  // namespace

constinit const Kernel kPlainToBlocked{"to-blocked", kPlain, kBlocked, supports_reorder, cost, pack, to_blocked};
constinit const Kernel kBlockedToPlain{"to-plain", kBlocked, kPlain, supports_reorder, cost, pack, to_plain};
constinit const Kernel kCopy{"copy", kPlain, kPlain, supports_reorder, cost, pack, copy};
constinit const Kernel kBlockedToRows{"to-rows", kBlocked, kPlain, supports_to_rows, cost_to_rows, pack, to_rows};
constinit const Kernel kRowsToBlocked{"from-rows",    kPlain, kBlocked, supports_from_rows,
                                      cost_from_rows, pack,   from_rows};
constinit const Kernel kView{"view", kPlain, kPlain, supports_view, nothing, pack, nullptr};

}  // namespace reducenet
