#include "rules/example.h"
#include "rules/merge.h"
#include "rules/rows.h"

namespace reducenet {
namespace {

// x + w∗x + b = (w + δ)∗x + b  with δ the Dirac kernel: 1 from each channel to itself at the kernel's centre
// (RepVGG, arXiv 2101.03697, section 3.3).  Exact where the convolution keeps size and channels.
Outcome residual(const Site& site) {
  return merge_terms(site, true);
}

Graph residual_example(uint64_t seed, bool must_fire) {
  Example e(seed);
  const bool image = e.chance(0.8);
  const ValueId x = image ? e.image() : e.vector();
  const int64_t half = e.integer(0, 2), up = e.integer(0, 1);
  ValueId y = x;
  if (!image) {
    y = e.gemm(x, e.channels(x));
  } else {  // the same size with the kernel off its centre now and then
    const int64_t reach = 2 * half;
    Conv2d op{.padding = {half + up * (half > 0), half, half - up * (half > 0), half}};
    op.groups = e.chance(0.4) ? e.channels(x) : 1;
    y = e.node(op, {x, e.constant(e.normal({e.channels(x), e.channels(x) / op.groups, reach + 1, reach + 1}))});
    if (e.chance(0.5)) y = e.batch_norm(y);
  }
  if (!must_fire) e.output(y);
  e.output(e.chance(0.5) ? e.add(x, y) : e.add(y, x));
  e.maybe_read_again(x);
  return std::move(e).finish();
}

constexpr Rule kRules[] = {
    {"residual", "x + w∗x + b = (w + δ)∗x + b", residual, residual_example},
};

}  // namespace

std::span<const Rule> residual_rules() {
  return kRules;
}

}  // namespace reducenet
