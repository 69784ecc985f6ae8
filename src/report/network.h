#pragma once

#include <string>

#include "reducenet/graph.h"

namespace reducenet::report {

/// The network's nodes in order, as blocks that wrap like words: colour says what kind of op, so that a before/after
/// pair compares at a glance. Every block has its name, output shape and MACs as a tooltip.
std::string to_html(const Graph& graph, const std::string& title);

}  // namespace reducenet::report
