#include <algorithm>
#include <cmath>

#include "rules/example.h"
#include "rules/frame.h"
#include "rules/merge.h"
#include "rules/reason.h"
#include "rules/rows.h"

namespace reducenet {
namespace {

// s·(w∗x + b) + t = (s·w)∗x + (s·b + t)  for Mul, Add, Sub, Div by a constant per channel, and Neg.  Always exact.
Outcome affine_after(const Site& site) {
  return merge_behind(site, &View::is_scale);
}

Graph affine_after_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const bool image = e.chance(0.7);
  const ValueId x = image ? e.image() : e.vector();
  const ValueId y = image ? (e.chance(0.3) ? e.batch_norm(x) : e.conv(x)) : e.gemm(x);
  e.output(e.scale(y));
  if (!must_fire) e.output(y);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// w∗(s·x + t) + b = (w·s)∗x + (Σ w·t + b).  Exact where the convolution reads no padding, or t = 0.
Outcome affine_before(const Site& site) {
  return merge_before(site, &View::is_scale);
}

Graph affine_before_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  if (must_fire && e.chance(0.3)) {
    const ValueId x = e.vector();
    e.output(e.gemm(e.scale(x)));
    return std::move(e).finish();
  }
  const ValueId x = e.image();
  if (!must_fire) {
    const ValueId shifted = e.node(Binary{}, {x, e.constant(Tensor::filled({1}, 0.5))});
    e.output(e.conv(shifted, {.padding = Padding{1, 0, e.integer(0, 2), 1}}));
  } else if (e.chance(0.5)) {
    e.output(e.conv(e.node(Binary{Binary::Kind::mul}, {x, e.constant(e.normal({e.channels(x), 1, 1}))})));
  } else {
    e.output(e.conv(e.scale(x), {.padding = Padding{}}));
  }
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// w₂∗(w₁∗x + b₁) + b₂ = w∗x + b,  w[u·d₁ + v·s₁·d₂] = Σ w₂[v]·w₁[u],  b = b₂ + Σ w₂·b₁;  stride s₁·s₂, padding p₁ +
// s₁·p₂. Exact where the second reads no padding, or where the first without bias is zero there (1×1, or padding
// enough).
Outcome conv_conv(const Site& site) {
  return merge_chain(site, &View::is_conv, &View::is_conv);
}

Graph conv_conv_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  if (!must_fire) {
    const ValueId y = e.conv(x, {.kernel = 3, .stride = 1, .padding = Padding{1, 1, 1, 1}});
    e.output(e.conv(y, {.kernel = 3, .stride = 1, .padding = Padding{1, 1, 1, 1}}));
    return std::move(e).finish();
  }
  ValueId y;
  switch (e.integer(0, 2)) {
    case 0:  // any, then no padding
      y = e.conv(e.conv(x), {.padding = Padding{}});
      break;
    case 1:  // 1×1 without bias, then any
      y = e.conv(e.conv(x, {.kernel = 1, .padding = Padding{}, .bias = false}));
      break;
    case 2:  // depthwise, then pointwise
      y = e.conv(x, {.out = e.channels(x), .groups = e.channels(x)});
      y = e.conv(y, {.kernel = 1, .stride = 1, .padding = Padding{}});
      break;
  }
  e.output(y);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// (x·A + a)·B + b = x·(A·B) + (a·B + b).  Always exact.
Outcome gemm_gemm(const Site& site) {
  return merge_chain(site, &View::is_gemm, &View::is_gemm);
}

Graph gemm_gemm_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.vector();
  const ValueId y = e.gemm(x);
  e.output(e.gemm(y));
  if (!must_fire) e.output(e.node(Activation{Activation::Kind::tanh}, {y}));
  return std::move(e).finish();
}

// conv(pad₀(x)) = conv with the padding added to its own; a crop becomes zero taps.  Exact for constant zero padding of
// height and width; a crop only where the convolution pads nothing itself.
Outcome pad_conv(const Site& site) {
  return merge_chain(site, &View::is_pad, &View::is_conv);
}

Graph pad_conv_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  Pad pad{.begin = {0, 0, e.integer(0, 3), e.integer(0, 3)}, .end = {0, 0, e.integer(0, 3), e.integer(0, 3)}};
  ConvChoice choice;
  if (!must_fire) {
    pad.begin[2] = e.chance(0.5) ? 1 : -1;  // filled with ones, or a crop before padding
    if (pad.begin[2] > 0) pad.value = 1;
    choice.padding = Padding{1, 1, 1, 1};
    choice.kernel = 3;
  } else if (e.chance(0.4)) {
    for (size_t axis : {2, 3}) {
      pad.begin[axis] = -e.integer(0, 2);
      pad.end[axis] = e.integer(-1, 1);
    }
    choice.padding = Padding{};
  }
  e.output(e.conv(e.node(pad, {x}), choice));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

// w₂∗pad_v(w₁∗x + b₁) = (w₂∗w₁)∗x + (b₂ + Σ w₂·b₁), its zero padding that of the pad, where every b₁ = v: the padding
// is what w₁ makes of zeros (DBB, arXiv 2103.13425: a branch that pads with its batch norm's shift), be it one number
// or a frame that ScatterND writes.
Outcome fill_conv(const Site& site) {
  const auto second = view(site.graph, site.node);
  if (!second || !second->is_conv()) return NoMatch{};
  const auto frame = read_frame(site, second->source);
  if (!frame) return NoMatch{};
  if (const auto why = frame_obstacle(site, *frame)) return Refused{*why};
  return merge_pair(site, frame->map, *second);
}

/// The frame's places, or all but one, written with a number for each channel, a side at a time.
ValueId write_frame(Example& e, ValueId padded, const Pad& pad, const std::vector<double>& numbers, bool leave_one) {
  const Shape shape = e.shape(padded);
  ValueId y = padded;
  for (int side = 0; side < 4; ++side) {
    const size_t axis = side < 2 ? 2 : 3;
    const bool first = side % 2 == 0;
    std::vector<int64_t> places;
    std::vector<double> values;
    Shape at(4, 0);
    for (at[0] = 0; at[0] < shape[0]; ++at[0]) {
      for (at[1] = 0; at[1] < shape[1]; ++at[1]) {
        for (at[2] = 0; at[2] < shape[2]; ++at[2]) {
          for (at[3] = 0; at[3] < shape[3]; ++at[3]) {
            const bool here = first ? at[axis] < pad.begin[axis] : at[axis] >= shape[axis] - pad.end[axis];
            if (!here || (leave_one && at == Shape{0, 0, 0, 0})) continue;
            places.insert(places.end(), at.begin(), at.end());
            values.push_back(numbers[static_cast<size_t>(at[1])]);
          }
        }
      }
    }
    const auto count = static_cast<int64_t>(values.size());
    if (count == 0) continue;
    y = e.node(ScatterNd{}, {y, e.constant(Tensor::of({count, 4}, places)),
                             e.constant(Tensor::from_doubles({count}, values, DType::f32))});
  }
  return y;
}

Graph fill_conv_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const ValueId x = e.image();
  const int64_t middle = e.integer(1, 4);
  const bool scattered = e.shape(x)[0] > 0 && e.chance(0.5);
  const double value = static_cast<double>(e.integer(1, 3)) / 2;
  const Tensor bias = scattered ? e.normal({middle}) : Tensor::filled({middle}, value);
  const ValueId y = e.node(Conv2d{}, {x, e.constant(e.normal({middle, e.channels(x), 1, 1})), e.constant(bias)});
  Pad pad{.begin = {0, 0, 1, e.integer(0, 2)}, .end = {0, 0, e.integer(0, 1), 1}, .value = scattered ? 0 : value};
  ValueId padded = e.node(pad, {must_fire || scattered ? y : e.batch_norm(y)});
  if (scattered) padded = write_frame(e, padded, pad, bias.to_doubles(), !must_fire);
  e.output(e.conv(padded, {.kernel = 3, .padding = Padding{}}));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"affine-after", "s·(w∗x + b) + t = (s·w)∗x + (s·b + t)", affine_after, affine_after_example},
    {"affine-before", "w∗(s·x + t) + b = (w·s)∗x + (Σ w·t + b), no padding or t = 0", affine_before,
     affine_before_example},
    {"fill-conv", "w₂∗pad_v(w₁∗x + v) = (w₂∗w₁)∗x + (b₂ + Σ w₂·v) with zero padding", fill_conv, fill_conv_example},
    {"conv-conv", "w₂∗(w₁∗x) = (w₂∗w₁)∗x, where no padding comes between", conv_conv, conv_conv_example},
    {"gemm-gemm", "(x·A + a)·B + b = x·(A·B) + (a·B + b)", gemm_gemm, gemm_gemm_example},
    {"pad-conv", "conv(pad₀(x)) = conv with padding", pad_conv, pad_conv_example},
};

}  // namespace

std::span<const Rule> linear_rules() {
  return kRules;
}

}  // namespace reducenet
