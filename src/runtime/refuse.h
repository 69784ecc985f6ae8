#pragma once

#include <string>

#include "reducenet/error.h"
#include "reducenet/graph.h"

namespace reducenet {

/// Error(unsupported) naming the node and its op.
[[noreturn]] inline void refuse(const Node& node, const std::string& why) {
  throw Error(ErrorKind::unsupported, "node '" + node.name + "' (" + describe(node.op) + "): " + why);
}

}  // namespace reducenet
