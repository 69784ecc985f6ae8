#pragma once

#include "rules/view.h"

namespace reducenet {

using Accepts = bool (View::*)() const;

/// second ∘ first → one map, where `second` is the site's node and `first` makes its input. Refuses where borders
/// differ, where others read what lies between, and (unless the site may enlarge) where multiply-accumulates would
/// rise.
Outcome merge_chain(const Site& site, Accepts first, Accepts second);

/// What a refusal for multiply-accumulates says.
std::string too_costly(const Site& site, int64_t before, int64_t after);

/// The same for two views that the caller has chosen; `second` reads what `first` makes.
Outcome merge_pair(const Site& site, const View& first, const View& second);

/// merge_chain of `second` behind any convolution, matrix product, scale or batch norm.
Outcome merge_behind(const Site& site, Accepts second);
/// merge_chain of `first` before a convolution or a matrix product.
Outcome merge_before(const Site& site, Accepts first);

/// Σ ± linear(x) over the site's tree of Add, Sub and Sum: two terms that are chains of linear maps of one tensor → one
/// map. `residual`: one of the two is the tensor itself; otherwise neither is.
Outcome merge_terms(const Site& site, bool residual);

}  // namespace reducenet
