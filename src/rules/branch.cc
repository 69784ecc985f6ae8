#include "rules/example.h"
#include "rules/merge.h"
#include "rules/rows.h"

// Parallel branches as in ACNet (arXiv 1908.03930), RepVGG (2101.03697), DBB (2103.13425).

namespace reducenet {
namespace {

// Σᵢ (wᵢ∗x + bᵢ) = (Σᵢ wᵢ)∗x + Σᵢ bᵢ  with every kernel embedded, by its padding, in one that holds them all; each
// branch may be a chain: conv, BN, mean pooling, crop.  Exact where strides agree and the outputs lie over each other.
Outcome parallel(const Site& site) {
  return merge_terms(site, false);
}

/// One branch: a map of `x` whose output i is centred on input stride·i, with `out` channels.
ValueId branch(Example& e, ValueId x, int64_t out, int64_t stride) {
  const int64_t half = e.integer(0, 1), dilation = e.integer(1, 2), reach = half * dilation;  // kernel 1 or 3
  const ConvChoice shape{.out = out,
                         .kernel = 2 * half + 1,
                         .stride = stride,
                         .dilation = dilation,
                         .padding = Padding{reach, reach, reach, reach}};
  switch (e.integer(0, out == e.channels(x) ? 4 : 1)) {
    case 0: {
      const ValueId y = e.conv(x, shape);
      return e.chance(0.5) ? e.batch_norm(y) : y;
    }
    case 1:  // narrow middle, then 1×1
      return e.conv(e.conv(x, {.kernel = 1, .stride = stride, .padding = Padding{}}),
                    {.out = out, .kernel = 1, .stride = 1, .padding = Padding{}});
    case 2:
      return e.node(
          AveragePool{.kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1, 1, 1}, .count_include_pad = true},
          {x});
    default:
      return stride == 1 ? (e.chance(0.5) ? e.batch_norm(x) : e.scale(x)) : e.conv(x, shape);
  }
}

Graph parallel_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  if (must_fire && e.chance(0.2)) {
    const ValueId x = e.vector();
    const int64_t out = e.integer(1, 6);
    e.output(e.add(e.gemm(x, out), e.gemm(x, out)));
    return std::move(e).finish();
  }
  const ValueId x = e.image();
  const Padding one{1, 1, 1, 1};
  if (!must_fire) {  // a mean that leaves padding out, or a branch that is read elsewhere
    const bool pool = e.chance(0.5);
    const ValueId y = e.conv(x, {.out = e.channels(x), .kernel = 3, .stride = 1, .dilation = 1, .padding = one});
    const ValueId z = pool ? e.node(AveragePool{.kernel = {3, 3}, .padding = one}, {x})
                           : e.conv(x, {.out = e.channels(x), .kernel = 3, .stride = 1, .dilation = 1, .padding = one});
    if (!pool) e.output(z);
    e.output(e.add(y, z));
    return std::move(e).finish();
  }
  const int64_t out = e.chance(0.5) ? e.channels(x) : e.integer(1, 6);
  const int64_t stride = e.chance(0.6) ? 1 : 2;
  ValueId y = e.conv(x, {.out = out, .kernel = 3, .stride = stride, .dilation = 1, .padding = one});
  std::vector<ValueId> terms{y};
  do {
    terms.push_back(branch(e, x, out, stride));
  } while (e.chance(0.4));
  if (e.chance(0.3)) {
    y = e.node(Variadic{}, terms);
  } else {
    for (size_t i = 1; i < terms.size(); ++i) y = e.add(y, terms[i]);
  }
  e.output(y);
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"parallel-branches", "Σ (wᵢ∗x + bᵢ) = (Σ wᵢ)∗x + Σ bᵢ", parallel, parallel_example},
};

}  // namespace

std::span<const Rule> branch_rules() {
  return kRules;
}

}  // namespace reducenet
