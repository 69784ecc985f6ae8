#pragma once

#include "collapse/driver.h"

namespace reducenet {

/// Merges what pays by `cost`, in every maximal linear region of the driver's graph. A region is read as chains of
/// blocks: single nodes, or sums of branches between two values. Along each chain  best[j] = min over i of
/// best[i] + cost(blocks i…j as one layer),  where one layer is the composite convolution or matrix (if borders allow
/// it), the dense matrix of everything between (if sizes are fixed), or, for one block, the block itself or what the
/// enlarging rules make of it. Costs of graphs of open height and width are taken at 224 rows and columns.
/// `counted`: the cost is a count of multiply-accumulates, in which a dense matrix is weighed four times, because each
/// of its weights is read for one multiplication and those of a convolution serve every position.
void plan(Driver& driver, const Cost& cost, bool counted);

/// The sum over the nodes, at 224 rows and columns where these are open and the graph fits together so.
double planned_cost(const Graph& graph, const Cost& cost);

}  // namespace reducenet
