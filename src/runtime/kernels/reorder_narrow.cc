// Floats ↔ bytes and bfloat16:  q = clamp(round(x/scale) + zero, 0, 255),  x = scale·(q − zero); ties to even.
// Channels behind the last become zeros: 16-bit floats there must not be NaN.
#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/reorder_narrow.cc"
#include "hwy/foreach_target.h"
#include "runtime/kernels/epilogue-inl.h"
#include "runtime/kernels/narrow_pack.h"

HWY_BEFORE_NAMESPACE();
namespace reducenet::HWY_NAMESPACE {

using Words = hn::CappedTag<uint32_t, kBlock>;  // 4 bytes of one pixel in each lane

using narrow::Stretch;

/// round(v/scale) + zero within [0, 255], as the division gives it: the inverse of a scale is rounded itself.
template <class D, class V>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> to_integers(D d, V v, const narrow::Affine& as) {
  const hn::RebindToSigned<D> di;
  const auto low = hn::Set(d, static_cast<float>(-as.zero)), high = hn::Set(d, static_cast<float>(255 - as.zero));
  const auto steps = hn::Min(hn::Max(hn::Div(v, hn::Set(d, as.scale)), low), high);
  return hn::Add(hn::NearestInt(steps), hn::Set(di, as.zero));
}
inline uint8_t to_integer(float v, const narrow::Affine& as) {
  const float steps = std::clamp(v / as.scale, static_cast<float>(-as.zero), static_cast<float>(255 - as.zero));
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(steps)) + as.zero);
}

void plain_to_bytes(const Stretch& s) {
  const Lanes d;
  const Words dw;
  const auto lanes = static_cast<int64_t>(kLanes);
  int64_t p = 0;
  for (; p + lanes <= s.count; p += lanes) {
    hn::Vec<Words> word[4];
    for (int64_t group = 0; group < 4; ++group) {
      word[group] = hn::Zero(dw);
      for (int64_t c = 3; c >= 0; --c) {
        if (group * 4 + c >= s.channels) continue;
        const auto q = to_integers(d, hn::LoadU(d, s.x + (group * 4 + c) * s.stride + p), s.as);
        word[group] = hn::Or(hn::ShiftLeft<8>(word[group]), hn::BitCast(dw, q));
      }
    }
    alignas(64) uint32_t out[4 * kLanes];
    hn::StoreInterleaved4(word[0], word[1], word[2], word[3], dw, out);
    std::memcpy(s.bytes + p * kBlock, out, sizeof out);
  }
  for (; p < s.count; ++p) {
    for (int64_t c = 0; c < kBlock; ++c) {
      s.bytes[p * kBlock + c] = c < s.channels ? to_integer(s.x[c * s.stride + p], s.as) : 0;
    }
  }
}

void bytes_to_plain(const Stretch& s) {
  const Lanes d;
  const Words dw;
  const hn::RebindToSigned<Lanes> di;
  const auto lanes = static_cast<int64_t>(kLanes);
  const auto zero = hn::Set(di, s.as.zero);
  const auto scale = hn::Set(d, s.as.scale);
  int64_t p = 0;
  for (; p + lanes <= s.count; p += lanes) {
    alignas(64) uint32_t in[4 * kLanes];
    std::memcpy(in, s.bytes + p * kBlock, sizeof in);
    hn::Vec<Words> word[4];
    hn::LoadInterleaved4(dw, in, word[0], word[1], word[2], word[3]);
    for (int64_t c = 0; c < s.channels; ++c) {
      const auto q = hn::And(word[c / 4], hn::Set(dw, 255u));
      word[c / 4] = hn::ShiftRight<8>(word[c / 4]);
      hn::StoreU(scale * hn::ConvertTo(d, hn::Sub(hn::BitCast(di, q), zero)), d, s.y + c * s.stride + p);
    }
  }
  for (; p < s.count; ++p) {
    for (int64_t c = 0; c < s.channels; ++c) {
      s.y[c * s.stride + p] = s.as.scale * static_cast<float>(s.bytes[p * kBlock + c] - s.as.zero);
    }
  }
}

void blocked_to_bytes(const Stretch& s) {
  const Lanes d;
  const hn::Rebind<uint8_t, Lanes> d8;
  for (int64_t at = 0; at < s.count * kBlock; at += static_cast<int64_t>(kLanes)) {
    hn::StoreU(hn::DemoteTo(d8, to_integers(d, hn::LoadU(d, s.x + at), s.as)), d8, s.bytes + at);
  }
}

void bytes_to_blocked(const Stretch& s) {
  const Lanes d;
  const hn::Rebind<uint8_t, Lanes> d8;
  const hn::RebindToSigned<Lanes> di;
  const auto zero = hn::Set(di, s.as.zero);
  const auto scale = hn::Set(d, s.as.scale);
  for (int64_t at = 0; at < s.count * kBlock; at += static_cast<int64_t>(kLanes)) {
    const auto q = hn::PromoteTo(di, hn::LoadU(d8, s.bytes + at));
    hn::StoreU(scale * hn::ConvertTo(d, hn::Sub(q, zero)), d, s.y + at);
  }
}

}  // namespace reducenet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reducenet {
namespace {

HWY_EXPORT(plain_to_bytes);
HWY_EXPORT(bytes_to_plain);
HWY_EXPORT(blocked_to_bytes);
HWY_EXPORT(bytes_to_blocked);

bool supports(const Step& step) {
  return std::holds_alternative<Identity>(step.op);
}
double cost(const Step& step) {
  return 4.0 * static_cast<double>(element_count(step.output.shape));
}
void pack(Step&) {}

/// Calls move(n, block, first pixel, pixels) for this part's stretches of pixels of every block of channels.
template <class Move>
void each_stretch(const Call& call, Move move) {
  const Shape& shape = call.y();
  const int64_t plane = shape.size() == 4 ? shape[2] * shape[3] : 1, blocks = ceil_div(shape[1], kBlock);
  const Call::Range items = call.share(shape[0] * blocks * plane);
  for (int64_t item = items.first; item < items.last;) {
    const int64_t at = item % plane, block = item / plane % blocks, n = item / (plane * blocks);
    const int64_t count = std::min(plane - at, items.last - item);
    move(n, block, at, count);
    item += count;
  }
}

/// Where pixel `at` of a block stands in a tensor.
int64_t place(Layout layout, const Shape& shape, int64_t n, int64_t block, int64_t at) {
  const int64_t plane = shape.size() == 4 ? shape[2] * shape[3] : 1, blocks = ceil_div(shape[1], kBlock);
  if (layout == Layout::plain) return (n * shape[1] + block * kBlock) * plane + at;
  return ((n * blocks + block) * plane + at) * kBlock;
}

template <Layout In, Layout Out>
void run_bytes(const Call& call) noexcept {
  const Shape& shape = call.y();
  constexpr bool kTo = Out == Layout::bytes;
  each_stretch(call, [&](int64_t n, int64_t block, int64_t at, int64_t count) {
    const int64_t from = place(In, shape, n, block, at), to = place(Out, shape, n, block, at);
    const auto* bytes = reinterpret_cast<const uint8_t*>(kTo ? call.out() : call.in()) + (kTo ? to : from);
    const narrow::Stretch s{kTo ? call.in() + from : nullptr,
                            kTo ? nullptr : call.out() + to,
                            const_cast<uint8_t*>(bytes),
                            shape.size() == 4 ? shape[2] * shape[3] : 1,
                            std::min(kBlock, shape[1] - block * kBlock),
                            count,
                            kTo ? call.step.out_affine : call.step.in_affine};
    if constexpr (kTo) {
      In == Layout::plain ? HWY_DYNAMIC_DISPATCH(plain_to_bytes)(s) : HWY_DYNAMIC_DISPATCH(blocked_to_bytes)(s);
    } else {
      Out == Layout::plain ? HWY_DYNAMIC_DISPATCH(bytes_to_plain)(s) : HWY_DYNAMIC_DISPATCH(bytes_to_blocked)(s);
    }
  });
}

template <Layout In, Layout Out>
void run_halves(const Call& call) noexcept {
  const Shape& shape = call.y();
  const int64_t plane = shape.size() == 4 ? shape[2] * shape[3] : 1;
  each_stretch(call, [&](int64_t n, int64_t block, int64_t at, int64_t count) {
    const int64_t from = place(In, shape, n, block, at), to = place(Out, shape, n, block, at);
    const int64_t channels = std::min(kBlock, shape[1] - block * kBlock);
    constexpr bool kTo = Out == Layout::halves;
    constexpr bool kPlain = In == Layout::plain || Out == Layout::plain;
    const int64_t channel = kPlain ? plane : 1, pixel = kPlain ? 1 : kBlock;  // floats between them
    auto* const halves =
        reinterpret_cast<uint16_t*>(kTo ? call.out() : const_cast<float*>(call.in())) + (kTo ? to : from);
    for (int64_t p = 0; p < count; ++p) {
      for (int64_t c = 0; c < (kTo ? kBlock : channels); ++c) {
        uint16_t& half = halves[p * kBlock + c];
        if constexpr (kTo) {
          half = c < channels ? float_to_bfloat16(call.in()[from + p * pixel + c * channel]) : uint16_t{0};
        } else {
          call.out()[to + p * pixel + c * channel] = bfloat16_to_float(half);
        }
      }
    }
  });
}

constexpr Layout kPlain = Layout::plain, kBlocked = Layout::blocked, kBytes = Layout::bytes, kHalves = Layout::halves;

}  // namespace

constinit const Kernel kPlainToBytes{"to-int8", kPlain, kBytes, supports, cost, pack, run_bytes<kPlain, kBytes>};
constinit const Kernel kBlockedToBytes{"to-int8", kBlocked, kBytes, supports, cost, pack, run_bytes<kBlocked, kBytes>};
constinit const Kernel kBytesToPlain{"from-int8", kBytes, kPlain, supports, cost, pack, run_bytes<kBytes, kPlain>};
constinit const Kernel kBytesToBlocked{
    "from-int8", kBytes, kBlocked, supports, cost, pack, run_bytes<kBytes, kBlocked>};
constinit const Kernel kPlainToHalves{"to-bf16", kPlain, kHalves, supports, cost, pack, run_halves<kPlain, kHalves>};
constinit const Kernel kBlockedToHalves{
    "to-bf16", kBlocked, kHalves, supports, cost, pack, run_halves<kBlocked, kHalves>};
constinit const Kernel kHalvesToPlain{"from-bf16", kHalves, kPlain, supports, cost, pack, run_halves<kHalves, kPlain>};
constinit const Kernel kHalvesToBlocked{
    "from-bf16", kHalves, kBlocked, supports, cost, pack, run_halves<kHalves, kBlocked>};

}  // namespace reducenet
#endif
