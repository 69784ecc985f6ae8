// Floats ↔ bytes and bfloat16:  q = clamp(round(x/scale) + zero, 0, 255),  x = scale·(q − zero).
#include <algorithm>
#include <cstring>

#include "runtime/kernels/rows.h"

namespace reducenet {
namespace {

bool supports(const Step& step) {
  return std::holds_alternative<Identity>(step.op);
}
double cost(const Step& step) {
  return 4.0 * static_cast<double>(element_count(step.output.shape));
}
void pack(Step&) {}

/// Pixel (n, block, i, j) of a tensor: channel c of the block at [c·stride].
struct Pixels {
  int64_t start, stride;
};
Pixels pixels_of(Layout layout, const Shape& shape, int64_t n, int64_t block, int64_t at) {
  const int64_t plane = shape[2] * shape[3], blocks = ceil_div(shape[1], kBlock);
  if (layout == Layout::plain) return {(n * shape[1] + block * kBlock) * plane + at, plane};
  return {((n * blocks + block) * plane + at) * kBlock, 1};
}

/// Calls move(pixels of x, pixels of y, channels) for every pixel of every block of channels of this part.
template <Layout In, Layout Out, class Move>
void each_pixel(const Call& call, Move move) {
  const Shape& shape = call.y();
  const int64_t plane = shape[2] * shape[3], blocks = ceil_div(shape[1], kBlock);
  const Call::Range items = call.share(shape[0] * blocks * plane);
  for (int64_t item = items.first; item < items.last; ++item) {
    const int64_t at = item % plane, block = item / plane % blocks, n = item / (plane * blocks);
    move(pixels_of(In, shape, n, block, at), pixels_of(Out, shape, n, block, at),
         std::min(kBlock, shape[1] - block * kBlock));
  }
}

/// For |v| < 2²²: beyond, a float has no binary places left. Unlike nearbyint it needs no call on older CPUs.
inline float round_to_even(float v) {
  constexpr float kBinaryPlacesEnd = 12582912.0f;  // 1.5·2²³
  return (v + kBinaryPlacesEnd) - kBinaryPlacesEnd;
}

/// Channels behind the last become zeros: 16-bit floats there must not be NaN.
template <Layout In, Layout Out>
void to_narrow(const Call& call) noexcept {
  const narrow::Affine as = call.step.out_affine;
  const float inverse = 1 / as.scale, zero = static_cast<float>(as.zero);
  auto* const out = reinterpret_cast<uint8_t*>(call.out());
  each_pixel<In, Out>(call, [&](Pixels from, Pixels to, int64_t channels) {
    constexpr int64_t kSize = Out == Layout::bytes ? 1 : 2;
    std::memset(out + to.start * kSize, 0, kBlock * kSize);
    for (int64_t c = 0; c < channels; ++c) {
      const float value = call.in()[from.start + c * from.stride];
      if constexpr (Out == Layout::bytes) {
        const float steps = round_to_even(std::clamp(value * inverse, -512.0f, 512.0f));
        out[to.start + c] = static_cast<uint8_t>(std::clamp(steps + zero, 0.0f, 255.0f));
      } else {
        const uint16_t bits = float_to_bfloat16(value);
        std::memcpy(out + (to.start + c) * 2, &bits, sizeof bits);
      }
    }
  });
}

template <Layout In, Layout Out>
void from_narrow(const Call& call) noexcept {
  const narrow::Affine as = call.step.in_affine;
  const auto* const in = reinterpret_cast<const uint8_t*>(call.in());
  each_pixel<In, Out>(call, [&](Pixels from, Pixels to, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
      if constexpr (In == Layout::bytes) {
        call.out()[to.start + c * to.stride] = as.scale * static_cast<float>(in[from.start + c] - as.zero);
      } else {
        uint16_t bits;
        std::memcpy(&bits, in + (from.start + c) * 2, sizeof bits);
        call.out()[to.start + c * to.stride] = bfloat16_to_float(bits);
      }
    }
  });
}

constexpr Layout kPlain = Layout::plain, kBlocked = Layout::blocked, kBytes = Layout::bytes, kHalves = Layout::halves;

}  // namespace

constinit const Kernel kPlainToBytes{"to-int8", kPlain, kBytes, supports, cost, pack, to_narrow<kPlain, kBytes>};
constinit const Kernel kBlockedToBytes{"to-int8", kBlocked, kBytes, supports, cost, pack, to_narrow<kBlocked, kBytes>};
constinit const Kernel kBytesToPlain{"from-int8", kBytes, kPlain, supports, cost, pack, from_narrow<kBytes, kPlain>};
constinit const Kernel kBytesToBlocked{
    "from-int8", kBytes, kBlocked, supports, cost, pack, from_narrow<kBytes, kBlocked>};
constinit const Kernel kPlainToHalves{"to-bf16", kPlain, kHalves, supports, cost, pack, to_narrow<kPlain, kHalves>};
constinit const Kernel kBlockedToHalves{
    "to-bf16", kBlocked, kHalves, supports, cost, pack, to_narrow<kBlocked, kHalves>};
constinit const Kernel kHalvesToPlain{"from-bf16", kHalves, kPlain, supports, cost, pack, from_narrow<kHalves, kPlain>};
constinit const Kernel kHalvesToBlocked{
    "from-bf16", kHalves, kBlocked, supports, cost, pack, from_narrow<kHalves, kBlocked>};

}  // namespace reducenet
